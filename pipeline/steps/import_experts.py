"""Import people from a file, in one transaction: all sound rows go in, or none where something stops it.

Doing it again changes nothing. A row that is there already is updated where the file says something else; its tags
never are. The report of what was rejected, dropped or altered is sealed right before the commit, so that it is there
wherever the people are in the table.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from pipeline.experts import importing
from pipeline.experts.judging import Person
from pipeline.experts.reading import People
from pipeline.runtime import Runtime
from pipeline.store import events, workspace
from pipeline.tables.findings import ImportReport, Kind, rejects_report

BLOCK = 500  # people written at a time


@dataclass
class Report(ImportReport):
    """What an import of people did, and how the file was read."""

    FIELDS: ClassVar = (
        "path", "format", "encoding", "added", "updated", "unchanged", "released", "refused", "notes", "report",
    )  # fmt: skip
    NAMES: ClassVar = ("line", "column", "reason", "value", "kind", "username")

    format: str = ""
    encoding: str = ""


def run(rt: Runtime, path: Path, *, strict: bool = False, report: Path | None = None) -> Report:
    """Import the people in a file; with `report`, list everything told in that CSV file.

    A report says what happened also where nothing went in; `Report.check` raises then.

    Raises:
        InputError: the file cannot be read as people, or the report cannot be written. Nothing was changed.
        ConfigurationError: it is a Parquet file, and pyarrow is not installed.
    """
    file = People(path)
    done = Report(str(path), str(report) if report else None, format=file.format, encoding=file.encoding)
    with (
        contextlib.suppress(_Refused),
        rejects_report(report, columns=Report.NAMES, source=path) as rejects,
        rt.store.write() as tx,
        rt.display.bar("importing", None) as bar,
        contextlib.closing(file.in_blocks(file.people(), bar, most=BLOCK, size=_size)) as blocks,
    ):
        for people, findings in blocks:
            kept = importing.write(tx, people, done)
            changes = [change for person in people for change in person.changes]
            done.tell([*findings, *changes, *kept], rejects)
        if rejects is not None:
            rejects.seal()
        done.refused = strict and done.is_flawed
        if done.refused:
            raise _Refused
        if done.added or done.updated:
            workspace.touch(tx)
            new = f"{done.added} added, {done.updated} updated, {done.told[Kind.REJECTED]} rejected"
            events.record(tx, "import", path.name, old=None, new=new, why="import", at=rt.now())
    done.notes = file.notes
    return done


class _Refused(Exception):  # noqa: N818 - rolls the transaction back, and is caught in `run`
    """`--strict` takes nothing back; the transaction ends without a trace."""


def _size(person: Person) -> int:
    """Return about how many characters of text a person has."""
    return len(str(person.values.get("bio")))
