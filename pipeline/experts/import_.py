"""Import people from a file, in one transaction: all sound rows go in, or none where something stops it.

A dry one looks at every row in a snapshot, without keeping others from writing, and says what would become of it.
Tags are never written. A parked person with another biography is asked again; one in an open batch gets the answer to
the old text, and a finding says so. The report of findings is sealed right before the commit.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import table
from pipeline.experts.columns import HEADERS
from pipeline.experts.read import People
from pipeline.experts.rows import Person
from pipeline.experts.schema import fit_rates
from pipeline.store import asks, workspace
from pipeline.tables.cells import list_of, number_of, text_of
from pipeline.tables.findings import Finding, FindingKind, excerpt
from pipeline.tables.headers import parse_map
from pipeline.tables.imports import ImportReport, all_or_nothing, import_rows

if TYPE_CHECKING:
    from pipeline.store.database import Connection


KEPT = "not changed: a trigger or a rule of the database keeps the row as it is"
ASKED_ABOUT = ("bio", "job_title")  # what tags are made from, besides the username


@dataclass(frozen=True)
class _Change:
    """A person in the table whom the file describes differently, and the columns that differ."""

    person: Person
    row: Mapping[Any, Any]
    values: Mapping[str, str | float | None]

    @property
    def item_id(self) -> str:
        return str(self.row["id"])


def write_people(tx: "Connection", people: Sequence[Person], done: ImportReport) -> list[Finding]:
    """Write some hundred people in their order, and count them; return a finding for each whose tags or row stay.

    Where the report is of a `dry` import, they are counted alone.
    """
    known = _known(tx, people)
    new = [person for person in people if person.username not in known]
    changes = [
        _Change(person, row, values)
        for person in people
        if (row := known.get(person.username)) is not None and (values := _differing(tx, row, person))
    ]
    if not done.dry:
        table.insert_people(tx, [(person.username, person.values) for person in new])
    updated = [change for change in changes if done.dry or table.update_person(tx, change.row, change.values)]
    if (new or updated) and not done.dry:
        workspace.touch_revision(tx, table.TASK)
    done.added += len(new)
    done.updated += len(updated)
    done.unchanged += len(people) - len(new) - len(updated)
    kept = [_kept(change, KEPT) for change in changes if change not in updated]
    asked_about = [change for change in updated if not change.values.keys().isdisjoint(ASKED_ABOUT)]
    claimed = asks.claimed_among(tx, table.TASK, [change.item_id for change in asked_about])
    new_bios = [one.item_id for one in asked_about if one.values.get("bio") and one.item_id not in claimed]
    done.released += len((asks.unparkable if done.dry else asks.unpark)(tx, table.TASK, ids=new_bios))
    return [*kept, *_with_old_answers(asked_about, claimed)]


def _known(tx: "Connection", people: Sequence[Person]) -> dict[str, Mapping[Any, Any]]:
    """Return the rows of people who are there, by the username in the file.

    A column of an adopted table may compare without case; then its answer holds, or the row could not be written.
    """
    found = table.by_usernames(tx, [person.username for person in people])
    folded = {name.casefold(): row for name, row in found.items()}
    pairs = ((person.username, folded.get(person.username.casefold())) for person in people)
    asked = {person.username for person in people}
    return {
        name: found.get(name, row)
        for name, row in pairs
        if row is not None and (name in found or str(row["username"]) not in asked)
    }


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


def _with_old_answers(changes: Sequence[_Change], claimed: set[str]) -> Iterator[Finding]:
    """Yield a finding for each whose answer is to the old text: there already, or asked for by a claim."""
    for change in changes:
        if list_of(change.row["tags"]) != []:
            yield _kept(change, "changed, and the tags stay as they are")
        elif change.item_id in claimed:
            yield _kept(change, "changed while being asked; the answer to the old text will be kept")


def _kept(change: _Change, reason: str) -> Finding:
    """Return the finding that tells what is kept, and of which column: the first of those that are asked about."""
    column = next(column for column in (*ASKED_ABOUT, *change.values) if column in change.values)
    value = excerpt(str(change.values[column] or ""))
    return Finding(change.person.line, HEADERS[column], reason, value, FindingKind.KEPT, change.person.username)


BLOCK = 500  # people written at a time


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
        ConfigurationError: it is a Parquet file, and pyarrow is not installed.
    """
    with all_or_nothing():
        file = People(path, parse_map(mapping))
    done = PeopleImportReport(
        str(path),
        str(report) if report else None,
        dry=dry,
        strict=strict,
        columns=file.mapping.listed,
        format=file.format,
        encoding=file.encoding,
    )

    def write(tx: "Connection", people: list[Person], _: list[Finding]) -> list[Finding]:
        changes = [change for person in people for change in person.changes]
        return [*changes, *write_people(tx, people, done)]

    import_rows(
        ws.store,
        ws.display,
        file,
        file.people(),
        done,
        write=write,
        at=ws.now(),
        block=BLOCK,
        size=_size,
    )
    return done


def _size(person: Person) -> int:
    return len(str(person.values.get("bio")))
