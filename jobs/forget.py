"""`make forget`: remove one person everywhere, and verify it."""

from dataclasses import asdict

import click

from jobs import values
from jobs.command import WritingCommand, confirmed, json_option, open_workspace, yes_option
from jobs.output import Terminal, plural, print_json, print_line
from pipeline.ops import forget


@click.command(name="forget", cls=WritingCommand)
@click.argument("username", type=values.username, envvar="FINDABLE_EXPERT")
@yes_option
@json_option
def main(username: str, *, yes: bool, as_json: bool) -> None:
    """Remove one person everywhere: row, answers, lines in sealed files, vectors, uploads, older builds.

    Asks first. The account of each batch stays, without anything of the person. Ends with a byte scan of the workspace.
    If it was killed, the same command resumes.
    """
    with open_workspace(task="experts") as ws:
        report = forget.run(ws, username, confirm=lambda question: confirmed(question, yes=yes))
    if report.own_files:
        Terminal().warn(f"your own files still hold {username}: {', '.join(report.own_files)}")
    if report.named_by_others:
        Terminal().warn(f"what others wrote names {username}: {', '.join(report.named_by_others)}")
    if as_json:
        print_json(asdict(report))
        return
    lines = f"{plural(report.lines, 'line')} of {plural(len(report.files), 'sealed file')}"
    uploads = plural(report.uploads, "upload")
    print_line(f"{username} is forgotten: {lines}, {plural(report.vectors, 'vector')}, {uploads}, and every row")
    if report.reports:
        print_line(f"{plural(report.reports, 'file')} of reports that named them went too. Next: make qc")
    print_line("Backups and files outside the workspace are yours to clear")
