"""`make batch-cancel BATCH=n`: cancel one batch."""

import click

from jobs.command import WritingCommand, confirmed, json_option, open_workspace, yes_option
from jobs.output import print_json, print_line
from jobs.values import COUNT
from pipeline.batch import cancel


@click.command(name="batch-cancel", cls=WritingCommand)
@click.argument("number", type=COUNT, envvar="FINDABLE_BATCH")
@yes_option
@json_option
def main(number: int, *, yes: bool, as_json: bool) -> None:
    """Cancel batch NUMBER at the API, or release its people if it was never created.

    A batch that the API does not show any more is given up after confirmation.
    """
    with open_workspace(whole=True) as ws:
        report = cancel.run(ws, number=number, confirm=lambda question: confirmed(question, yes=yes))
    document = {"batch": report.number, "said": report.said, "next": report.next}
    print_json(document) if as_json else print_line(f"batch {report.number}: {report.said}. Next: {report.next}")
