"""List what the models cost, and the settings."""

from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

from jobs.options import Report, Taken
from jobs.output import Listed, Terminal
from jobs.variables import read_settings
from pipeline.core.settings import settings_rows, with_unit
from pipeline.core.step import Step


def prices() -> Report:
    """Print prices and limits of every model.

    Prices are today's USD per 1 million tokens. Limits are requests and prompt tokens a minute, requests a day, and
    prompt tokens in batches that wait, in FINDABLE_TIER; FINDABLE_RPM, FINDABLE_TPM and FINDABLE_RPD override the first
    three.
    """
    from pipeline.batch import report  # with the database, which `settings` needs not

    rows = report.prices(read_settings(), on=datetime.now(UTC).date())
    headers = (
        *("model", "use", "live in $/1M", "live out $/1M", "batch in $/1M", "batch out $/1M", "requests/min"),
        *("tokens/min", "requests/day", "tokens enqueued", "last day", "price from"),
    )
    document = [row | {"unit": "USD per 1M tokens"} for row in rows]
    return Report(document, Listed(headers, [_priced(row) for row in rows]))


def _priced(row: dict[str, Any]) -> tuple[object, ...]:
    limits = row["limits"]
    amounts = (f"{row[way][name]:g}" for way in ("live", "batch") for name in ("in", "out"))
    figures = ("none" if limits[name] is None else limits[name] for name in ("rpm", "tpm", "rpd"))
    origin = f"{row['source']} ({row['priced_on']})"
    return (row["model"], row["use"], *amounts, *figures, limits["enqueued_tokens"], row["shutdown"], origin)


def settings(*, all_: Annotated[bool, Taken("Those with their default value, too.")] = False) -> Report:
    """Print every setting that was changed, its value, and where it came from; keys are masked.

    --json prints all of them.
    """
    found = settings_rows(read_settings())
    shown = [one for one in found if all_ or one.source != "default"]

    cells = [(one.name, with_unit(one.value, one.unit), one.source, one.help) for one in shown]
    listed: list[Any] = [Listed(("setting", "value", "from", "what it is"), cells)] if shown else []
    if left := len(found) - len(shown):
        said = f"{left} {'others ' if shown else ''}have their defaults: `{Step('settings', all=True)}`"
        listed.append(partial(Terminal().say, said))
    return Report([one._asdict() for one in found], listed)
