"""`make passages-status`: where the passages stand, and what to type next."""

import click

from jobs import status
from jobs.command import Command, json_option, open_workspace
from jobs.output import print_json


@click.command(name="passages-status", cls=Command)
@json_option
def main(*, as_json: bool) -> None:
    """Say where the passages stand: how many have concepts, the pilot, the backfill, and what to type next."""
    from pipeline.steps import status as step

    with open_workspace(task="passages") as rt:
        report = step.run(rt)
    print_json(report.document) if as_json else status.show(report)
