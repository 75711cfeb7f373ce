"""`make batches`: the list of batches."""

import click

from jobs.command import Command, json_option, read_workspace
from jobs.output import print_json, print_line, print_table, usd
from pipeline.batch import listing

HEADERS = ("batch", "task", "state", "remote", "rows", "done", "cost", "begun", "took", "reason")


@click.command(name="batches", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
    """List every batch of every task: number, state, remote name, rows, cost, when it began (UTC), what it took."""
    with read_workspace(whole=True) as ws:
        rows, words = listing.run(ws.store, now=ws.now()), ws.task.words
    if as_json:
        print_json([row.document for row in rows])
    elif rows:
        several = len({row.batch.task for row in rows}) > 1
        shown = [one for one in range(len(HEADERS)) if several or HEADERS[one] != "task"]
        print_table([HEADERS[one] for one in shown], [[_cells(row)[one] for one in shown] for row in rows])
    else:
        print_line(f"no batches yet. Next: {words.make('batch-submit')}")


def _cells(row: listing.BatchSummary) -> tuple[object, ...]:
    """Return one batch as a line of the table; estimated costs are marked, and times of batches that are not over."""
    cost, batch = usd(row.cost) if row.is_actual else f"~{usd(row.cost)}", row.batch
    took = row.age_words if batch.is_over else f"{row.age_words} …"
    return (
        *(batch.number, batch.task, batch.state.value, batch.remote_name or "-", batch.requests),
        *(row.done, cost, f"{batch.created_at:%Y-%m-%d %H:%M}", took, batch.reason or ""),
    )
