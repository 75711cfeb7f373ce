"""`make prices`: print prices and limits of the models, and the source of each figure."""

from datetime import UTC, datetime
from typing import Any

import click

from jobs.command import Command, json_option
from jobs.dotenv import read_settings
from jobs.output import Terminal, print_json, print_table
from pipeline.cost import prices

UNIT = "USD per 1M tokens"
HEADERS = (
    "model", "use", "live in $/1M", "live out $/1M", "batch in $/1M", "batch out $/1M", "requests/min", "tokens/min",
    "requests/day", "tokens enqueued", "last day", "price from",
)  # fmt: skip


@click.command(name="prices", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
    """Print prices and limits of every model, with sources.

    Prices are today's USD per 1 million tokens. Limits are requests and prompt tokens a minute, requests a day, and
    prompt tokens in batches that wait, in FINDABLE_TIER; `~` marks a figure that is not known for it, and FINDABLE_RPM,
    FINDABLE_TPM and FINDABLE_RPD override the first three. --json names the source of each. If the list of prices and
    the catalogue differ, the list counts, and a warning says so.
    """
    rows = prices.run(read_settings(), on=datetime.now(UTC).date())
    for row in rows:
        if row["differs"]:
            Terminal().warn(row["differs"])
    if as_json:
        print_json([row | {"unit": UNIT} for row in rows])
    else:
        print_table(HEADERS, [_cells(row) for row in rows])


def _cells(row: dict[str, Any]) -> tuple[object, ...]:
    """Return one model as a line of the table."""
    live, batch, limits = row["live"], row["batch"], row["limits"]
    amounts = (f"{price[way]:g}" for price in (live, batch) for way in ("in", "out"))
    figures = (
        _figure(limits[name], is_sure=not source.startswith("unknown")) for name, source in limits["sources"].items()
    )
    enqueued = "-" if limits["enqueued_tokens"] is None else f"{limits['enqueued_tokens']:,}"
    origin = _origin(live) if live["source"] == batch["source"] else f"{_origin(live)}; batch: the catalogue"
    return (row["model"], row["use"] or "-", *amounts, *figures, enqueued, row["shutdown"] or "-", origin)


def _figure(limit: int | None, *, is_sure: bool) -> str:
    """Return a limit, marked if it is not sure."""
    return f"{'' if is_sure else '~'}{'none' if limit is None else f'{limit:,}'}"


def _origin(price: dict[str, Any]) -> str:
    """Return the source of a price, and its date if the source does not name it."""
    source, day = str(price["source"]), str(price["date"] or "")
    return source if day[:7] in source else f"{source} ({day})"
