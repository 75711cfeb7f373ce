"""List what the models cost, and the settings."""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from jobs.options import CommandReport, Parameter
from jobs.output import Terminal, TextTable
from jobs.variables import read_settings
from pipeline.core.command_hint import CommandHint
from pipeline.core.settings import settings_rows, with_unit

UNITS = (("M", 1_000_000), ("k", 1_000))


def prices() -> CommandReport:
    """Print prices and limits of every model.

    Prices are today's USD per 1 million tokens. Limits are requests and prompt tokens a minute, requests a day, and
    prompt tokens in batches that wait, in FINDABLE_TIER; FINDABLE_RPM, FINDABLE_TPM and FINDABLE_RPD override the first
    three.
    """
    from pipeline.batch import report  # with the database, which `settings` needs not

    rows = report.prices(read_settings(), day=datetime.now(UTC).date())
    headers = ("model", "use", "live", "batch", "RPM", "TPM", "RPD", "enqueued", "until")
    document = [row | {"unit": "USD per 1M tokens"} for row in rows]
    explained = (
        "live, batch: USD per 1M tokens in/out; RPM, RPD: requests a minute, a day; TPM: tokens a minute",
        f"where each price is from: `{CommandHint('prices', json=True)}`",
    )
    notes = [partial(Terminal().say, line) for line in explained]
    return CommandReport(document, [TextTable(headers, [_priced(row) for row in rows]), *notes])


def _priced(row: dict[str, Any]) -> tuple[object, ...]:
    limits = row["limits"]
    amounts = [f"{row[way]['in']:g}/{row[way]['out']:g}" for way in ("live", "batch")]
    figures = [_compact(limits[name]) or "none" for name in ("rpm", "tpm", "rpd")]
    return (
        row["model"],
        row["use"],
        *amounts,
        *figures,
        _compact(limits["enqueued_tokens"]),
        row["shutdown"],
    )


def _compact(number: int | None) -> str | None:
    """Return a number in few characters: 10M, 150k."""
    if number is None:
        return None
    unit, size = next((one for one in UNITS if number >= one[1]), ("", 1))
    return f"{number / size:g}{unit}"


def settings(
    *, all_: Annotated[bool, Parameter("Those with their default value, too.")] = False
) -> CommandReport:
    """Print every setting that was changed, its value, and where it came from; keys are masked.

    --json prints all of them.
    """
    found = settings_rows(read_settings())
    shown = [one for one in found if all_ or one.source != "default"]

    cells = [(one.name, with_unit(one.value, one.unit), one.source, one.help) for one in shown]
    listed: list[Any] = (
        [TextTable(("setting", "value", "from", "what it is"), cells)] if shown else []
    )
    if left := len(found) - len(shown):
        said = f"{left} {'others ' if shown else ''}have their defaults: `{CommandHint('settings', all=True)}`"
        listed.append(partial(Terminal().say, said))
    return CommandReport([one._asdict() for one in found], listed)
