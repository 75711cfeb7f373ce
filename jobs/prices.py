"""List what the models cost, and the settings."""

from datetime import UTC, datetime
from typing import Any

import click

from jobs.command import Command, json_option
from jobs.output import Terminal, print_json, print_table
from jobs.variables import read_settings
from pipeline.core.settings import settings_rows, with_unit

UNIT = "USD per 1M tokens"
OF_PRICES = (
    "model", "use", "live in $/1M", "live out $/1M", "batch in $/1M", "batch out $/1M", "requests/min", "tokens/min",
    "requests/day", "tokens enqueued", "last day", "price from",
)  # fmt: skip


@click.command(name="prices", cls=Command)
@json_option
def list_prices(*, as_json: bool) -> None:
    """Print prices and limits of every model.

    Prices are today's USD per 1 million tokens. Limits are requests and prompt tokens a minute, requests a day, and
    prompt tokens in batches that wait, in FINDABLE_TIER; FINDABLE_RPM, FINDABLE_TPM and FINDABLE_RPD override the first
    three.
    """
    from pipeline.batch import report  # with the database, which `settings` needs not

    rows = report.prices(read_settings(), on=datetime.now(UTC).date())
    if as_json:
        print_json([row | {"unit": UNIT} for row in rows])
    else:
        print_table(OF_PRICES, [_priced(row) for row in rows])


def _priced(row: dict[str, Any]) -> tuple[object, ...]:
    limits = row["limits"]
    amounts = (f"{row[way][name]:g}" for way in ("live", "batch") for name in ("in", "out"))
    figures = ("none" if limits[name] is None else f"{limits[name]:,}" for name in ("rpm", "tpm", "rpd"))
    enqueued = "-" if limits["enqueued_tokens"] is None else f"{limits['enqueued_tokens']:,}"
    origin = f"{row['source']} ({row['priced_on']})"
    return (row["model"], row["use"] or "-", *amounts, *figures, enqueued, row["shutdown"] or "-", origin)


OF_SETTINGS = ("setting", "value", "from", "what it is")


@click.command(name="settings", cls=Command)
@click.option("--all", "everything", is_flag=True, envvar="FINDABLE_ALL", help="Those with their default value, too.")
@json_option
def list_settings(*, everything: bool, as_json: bool) -> None:
    """Print every setting that was changed, its value, and where it came from; keys are masked.

    --json prints all of them.
    """
    found = settings_rows(read_settings())
    if as_json:
        print_json([one._asdict() for one in found])
        return
    shown = [one for one in found if everything or one.source != "default"]
    if shown:
        print_table(OF_SETTINGS, [(one.name, with_unit(one.value, one.unit), one.source, one.help) for one in shown])
    if left := len(found) - len(shown):
        Terminal().say(f"{left} {'others ' if shown else ''}have their defaults: `make settings ALL=1`")
