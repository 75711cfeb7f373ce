"""`make forget EXPERT=username`, `make forget TASK=reviews ITEM=key`: remove one person or item everywhere."""

from dataclasses import asdict

import click

from jobs import values
from jobs.command import WritingCommand, confirmed, json_option, open_workspace, yes_option
from jobs.output import plural, print_json, print_line
from pipeline.ops import forget


@click.command(name="forget", cls=WritingCommand)
@click.argument("username", type=values.username, required=False, envvar="FINDABLE_EXPERT")
@click.option("--item", type=values.username, envvar="FINDABLE_ITEM", help="An item of the task TASK=, by its key.")
@yes_option
@json_option
def main(username: str | None, *, item: str | None, yes: bool, as_json: bool) -> None:
    """Remove one person everywhere: row, answers, lines in sealed files, vectors, uploads, older builds.

    With --item one item of a task of your own, which its source does not bring back: a digest of its key is kept. An id
    does where another program deleted the row.

    Asks first. The account of each batch stays, without anything of the person. If it was killed, the same command
    resumes. It says what is out of its reach.
    """
    if (item is None) == (username is None):
        raise click.UsageError("name one: USERNAME or --item. With make: EXPERT=…, or TASK=… ITEM=…")
    name = item or username or ""
    with open_workspace(task="experts" if item is None else None) as ws:
        words = ws.task.words
        report = forget.run(ws, name, confirm=lambda question: confirmed(question, yes=yes))
    if as_json:
        print_json(asdict(report))
        return
    lines = f"{plural(report.lines, 'line')} of {plural(len(report.files), 'sealed file')}"
    uploads = plural(report.uploads, "upload")
    print_line(f"{name} is forgotten: {lines}, {plural(report.vectors, 'vector')}, {uploads}, and every row")
    if report.went_on:
        print_line("Its row was gone before; what was left of it went now")
    if report.reports:
        print_line(f"{plural(report.reports, 'file')} of reports that named them went too. Next: {words.make('qc')}")
    print_line(f"Out of reach: {report.out_of_reach}")
