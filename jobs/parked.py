"""`make parked`: who is not asked again, and why."""

import click

from jobs.command import Command, json_option, open_workspace
from jobs.output import print_json, print_line, print_table


@click.command(name="parked", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
    """List everyone who failed for good and is not asked again, with the reason."""
    from pipeline.steps import parked

    with open_workspace() as rt:
        rows, words = parked.listed(rt), rt.task.words
    if as_json:
        print_json([row.__dict__ for row in rows])
    elif rows:
        print_table(
            (words.one, "reason", "since"), [(row.name, row.reason, f"{row.since:%Y-%m-%d %H:%M}") for row in rows]
        )
    else:
        print_line("nobody is parked")
