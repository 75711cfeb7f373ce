"""`make import EXPERTS=people.csv`: people from a file into the table."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.command import Command, json_option, open_workspace
from jobs.output import Terminal, plural, print_json, print_line

if TYPE_CHECKING:
    from pipeline.records import Finding
    from pipeline.steps.import_experts import Report


@click.command(name="import", cls=Command)
@click.argument("file", type=click.Path(path_type=Path), envvar="FINDABLE_EXPERTS")
@click.option("--strict", is_flag=True, envvar="FINDABLE_STRICT", help="Take nothing unless every row is sound.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="FINDABLE_REPORT",
    help="List every rejected row and changed value in this CSV file.",
)
@json_option
def main(file: Path, *, strict: bool, report: Path | None, as_json: bool) -> None:
    """Import the people in FILE: CSV with a header, JSON, or JSON lines.

    One transaction; doing it again changes nothing. Rejected rows and changed values are told with line, column and
    reason. Exit code 2 when no row went in.
    """
    from pipeline.steps import import_experts

    with open_workspace(task="experts") as rt:
        done = import_experts.run(rt, file, strict=strict, report=report)
    print_json(done.document) if as_json else _show(done)
    done.check()


def _show(done: "Report") -> None:
    """Print the findings, the notes, and one line of what was done."""
    terminal = Terminal()
    for finding in done.findings:
        terminal.warn(_line(finding))
    more = sum(done.told.values()) - len(done.findings)
    if more:
        terminal.warn(f"and {more:,} more; --report FILE lists all of them")
    for note in done.notes:
        terminal.say(f"note: {note}")
    if done.rows_in:
        told = ", ".join(f"{count:,} {kind.value}" for kind, count in done.told.items() if count)
        counts = f"{done.added:,} added, {done.updated:,} updated, {done.unchanged:,} unchanged"
        print_line(f"{plural(done.rows_in, 'person', 'people')} in: {counts}{'; ' + told if told else ''}")
    if done.released:
        print_line(f"{plural(done.released, 'parked person goes', 'parked people go')} out again with a new biography")


def _line(finding: "Finding") -> str:
    """Return a finding as one line."""
    where = f"line {finding.line}" + (f", {finding.column}" if finding.column else "")
    who = f" [{finding.username}]" if finding.username else ""
    value = f" ({finding.value})" if finding.value else ""
    return f"{finding.kind.value}: {where}: {finding.reason}{value}{who}"
