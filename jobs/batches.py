"""`make batches`: the list of batches."""

from typing import TYPE_CHECKING

import click

from jobs.command import Command, json_option, open_workspace
from jobs.output import print_json, print_line, print_table, usd

if TYPE_CHECKING:
    from pipeline.steps.batches import Row

HEADERS = ("batch", "state", "remote", "rows", "done", "cost", "age", "reason")


@click.command(name="batches", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
    """List every batch: number, state, remote name, rows, cost, age."""
    from pipeline.steps import batches

    with open_workspace() as rt:
        rows = batches.run(rt)
    if as_json:
        print_json([row.document for row in rows])
    elif rows:
        print_table(HEADERS, [_cells(row) for row in rows])
    else:
        print_line("no batches yet. Next: make batch-submit")


def _cells(row: "Row") -> tuple[object, ...]:
    """Return one batch as a line of the table; estimated costs are marked."""
    cost = usd(row.cost) if row.is_actual else f"~{usd(row.cost)}"
    return (row.number, row.state, row.remote_name or "-", row.rows, row.done, cost, row.age, row.reason or "")
