"""Commands that print the prices and limits of models, and the settings."""

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from jobs.options import CommandReport, Parameter
from jobs.output import Terminal, TextTable
from jobs.variables import read_settings
from pipeline.core.command_hint import CommandHint
from pipeline.core.settings import format_with_unit, list_setting_rows
from pipeline.core.text import plural

# Suffixes of large numbers, largest first, and their factors.
UNIT_FACTORS = (("M", 1_000_000), ("k", 1_000))


def prices() -> CommandReport:
    """List prices and limits of all models.

    Prices are today's USD per 1 million tokens, in/out. Limits are those of FINDABLE_TIER: requests
    (RPM) and prompt tokens (TPM) a minute, requests a day (RPD), and prompt tokens in waiting
    batches. FINDABLE_RPM, FINDABLE_TPM and FINDABLE_RPD override the first three.
    """
    # The import of the database packages takes long, and `settings` does not need them.
    from pipeline.batch import report

    price_rows = report.list_prices(read_settings(), day=datetime.now(UTC).date())
    document = [price_row | {"unit": "USD per 1M tokens"} for price_row in price_rows]

    headers = ("model", "use", "live", "batch", "RPM", "TPM", "RPD", "enqueued", "until")
    output: list[Any] = [TextTable(headers, [_make_price_cells(row) for row in price_rows])]
    units = "live, batch: USD per 1M tokens in/out"
    periods = "RPM, RPD: requests a minute, a day; TPM: tokens a minute"
    notes = (
        f"{units}; {periods}",
        f"source of each price: `{CommandHint('prices', json=True)}`",
    )
    output += [partial(Terminal().say, note) for note in notes]
    return CommandReport(document, output)


def _make_price_cells(price_row: Mapping[str, Any]) -> list[object]:
    """Return the nine cells of a model in the table of prices.

    They are in this order:

    - the name and the use
    - the live price and the batch price, each as "in/out" in USD per 1M tokens
    - the limits RPM, TPM and RPD, each "none" if it is missing
    - the limit of enqueued tokens
    - the last day of the model, None if it is unknown
    """
    limits = price_row["limits"]
    return [
        price_row["model"],
        price_row["use"],
        *(f"{price_row[mode]['in']:g}/{price_row[mode]['out']:g}" for mode in ("live", "batch")),
        *(_format_compact(limits[name]) or "none" for name in ("rpm", "tpm", "rpd")),
        _format_compact(limits["enqueued_tokens"]),
        price_row["shutdown"],
    ]


def _format_compact(number: int | None) -> str | None:
    """Return a number as a short text, such as 10M, 1.5k or 999; None stays None.

    The unit is M from a million on, k from a thousand on, and nothing below. The number before the
    unit is rounded to six digits.
    """
    if number is None:
        return None
    for suffix, factor in UNIT_FACTORS:
        if number >= factor:
            return f"{number / factor:g}{suffix}"
    return f"{number:g}"


def settings(
    *,
    all_: Annotated[bool, Parameter("Also list settings with their default value.")] = False,
) -> CommandReport:
    """List all changed settings with value, origin and meaning; API keys are masked.

    Changed means that the value is not the default. --all and --json list all settings.
    """
    all_rows = list_setting_rows(read_settings())
    listed_rows = [row for row in all_rows if all_ or row.source != "default"]

    output: list[Any] = []
    if listed_rows:
        cells = [
            (row.name, format_with_unit(row.value, row.unit), row.source, row.help)
            for row in listed_rows
        ]
        output.append(TextTable(("setting", "value", "from", "meaning"), cells))

    default_count = len(all_rows) - len(listed_rows)
    if default_count:
        command = CommandHint("settings", all=True)
        settings_text = plural(default_count, "setting has", "settings have")
        message = f"{settings_text} the default value; `{command}` lists all"
        output.append(partial(Terminal().say, message))
    return CommandReport([row._asdict() for row in all_rows], output)
