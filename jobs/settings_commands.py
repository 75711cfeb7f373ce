"""Commands that print the prices and limits of models, and the settings."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from jobs.options import CommandReport, Parameter
from jobs.output import Terminal, TextTable
from jobs.variables import read_settings
from pipeline.core.command_hint import CommandHint
from pipeline.core.settings import format_with_unit, settings_rows

# Suffixes of large numbers, largest first, and their factors.
UNIT_FACTORS = (("M", 1_000_000), ("k", 1_000))


def prices() -> CommandReport:
    """Print prices and limits of every model.

    Prices are today's USD per 1 million tokens. Limits are requests and prompt tokens a minute, requests a day, and
    prompt tokens in batches that wait, in FINDABLE_TIER; FINDABLE_RPM, FINDABLE_TPM and FINDABLE_RPD override the first
    three.
    """
    # The import of the database packages takes long, and `settings` does not need them.
    from pipeline.batch import report

    price_rows = report.list_prices(read_settings(), day=datetime.now(UTC).date())
    document = [price_row | {"unit": "USD per 1M tokens"} for price_row in price_rows]

    headers = ("model", "use", "live", "batch", "RPM", "TPM", "RPD", "enqueued", "until")
    output: list[Any] = [TextTable(headers, [_price_cells(row) for row in price_rows])]
    units = "live, batch: USD per 1M tokens in/out"
    periods = "RPM, RPD: requests a minute, a day; TPM: tokens a minute"
    notes = (
        f"{units}; {periods}",
        f"where each price is from: `{CommandHint('prices', json=True)}`",
    )
    output += [partial(Terminal().say, note) for note in notes]
    return CommandReport(document, output)


def _price_cells(price_row: Mapping[str, Any]) -> list[object]:
    """Return a model's cells: name, use, USD per 1M tokens in/out, limits, and its last day.

    A missing RPM, TPM or RPD is "none".
    """
    cells: list[object] = [price_row["model"], price_row["use"]]
    for mode in ("live", "batch"):
        prices_by_direction = price_row[mode]
        cells.append(f"{prices_by_direction['in']:g}/{prices_by_direction['out']:g}")

    limits = price_row["limits"]
    cells += [_format_compact(limits[name]) or "none" for name in ("rpm", "tpm", "rpd")]
    cells.append(_format_compact(limits["enqueued_tokens"]))
    cells.append(price_row["shutdown"])
    return cells


def _format_compact(number: int | None) -> str | None:
    """Return a number in few characters, such as 10M or 150k; None stays None."""
    if number is None:
        return None
    for suffix, factor in UNIT_FACTORS:
        if number >= factor:
            return f"{number / factor:g}{suffix}"
    return f"{number:g}"


def settings(
    *,
    all_: Annotated[bool, Parameter("Those with their default value, too.")] = False,
) -> CommandReport:
    """Print every setting that was changed, its value, and where it came from; keys are masked.

    --json prints all of them.
    """
    all_rows = settings_rows(read_settings())
    listed_rows = [row for row in all_rows if all_ or row.source != "default"]

    output: list[Any] = []
    if listed_rows:
        cells = [
            (row.name, format_with_unit(row.value, row.unit), row.source, row.help)
            for row in listed_rows
        ]
        output.append(TextTable(("setting", "value", "from", "what it is"), cells))

    default_count = len(all_rows) - len(listed_rows)
    if default_count:
        subject = f"{default_count} others" if listed_rows else str(default_count)
        command = CommandHint("settings", all=True)
        message = f"{subject} have their defaults: `{command}`"
        output.append(partial(Terminal().say, message))
    return CommandReport([row._asdict() for row in all_rows], output)
