"""`make import EXPERTS=people.csv` and `make import-passages PASSAGES=file.jsonl`: import rows of a file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.command import WritingCommand, json_option, make_workspace
from jobs.output import Terminal, plural, print_json, print_line

if TYPE_CHECKING:
    from pipeline.tables.findings import Finding, ImportReport


_strict_option = click.option(
    "--strict", is_flag=True, envvar="FINDABLE_STRICT", help="Import nothing unless all rows are valid."
)
_report_option = click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="FINDABLE_REPORT",
    help="List every rejected row and changed value in this CSV file.",
)


@click.command(name="import", cls=WritingCommand)
@click.argument("file", type=click.Path(path_type=Path), envvar="FINDABLE_EXPERTS")
@_strict_option
@_report_option
@json_option
def main(file: Path, *, strict: bool, report: Path | None, as_json: bool) -> None:
    """Import the people in FILE: CSV with a header, JSON, JSON lines, or Parquet.

    One transaction; repeating it changes nothing. Rejected rows and changed values are listed with line, column and
    reason. Exit code 2 if no row was imported.
    """
    from pipeline.experts import import_ as import_people

    with make_workspace(task="experts") as ws:
        done = import_people.run(ws, file, strict=strict, report=report)
    _show(done, as_json=as_json, words=("person", "people"), released="with a new biography")


@click.command(name="import-passages", cls=WritingCommand)
@click.argument("file", type=click.Path(path_type=Path), envvar="FINDABLE_PASSAGES")
@_strict_option
@_report_option
@json_option
def import_passages(file: Path, *, strict: bool, report: Path | None, as_json: bool) -> None:
    """Import the passages in FILE: JSON lines with id, text, and optionally source and metadata; or CSV, or Parquet.

    Texts are kept exactly as given. Imports block by block, resumes if interrupted, and changes nothing if repeated. Of
    duplicate ids the first one counts. A passage with concepts keeps its text; a different one is rejected and listed.
    Exit code 2 if no passage was imported.
    """
    from pipeline.passages import import_ as import_texts

    with make_workspace(task="passages") as ws:
        done = import_texts.run(ws, file, strict=strict, report=report)
    described = f", {done.described:,} with other metadata" if done.described else ""
    _show(done, as_json=as_json, words=("passage", "passages"), released="with another text", more=described)


def _show(done: "ImportReport", *, as_json: bool, words: tuple[str, str], released: str, more: str = "") -> None:
    """Print the findings, the notes, and one line of result; fail if nothing was imported."""
    if as_json:
        print_json(done.document)
        done.check()
        return
    terminal = Terminal()
    for finding in done.findings:
        terminal.warn(_line(finding))
    if left := sum(done.counts.values()) - len(done.findings):
        terminal.warn(f"and {left:,} more; --report FILE lists all of them")
    for note in done.notes:
        terminal.say(f"note: {note}")
    if done.rows_in:
        found = ", ".join(f"{count:,} {kind.value}" for kind, count in done.counts.items() if count)
        counts = f"{done.added:,} added, {done.updated:,} updated, {done.unchanged:,} unchanged{more}"
        print_line(f"{plural(done.rows_in, *words)} in: {counts}{'; ' + found if found else ''}")
    if done.released:
        print_line(f"{plural(done.released, *words)} unparked, to be asked again {released}")
    done.check()


def _line(finding: "Finding") -> str:
    """Return a finding as one line."""
    where = f"line {finding.line}" + (f", {finding.column}" if finding.column else "")
    whose = f" [{finding.key}]" if finding.key else ""
    value = f" ({finding.value})" if finding.value else ""
    return f"{finding.kind.value}: {where}: {finding.reason}{value}{whose}"
