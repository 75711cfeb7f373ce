"""Import people from a file, in one transaction: all sound rows go in, or none where something stops it.

A dry one looks at every row in a snapshot, without keeping others from writing, and says what would become of it.
Tags are never written. A parked person with another biography is asked again; one in an open batch gets the answer to
the old text, and a finding says so.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import table
from pipeline.experts.columns import HEADERS
from pipeline.experts.read import People
from pipeline.experts.rows import Person
from pipeline.experts.schema import fit_rates
from pipeline.store import asks, workspace
from pipeline.tables.cells import list_of, number_of, text_of
from pipeline.tables.columns import parse_map
from pipeline.tables.findings import Finding, FindingKind, ImportReport, all_or_nothing, excerpt, import_rows

if TYPE_CHECKING:
    from pipeline.store.database import Connection

BLOCK = 500  # people written at a time
KEPT = "not changed: a trigger or a rule of the database keeps the row as it is"
ASKED_ABOUT = ("bio", "job_title")  # what tags are made from, besides the username


@dataclass
class PeopleImportReport(ImportReport):
    """What an import of people did, and how the file was read."""

    FIELDS: ClassVar = (
        "path", "format", "encoding", "dry", "added", "updated", "unchanged", "released", "refused", "notes", "report",
    )  # fmt: skip
    NAMES: ClassVar = ("line", "column", "reason", "value", "kind", "username")

    format: str = ""
    encoding: str = ""


def run(
    ws: OpenWorkspace,
    path: Path,
    *,
    mapping: str = "",
    strict: bool = False,
    report: Path | None = None,
    dry: bool = False,
) -> PeopleImportReport:
    """Import the people in a file.

    A report says what happened also where nothing went in; `ImportReport.check` raises then.

    Raises:
        InputError: the file cannot be read as people, or the report cannot be written. Nothing was changed.
    """
    with all_or_nothing():
        file = People(path, parse_map(mapping))
    done = PeopleImportReport(str(path), str(report) if report else None, dry=dry, strict=strict)
    done.format, done.encoding, done.columns, done.notes = file.format, file.encoding, file.mapping.listed, file.notes
    import_rows(
        ws.store,
        ws.display,
        file.people(),
        done,
        write=lambda tx, people: _write(tx, people, done),
        at=ws.now(),
        block=BLOCK,
        size=lambda person: len(str(person.values.get("bio"))),
    )
    return done


class _Change(NamedTuple):
    """A person in the table whom the file describes differently, and the columns that differ."""

    person: Person
    row: Mapping[Any, Any]
    values: Mapping[str, str | float | None]

    def kept(self, reason: str) -> Finding:
        """Return the finding that tells what is kept, and of which column: the first of those that are asked about."""
        column = next(column for column in (*ASKED_ABOUT, *self.values) if column in self.values)
        value = excerpt(str(self.values[column] or ""))
        return Finding(self.person.line, HEADERS[column], reason, value, FindingKind.KEPT, self.person.username)


def _write(tx: "Connection", people: Sequence[Person], done: ImportReport) -> list[Finding]:
    """Write some people, and count them; return what is to be told of each. Of a `dry` import nothing is written."""
    told = [change for person in people for change in person.changes]
    known = _known(tx, people)
    new = [person for person in people if person.username not in known]
    if not done.dry:
        table.insert_people(tx, [(person.username, person.values) for person in new])
    updated: dict[str, _Change] = {}
    for person in people:
        row = known.get(person.username)
        if row is None or not (values := _differing(tx, row, person)):
            continue
        change = _Change(person, row, values)
        if done.dry or table.update_person(tx, row, values):
            updated[str(row["id"])] = change
        else:
            told.append(change.kept(KEPT))
    if (new or updated) and not done.dry:
        workspace.touch_revision(tx, table.TASK)
    done.added += len(new)
    done.updated += len(updated)
    done.unchanged += len(people) - len(new) - len(updated)
    asked_about = {key: one for key, one in updated.items() if not one.values.keys().isdisjoint(ASKED_ABOUT)}
    claimed = asks.claimed_among(tx, table.TASK, list(asked_about))
    new_bios = [key for key, one in asked_about.items() if one.values.get("bio") and key not in claimed]
    done.released += len((asks.unparkable if done.dry else asks.unpark)(tx, table.TASK, ids=new_bios))
    for key, change in asked_about.items():
        if list_of(change.row["tags"]) != []:
            told.append(change.kept("changed, and the tags stay as they are"))
        elif key in claimed:
            told.append(change.kept("changed while being asked; the answer to the old text will be kept"))
    return told


def _known(tx: "Connection", people: Sequence[Person]) -> dict[str, Mapping[Any, Any]]:
    """Return the rows of people who are there, by the username in the file.

    A column of an adopted table may compare without case; then its answer holds, or the row could not be written.
    """
    asked = {person.username for person in people}
    found = table.by_usernames(tx, list(asked))
    others = {name.casefold(): row for name, row in found.items() if name not in asked}
    alike = {name: others[name.casefold()] for name in asked if name.casefold() in others}
    return {**alike, **{name: row for name, row in found.items() if name in asked}}


def _differing(tx: "Connection", row: Mapping[Any, Any], person: Person) -> dict[str, str | float | None]:
    """Return the columns in which a person's file and row differ; white space around a value makes no difference."""
    wanted = fit_rates(tx, person.values)
    return {
        column: value
        for column, value in person.values.items()
        if _seen(column, wanted[column]) != _seen(column, row[column])
    }


def _seen(column: str, cell: Any) -> str | float | None:
    return number_of(cell) if column == "hourly_rate" else text_of(cell) or None
