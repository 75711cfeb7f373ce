"""`make import-passages PASSAGES=file.jsonl`: passages from a file into the table."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.command import Command, json_option, open_workspace
from jobs.output import Terminal, plural, print_json, print_line

if TYPE_CHECKING:
    from pipeline.records import Told
    from pipeline.steps.import_passages import Report


@click.command(name="import-passages", cls=Command)
@click.argument("file", type=click.Path(path_type=Path), envvar="FINDABLE_PASSAGES")
@click.option("--strict", is_flag=True, envvar="FINDABLE_STRICT", help="Take nothing unless every line is sound.")
@click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="FINDABLE_REPORT",
    help="List everything told of the lines in this CSV file.",
)
@json_option
def main(file: Path, *, strict: bool, report: Path | None, as_json: bool) -> None:
    """Import the passages in FILE, one JSON object a line: id, text, and maybe source and metadata.

    Texts are kept exactly as given. Block by block: interrupted, it goes on when it is run again; doing it again
    changes nothing. Of duplicate ids the first wins. A passage with concepts keeps its text; another one is refused and
    listed. Exit code 2 when no passage went in.
    """
    from pipeline.steps import import_passages

    with open_workspace(task="passages") as rt:
        done = import_passages.run(rt, file, strict=strict, report=report)
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
        described = f", {done.described:,} with other metadata" if done.described else ""
        print_line(f"{plural(done.rows_in, 'passage')} in: {counts}{described}{'; ' + told if told else ''}")
    if done.released:
        print_line(f"{plural(done.released, 'parked passage goes', 'parked passages go')} out again with another text")


def _line(finding: "Told") -> str:
    """Return a finding as one line."""
    where = f"line {finding.line}" + (f", {finding.field}" if finding.field else "")
    which = f" [{finding.id}]" if finding.id else ""
    value = f" ({finding.value})" if finding.value else ""
    return f"{finding.kind.value}: {where}: {finding.reason}{value}{which}"
