"""`make import EXPERTS=people.csv` and `make import-passages PASSAGES=file.jsonl`: import rows of a file."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.command import Command, confirm_guess, json_option, open_workspace
from jobs.output import Terminal, plural, print_json, print_line
from pipeline.experts import import_ as import_people
from pipeline.ops import status
from pipeline.passages import import_ as import_texts

if TYPE_CHECKING:
    from pipeline.tables.findings import Finding, FindingGroup, ImportReport


_strict_option = click.option(
    "--strict", is_flag=True, envvar="FINDABLE_STRICT", help="Import nothing unless all rows are valid."
)
_report_option = click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="FINDABLE_REPORT",
    help="List every rejected row and changed value in this CSV file.",
)
map_option = click.option(
    "--map",
    "mapping",
    default="",
    envvar="FINDABLE_MAP",
    metavar="COLUMN=NAME,…",
    help="Which names in the file's header mean which columns: bio=Kurzbiografie,username=Mail.",
)


@click.command(name="import", cls=Command)
@click.argument("file", type=click.Path(path_type=Path), envvar="FINDABLE_EXPERTS")
@map_option
@_strict_option
@_report_option
@json_option
def main(file: Path, *, mapping: str, strict: bool, report: Path | None, as_json: bool) -> None:
    """Import the people in FILE: CSV with a header, JSON, JSON lines, or Parquet.

    One transaction; repeating it changes nothing. Columns are known by their names and by aliases in several languages;
    what only looks alike is asked about, and refused without a terminal. A file without usernames gets them made from
    e-mail or name. Rejected rows and changed values are shown by reason, and listed in --report. Exit code 2 if no row
    was imported.
    """
    with open_workspace(task="experts") as ws:
        done = import_people.run(ws, file, strict=strict, report=report, mapping=mapping, confirm=confirm_guess())
        then = "" if as_json else status.run(ws).document["next"]
    show_import(done, as_json=as_json, words=("person", "people"), released="with a new biography", then=then)


@click.command(name="import-passages", cls=Command)
@click.argument("file", type=click.Path(path_type=Path), envvar="FINDABLE_PASSAGES")
@map_option
@_strict_option
@_report_option
@json_option
def import_passages(file: Path, *, mapping: str, strict: bool, report: Path | None, as_json: bool) -> None:
    """Import the passages in FILE: JSON lines with id, text, and optionally source and metadata; or CSV, or Parquet.

    Texts are kept exactly as given. Imports block by block, resumes if interrupted, and changes nothing if repeated. Of
    duplicate ids the first one counts. A passage with concepts keeps its text; a different one is rejected and listed.
    Exit code 2 if no passage was imported.
    """
    with open_workspace(task="passages") as ws:
        done = import_texts.run(ws, file, strict=strict, report=report, mapping=mapping, confirm=confirm_guess())
        then = "" if as_json else status.run(ws).document["next"]
    described = f", {done.described:,} with other metadata" if done.described else ""
    words = ("passage", "passages")
    show_import(done, as_json=as_json, words=words, released="with another text", then=then, more=described)


def show_import(
    done: "ImportReport", *, as_json: bool, words: tuple[str, str], released: str, then: str, more: str = ""
) -> None:
    """Print the findings by reason, the notes, one line of result, and what is next; fail if nothing was imported."""
    if as_json:
        print_json(done.document)
        done.check()
        return
    terminal = Terminal()
    for group in done.groups.values():
        terminal.warn(_group_line(group) if group.count > 1 else _line(group.examples[0]))
    if done.report is None and any(group.count > len(group.examples) for group in done.groups.values()):
        terminal.say("note: REPORT=rejects.csv lists all of them (--report)")
    for note in done.notes:
        terminal.say(f"note: {note}")
    if done.rows_in:
        found = ", ".join(f"{count:,} {kind.value}" for kind, count in done.counts.items() if count)
        counts = f"{done.added:,} added, {done.updated:,} updated, {done.unchanged:,} unchanged{more}"
        print_line(f"{plural(done.rows_in, *words)} in: {counts}{'; ' + found if found else ''}")
    if done.released:
        print_line(f"{plural(done.released, *words)} unparked, to be asked again {released}")
    done.check()
    if then:
        terminal.hint(then)


def _group_line(group: "FindingGroup") -> str:
    """Return the findings of one reason as one line: how many, and the first three."""
    shown = [_example(finding, reason=group.reason) for finding in group.examples]
    column = f" in {group.column}" if group.column else ""
    more = ", …" if group.count > len(shown) else ""
    return f"{group.kind.value}: {group.count:,} times{column}: {group.reason}: {', '.join(shown)}{more}"


def _example(finding: "Finding", *, reason: str) -> str:
    """Return one finding of a group, with its own reason where the group's leaves something out."""
    own = finding.reason if finding.reason != reason else ""
    value = " ".join(part for part in (f"({finding.value})" if finding.value else "", own) if part)
    return f"line {finding.line}{f' {value}' if value else ''}"


def _line(finding: "Finding") -> str:
    """Return a finding as one line."""
    where = f"line {finding.line}" + (f", {finding.column}" if finding.column else "")
    whose = f" [{finding.key}]" if finding.key else ""
    value = f" ({finding.value})" if finding.value else ""
    return f"{finding.kind.value}: {where}: {finding.reason}{value}{whose}"
