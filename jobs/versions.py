"""`make versions`: every version of answers that is here."""

from typing import TYPE_CHECKING

import click

from jobs.command import Command, json_option, open_workspace
from jobs.output import print_json, print_line, print_table, usd

if TYPE_CHECKING:
    from pipeline.withdrawing import Here

HEADERS = ("task", "version", "model", "rows", "items", "first", "last", "cost", "")


@click.command(name="versions", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
    """List every version of answers that is here: rows, items, dates, cost; those of other programs too.

    Of experts and passages alike; TASK=passages lists those of passages alone.
    """
    from pipeline.steps import versions

    with open_workspace() as rt:
        found = versions.run(rt)
    if as_json:
        print_json([versions.document(one) for one in found])
    elif found:
        first = 0 if len({one.subject for one in found}) > 1 else 1  # tasks are told apart where there are several
        print_table(HEADERS[first:], [_cells(one)[first:] for one in found])
    else:
        print_line("no versions yet")


def _cells(one: "Here") -> tuple[object, ...]:
    """Return one version as a line of the table."""
    label, model, rows, items, *moments = one.stock
    days = ["-" if moment is None else f"{moment:%Y-%m-%d %H:%M}" for moment in moments]
    return (one.subject, label, model or "-", f"{rows:,}", f"{items:,}", *days, usd(one.paid), one.told)
