"""`make prices`: print prices and limits of the models, and the source of each figure."""

from datetime import UTC, datetime

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
        if row.differs:
            Terminal().warn(row.differs)
    if as_json:
        print_json([row.document | {"unit": UNIT} for row in rows])
    else:
        print_table(HEADERS, [_cells(row) for row in rows])


def _cells(row: prices.ModelPrices) -> tuple[object, ...]:
    """Return one model as a line of the table."""
    amounts = (f"{amount:g}" for price in (row.live, row.batch) for amount in (price.tokens_in, price.tokens_out))
    limits = (
        _figure(limit, is_sure=not source.startswith("unknown"))
        for limit, source in zip(row.limits.limits, row.limits.sources, strict=True)
    )
    enqueued = "-" if row.enqueued_tokens is None else f"{row.enqueued_tokens:,}"
    origin = _origin(row.live) if row.live.source == row.batch.source else f"{_origin(row.live)}; batch: the catalogue"
    return (row.model, row.use or "-", *amounts, *limits, enqueued, row.shutdown or "-", origin)


def _figure(limit: int | None, *, is_sure: bool) -> str:
    """Return a limit, marked if it is not sure."""
    return f"{'' if is_sure else '~'}{'none' if limit is None else f'{limit:,}'}"


def _origin(price: prices.PriceFigure) -> str:
    """Return the source of a price, and its date if the source does not name it."""
    day = str(price.date or "")
    return price.source if day[:7] in price.source else f"{price.source} ({day})"
