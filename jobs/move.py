"""`make move`: copy the workspace's database from its SQLite file into PostgreSQL."""

from dataclasses import asdict

import click

from jobs.command import WritingCommand, json_option, open_workspace
from jobs.output import plural, print_json, print_line
from jobs.typed import as_typed
from pipeline.ops import move


@click.command(name="move", cls=WritingCommand)
@click.argument("url", envvar="FINDABLE_TO")
@json_option
def main(url: str, *, as_json: bool) -> None:
    """Copy the database of the workspace from its SQLite file into the empty PostgreSQL database at URL.

    All or nothing: every row is read back and compared before anything is kept. Batches under way continue there. The
    file stays readable; findable.db.moved beside it keeps every command from writing to it, so that nothing is sent
    from two databases. Files, index and vectors stay in the workspace's directory (DATA).
    """
    with open_workspace(whole=True) as ws:
        report = move.run(ws, url)
    if as_json:
        print_json(asdict(report))
        return
    print_line(
        f"{report.source} was moved to {report.to} before; nothing was left to do"
        if report.again
        else f"{plural(report.total, 'row')} moved to {report.to}; counts and hashes agree"
    )
    if report.left_behind:
        print_line(f"not ours, and left in {report.source} alone: {', '.join(report.left_behind)}")
    print_line(f"next: FINDABLE_DATABASE_URL={report.to} in .env (with the password), then {as_typed('make status')}")
