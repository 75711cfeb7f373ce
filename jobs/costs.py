"""`make costs`: what was spent, by day, task, model or batch."""

import click

from jobs.command import Command, json_option, read_workspace
from jobs.output import print_json, print_line, print_table, usd
from pipeline.cost import costs

HEADERS = ("batches", "live calls", "tokens in", "tokens out", "cost", "lost calls", "perhaps lost", "under way")
FIRST = {"day": "day (US/Pacific)"}  # the heading of the first column, where it is not the word itself


@click.command(name="costs", cls=Command)
@click.option(
    "--by", type=click.Choice(list(costs.KEYS)), default="day", envvar="FINDABLE_BY", help="Add up by which of these."
)
@json_option
def main(by: str, *, as_json: bool) -> None:
    """Add up what batches and live calls have cost, by day, task, model or batch.

    A day is that of daily budgets. What was sent and ended unseen may have been paid for, and is told apart, as what is
    under way is, at estimates. Embeddings are not counted.
    """
    with read_workspace(whole=True) as ws:
        report = costs.run(ws.store, ws.subjects, by=by)
    if as_json:
        print_json(costs.document(report))
    elif report.rows:
        rows = [*report.rows.items(), ("all", report.total)]
        print_table((FIRST.get(by, by), *HEADERS), [(key, *_cells(amounts)) for key, amounts in rows])
    else:
        print_line("nothing was sent yet. Next: make preflight")


def _cells(amounts: costs.Amounts) -> tuple[str, ...]:
    """Return amounts as the cells of a line; estimates are marked."""
    counts = (amounts.batches, amounts.calls, amounts.tokens_in, amounts.tokens_out)
    lost, under_way = (f"~{usd(one)}" if one else "-" for one in (amounts.lost, amounts.under_way))
    return (*(f"{one:,}" for one in counts), usd(amounts.cost), f"{amounts.lost_calls or '-'}", lost, under_way)
