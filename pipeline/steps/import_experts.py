"""Import people from a file, in one transaction: all sound rows go in, or none where something stops it.

Doing it again changes nothing. A row that is there already is updated where the file says something else; its tags
never are. The list of what was rejected, dropped or altered is sealed right before the commit, so that whoever finds
the people in the table also finds the list.
"""

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.experts import importing
from pipeline.experts.reading import People, read_people
from pipeline.listing import Listing, listing
from pipeline.records import Finding, Kind, Person
from pipeline.runtime import Runtime
from pipeline.store import events, workspace

PAGE = 500  # people written at a time
SHOWN = 1000  # findings kept in memory to be shown; the list in a file has all of them
COLUMNS = ("line", "column", "reason", "value", "kind", "username")


@dataclass
class Report:
    """What an import did. `findings` are the first thousand, `told` counts all of them by kind."""

    path: str
    format: str
    encoding: str
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    released: int = 0
    refused: bool = False
    told: dict[Kind, int] = field(default_factory=lambda: dict.fromkeys(Kind, 0))
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    report: str | None = None

    @property
    def rows_in(self) -> int:
        """Return how many rows of the file stand in the table now, whether or not they were there before."""
        return 0 if self.refused else self.added + self.updated + self.unchanged

    @property
    def document(self) -> dict[str, Any]:
        """Return the report for programs."""
        names = (
            "path",
            "format",
            "encoding",
            "added",
            "updated",
            "unchanged",
            "released",
            "refused",
            "notes",
            "report",
        )
        told = {kind.value: count for kind, count in self.told.items()}
        findings = [{name: getattr(finding, name) for name in COLUMNS} for finding in self.findings]
        return {**{name: getattr(self, name) for name in names}, **told, "findings": findings}

    def check(self) -> None:
        """Raise where nothing went in.

        Raises:
            InputError: `--strict` refused the file, or it holds no row that can go in. Nothing was changed.
        """
        hint = "mend the file, or import without --strict" if self.refused else "the findings say why"
        rejected, changed = self.told[Kind.REJECTED], self.told[Kind.CHANGED]
        if self.refused:
            raise InputError(
                f"{self.path}: {rejected} rejected and {changed} changed, so --strict imported nothing", hint=hint
            )
        if not self.rows_in:
            raise InputError(
                f"{self.path}: no row could be imported ({rejected} rejected); nothing was changed", hint=hint
            )


def run(rt: Runtime, path: Path, *, strict: bool = False, report: Path | None = None) -> Report:
    """Import the people in a file; with `report`, list everything told in that CSV file.

    A report says what happened also where nothing went in; `Report.check` raises then.

    Raises:
        InputError: the file cannot be read as people, or the list cannot be written. Nothing was changed.
    """
    people = read_people(path)
    done = Report(str(path), people.format, people.encoding, report=str(report) if report else None)
    with contextlib.suppress(_Refused), listing(report, columns=COLUMNS, source=path) as told, rt.store.write() as tx:
        with contextlib.closing(_pages(people, done, told)) as pages, rt.display.bar("importing", None) as bar:
            for page in pages:
                written = importing.write(tx, page)
                _count(written, done, told)
                bar.show(done.rows_in)
        told.seal()
        done.refused = strict and bool(done.told[Kind.REJECTED] + done.told[Kind.CHANGED])
        if done.refused:
            raise _Refused
        if done.added or done.updated:
            workspace.touch(tx)
            new = f"{done.added} added, {done.updated} updated, {done.told[Kind.REJECTED]} rejected"
            events.record(tx, "import", path.name, old=None, new=new, why="import", at=rt.now())
    done.notes = people.notes
    return done


class _Refused(Exception):  # noqa: N818 - rolls the transaction back, and is seen by nobody
    """`--strict` takes nothing back; the transaction ends without a trace."""


def _pages(people: People, done: Report, told: Listing) -> Generator[list[Person]]:
    """Yield people in pages, and tell every finding on the way, in the order of the file."""
    page: list[Person] = []
    for row in people:
        for finding in [row] if isinstance(row, Finding) else row.changes:
            _tell(finding, done, told)
        if isinstance(row, Person):
            page.append(row)
        if len(page) == PAGE:
            yield page
            page = []
    if page:
        yield page


def _count(written: importing.Written, done: Report, told: Listing) -> None:
    """Add what became of a page to the report."""
    done.added += written.added
    done.updated += written.updated
    done.unchanged += written.unchanged
    done.released += written.released
    for finding in written.kept:
        _tell(finding, done, told)


def _tell(finding: Finding, done: Report, told: Listing) -> None:
    """Count a finding, list it, and keep it to be shown while there is room."""
    done.told[finding.kind] += 1
    told.add([str(getattr(finding, name) or "") for name in COLUMNS])
    if len(done.findings) < SHOWN:
        done.findings.append(finding)
