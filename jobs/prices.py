"""`make prices`: print prices and limits of the models."""

from datetime import UTC, datetime
from typing import Any

import click

from jobs.command import Command, json_option
from jobs.dotenv import read_settings
from jobs.output import print_json, print_table
from pipeline.cost import prices

UNIT = "USD per 1M tokens"
HEADERS = (
    "model", "use", "live in $/1M", "live out $/1M", "batch in $/1M", "batch out $/1M", "requests/min", "tokens/min",
    "requests/day", "tokens enqueued", "last day", "price from",
)  # fmt: skip


@click.command(name="prices", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
    """Print prices and limits of every model.

    Prices are today's USD per 1 million tokens. Limits are requests and prompt tokens a minute, requests a day, and
    prompt tokens in batches that wait, in FINDABLE_TIER; FINDABLE_RPM, FINDABLE_TPM and FINDABLE_RPD override the first
    three.
    """
    rows = prices.run(read_settings(), on=datetime.now(UTC).date())
    if as_json:
        print_json([row | {"unit": UNIT} for row in rows])
    else:
        print_table(HEADERS, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    """Return one model as a line of the table."""
    limits = row["limits"]
    amounts = (f"{row[way][name]:g}" for way in ("live", "batch") for name in ("in", "out"))
    figures = ("none" if limits[name] is None else f"{limits[name]:,}" for name in ("rpm", "tpm", "rpd"))
    enqueued = "-" if limits["enqueued_tokens"] is None else f"{limits['enqueued_tokens']:,}"
    origin = f"{row['source']} ({row['priced_on']})"
    return (row["model"], row["use"] or "-", *amounts, *figures, enqueued, row["shutdown"] or "-", origin)
