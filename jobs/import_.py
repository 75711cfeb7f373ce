"""`make import EXPERTS=people.csv` and `make import-passages PASSAGES=file.jsonl`: import rows of a file."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jobs.command import WritingCommand, json_option, look_at_workspace, make_workspace, map_option
from jobs.output import Terminal, print_json
from jobs.render import show_import
from pipeline.core.errors import InputError
from pipeline.core.files import why_not_readable
from pipeline.ops import status

if TYPE_CHECKING:
    from pipeline.tables.findings import ImportReport


_strict_option = click.option(
    "--strict", is_flag=True, envvar="FINDABLE_STRICT", help="Import nothing unless all rows are valid."
)
_report_option = click.option(
    "--report",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="FINDABLE_REPORT",
    help="List every rejected row and changed value in this CSV file.",
)


_dry_option = click.option("--dry", is_flag=True, envvar="FINDABLE_DRY", help="Only show what would go in.")


@click.command(name="import", cls=WritingCommand)
@click.argument("file", type=click.Path(path_type=Path), envvar="FINDABLE_EXPERTS")
@map_option
@_strict_option
@_report_option
@_dry_option
@json_option
def main(file: Path, *, mapping: str, strict: bool, report: Path | None, dry: bool, as_json: bool) -> None:
    """Import the people in FILE: CSV with a header, JSON, JSON lines, or Parquet.

    One transaction; repeating it changes nothing. Columns are known by their names and by aliases in several languages;
    what only looks alike is named with the MAP= that takes it. Rejected rows and changed values are shown by reason,
    and listed in --report. Exit code 2 if no row was imported.
    """
    from pipeline.experts import import_ as import_people

    _check_there(file)
    with (look_at_workspace if dry else make_workspace)(task="experts") as ws:
        done = import_people.run(ws, file, mapping=mapping, strict=strict, report=report, dry=dry)
        then = "" if as_json or dry else status.run(ws).document["next"]
    _finish(done, then, as_json=as_json, words=("person", "people"), released="with a new biography")


@click.command(name="import-passages", cls=WritingCommand)
@click.argument("file", type=click.Path(path_type=Path), envvar="FINDABLE_PASSAGES")
@map_option
@_strict_option
@_report_option
@_dry_option
@json_option
def import_passages(file: Path, *, mapping: str, strict: bool, report: Path | None, dry: bool, as_json: bool) -> None:
    """Import the passages in FILE: JSON lines with id, text, and optionally source and metadata; or CSV, or Parquet.

    Texts are kept exactly as given. One transaction; repeating it changes nothing. Of duplicate ids the first one
    counts. A passage with concepts keeps its text; a different one is rejected and listed.
    Exit code 2 if no passage was imported.
    """
    from pipeline.passages import import_ as import_texts

    _check_there(file)
    with (look_at_workspace if dry else make_workspace)(task="passages") as ws:
        done = import_texts.run(ws, file, mapping=mapping, strict=strict, report=report, dry=dry)
        then = "" if as_json or dry else status.run(ws).document["next"]
    described = f", {done.described:,} with other metadata" if done.described else ""
    _finish(done, then, as_json=as_json, words=("passage", "passages"), released="with another text", more=described)


def _check_there(file: Path) -> None:
    """Refuse a file that cannot be read, before a workspace is made for it.

    Raises:
        InputError: it cannot; the message says why.
    """
    if why := why_not_readable(file):
        raise InputError(f"{file} {why}; nothing was imported", hint="check the path")


def _finish(done: "ImportReport", then: str, *, as_json: bool, **words: Any) -> None:
    """Print the report and what is next; fail if nothing was imported."""
    if as_json:
        print_json(done.document)
    else:
        show_import(done, **words)
    done.check()
    if then:
        Terminal().hint(then)
