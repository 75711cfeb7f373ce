"""Import the rows of a file in one transaction, all sound ones or none, with a finding for each fault.

A report of all findings as CSV is sealed whole, right before the commit.
"""

import contextlib
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, TypeVar

from pipeline.core.declaration import AS_IT_IS, ReadOptions
from pipeline.core.errors import InputError
from pipeline.core.files import SealedWriter, sweep_parts, target_of
from pipeline.core.progress import Progress
from pipeline.core.quotes import leaves
from pipeline.core.text import UNSOUND, csv_line
from pipeline.store import workspace
from pipeline.store.database import Connection, Store
from pipeline.store.rows import FileRefusals, RefusedRow
from pipeline.tables.cells import compact_json
from pipeline.tables.csv_records import CUT_MARK, MAX_CUT_CELL

EXCERPT = 80  # characters of a value that a finding shows
SHOWN = 1000  # findings kept in memory to be shown; the report in a file has all of them
BLOCK_SIZE = (
    4 << 20
)  # characters of text that are written at a time, so that long texts do not fill the memory
EXAMPLES = 3  # findings of a group that are shown
MISSING = "missing"  # in the place of a kind, in the report in a file: the row is there, and not in the file
_VARIES = re.compile(
    r"'[^']*'|\d[\d,.]*"
)  # what differs in reasons that are one: a value, a number


class FindingKind(StrEnum):
    """What a finding means for its row."""

    REJECTED = "rejected"  # the row does not go in
    CHANGED = "changed"  # the row goes in; one of its values was dropped or altered
    NOTED = "noted"  # the row goes in as it is, and something about it is worth a look
    KEPT = "kept"  # the row goes in; the answer there is to an older text and stays


class Finding(NamedTuple):
    """One thing wrong with one row of a file.

    `line` is the physical line where the row's bytes start, from 1 (in Parquet the row); `column` is empty when the
    whole row is meant; `value` is an excerpt that is safe to print; `key` is the row's username or id, if it has one.
    A refused row of a source has its `cells` as they were read, by column; an over-long cell is cut and marked. They
    are empty if the row has no cells that can be told apart, such as a line that is not JSON.
    """

    line: int
    column: str
    reason: str
    value: str
    kind: FindingKind
    key: str | None = None
    cells: Mapping[str, Any] = MappingProxyType({})


class SoundRow(NamedTuple):
    """A row of a file as it goes in: its key, the other `values` by the columns of the subject that the file has.

    `changes` are the findings that do not keep it out, `beside` the cells of other columns, by their names in the file.
    """

    key: str
    values: Mapping[str, Any]
    line: int
    changes: tuple[Finding, ...] = ()
    beside: Mapping[str, Any] = MappingProxyType({})


def rejected(
    line: int,
    reason: str,
    value: object,
    *,
    column: str = "",
    key: str | None = None,
    cells: Mapping[str, Any] = MappingProxyType({}),
) -> Finding:
    """Return the finding that keeps a row out."""
    return Finding(line, column, reason, excerpt(value), FindingKind.REJECTED, key, cells)


def unsound(
    line: int, values: Mapping[str, Any], labels: Mapping[str, str], *, key: Any = None
) -> Finding | None:
    """Return why a row cannot be kept: text in it, at any depth, holds NUL, or bytes that are no UTF-8.

    A column is called as `labels` have it.
    """
    for name, cell in values.items():
        inner = (
            [cell]
            if isinstance(cell, str)
            else [one for path, value in leaves(cell) for one in (*path, value)]
        )
        for one in (name, *inner):
            if isinstance(one, str) and (bad := UNSOUND.search(one)):
                why = "a NUL character" if bad[0] == "\0" else "not valid UTF-8"
                shown = one[max(0, bad.start() - 20) :]
                known = key if isinstance(key, str) and not UNSOUND.search(key) else None
                return rejected(line, why, shown, column=labels.get(name, excerpt(name)), key=known)
    return None


def refused_row(finding: Finding) -> RefusedRow:
    """Return the refused row of a finding, with its cells as any database stores them.

    What no text holds is shown as an escape, and a long cell is cut.
    """
    reason = f"{finding.reason} (column {finding.column!r})" if finding.column else finding.reason
    cells = {_sound(name): _shown_cell(cell) for name, cell in finding.cells.items()}
    return RefusedRow(finding.line, _sound(reason), cells)


def _shown_cell(cell: Any) -> Any:
    if cell is None or isinstance(cell, bool | int | float):
        return cell
    text = cell if isinstance(cell, str) else compact_json(cell)
    if len(text) > MAX_CUT_CELL + len(CUT_MARK):
        text = f"{text[:MAX_CUT_CELL]}{CUT_MARK}"
    return _sound(text)


def _sound(text: str) -> str:
    return UNSOUND.sub(lambda found: _escaped(found[0]), text)


def key_of(cell: object, *, most: int) -> tuple[str, str]:
    """Return a key as text, and why it is none; it stands in requests, in addresses and on screens."""
    if cell is None:
        return "", "missing"
    if isinstance(cell, bool) or not isinstance(cell, str | int):
        return "", "neither text nor a whole number"
    key = str(cell)
    if not any(one.isprintable() and not one.isspace() for one in key):
        return "", "empty"
    if len(key) > most:
        return "", f"longer than {most} characters"
    is_broken = any(unicodedata.category(one) in {"Cc", "Zl", "Zp", "Cs"} for one in key)
    return ("", "holds control characters") if is_broken else (key, "")


def excerpt(value: object) -> str:
    """Return at most 80 characters of a value on one line, with everything unprintable escaped."""
    text = value if isinstance(value, str) else repr(value)
    pieces = [
        character if character.isprintable() else _escaped(character)
        for character in text[:EXCERPT]
    ]
    fit = sum(size <= EXCERPT for size in accumulate(map(len, pieces)))
    shown = "".join(pieces[:fit])
    return shown if fit == len(text) else f"{shown[: EXCERPT - 1]}…"


def _escaped(character: str) -> str:
    r"""Return `\xe9` for a byte that did not decode (kept as U+DCE9), else Python's own escape."""
    code = ord(character)
    if 0xDC00 <= code <= 0xDCFF:  # noqa: PLR2004 - the range in which `pipeline.tables.read` keeps bad bytes
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


@dataclass(frozen=True)
class ImportOptions:
    """How a file is imported: what its names mean (MAP=), how it is read, whether all or none, a report of findings.

    A `dry` import says what would become of each row.
    """

    mapping: str = ""
    reading: ReadOptions = AS_IT_IS
    strict: bool = False
    report: Path | None = None
    dry: bool = False


PLAIN = ImportOptions()


@dataclass
class FindingGroup:
    """The findings of one kind in one column for one reason: how many there are, and the first three."""

    kind: FindingKind
    column: str
    reason: str  # with an ellipsis for what differs
    count: int = 0
    examples: list[Finding] = field(default_factory=list)


@dataclass
class ImportReport:
    """What an import did. `findings` are the first thousand, `counts` and `groups` are those of all.

    `lines` hold anything; `released` were parked before, and are asked again; of a `dry` import all are what would be.
    A subject's report adds its own counts, and says which of them stand in the document for programs (`FIELDS`,
    `KINDS`), how the values of a finding are called there (`NAMES`, `NO_KEY`), and what a row is called (`WORD`).
    """

    FIELDS: ClassVar[tuple[str, ...]]
    KINDS: ClassVar[tuple[FindingKind, ...]] = tuple(FindingKind)
    NAMES: ClassVar[tuple[str, ...]]
    NO_KEY: ClassVar[str | None] = None
    WORD: ClassVar[str] = "row"

    path: str
    report: str | None = None
    dry: bool = False
    strict: bool = False
    columns: Sequence[dict[str, str]] = ()  # what the names in the file were taken for
    lines: int = 0
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    released: int = 0
    refused: bool = False
    counts: dict[FindingKind, int] = field(default_factory=lambda: dict.fromkeys(FindingKind, 0))
    findings: list[Finding] = field(default_factory=list)
    groups: dict[tuple[FindingKind, str, str], FindingGroup] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    # Rows that are there and not in the file, and the keys of the first thousand.
    missing: int = 0
    missing_keys: list[str] = field(default_factory=list)
    format: str = ""
    encoding: str = ""

    def __repr__(self) -> str:
        return f"<{self.path}: {self.summary}>"

    @property
    def rows_in(self) -> int:
        """Return how many rows of the file stand in the table now, whether or not they were there before."""
        return 0 if self.refused else self.changes + self.unchanged

    @property
    def changes(self) -> int:
        """Return how many rows were written."""
        return self.added + self.updated

    @property
    def summary(self) -> str:
        """Return what was done in a few words, for the event."""
        return f"{self.added} added, {self.updated} updated, {self.counts[FindingKind.REJECTED]} rejected"

    @property
    def document(self) -> dict[str, Any]:
        """Return the report for programs."""
        by_kind = {kind.value: self.counts[kind] for kind in self.KINDS}
        findings = [
            dict(zip(self.NAMES, (*one[:5], one.key or self.NO_KEY), strict=True))
            for one in self.findings
        ]
        return {
            **{name: getattr(self, name) for name in self.FIELDS},
            **by_kind,
            "findings": findings,
        }

    def tell(self, findings: Iterable[Finding], report: SealedWriter | None) -> None:
        """Count findings, report them in the order of the file, and keep them to be shown while there is room."""
        for finding in sorted(
            (one._replace(cells={}) for one in findings), key=lambda one: one.line
        ):
            self.counts[finding.kind] += 1
            if report is not None:
                report.write(csv_line([str(cell or "") for cell in finding[: len(self.NAMES)]]))
            if len(self.findings) < SHOWN:
                self.findings.append(finding)
            key = (finding.kind, finding.column, _VARIES.sub("…", finding.reason))
            if key not in self.groups and len(self.groups) >= SHOWN:
                key = (finding.kind, "", "other reasons")
            group = self.groups.setdefault(key, FindingGroup(finding.kind, key[1], finding.reason))
            group.count += 1
            group.examples += [finding][: EXAMPLES - len(group.examples)]
            if group.reason != finding.reason:
                group.reason = _VARIES.sub("…", finding.reason)

    def note_missing(self, key: str, report: SealedWriter | None) -> None:
        """Count a row that the file does not have, and write it into the report."""
        self.missing += 1
        if len(self.missing_keys) < SHOWN:
            self.missing_keys.append(key)
        if report is not None:
            report.write(
                csv_line(["0", "", "in an earlier file, and not in this one", "", MISSING, key])
            )

    def check(self) -> None:
        """Raise InputError where nothing went in: `--strict` refused the file, or it holds no row that can go in."""
        bad = self.counts[FindingKind.REJECTED]
        changed = self.counts[FindingKind.CHANGED]
        if self.refused:
            said = (
                f"{self.path}: {bad} rejected and {changed} changed, so --strict imported nothing"
            )
            raise InputError(said, hint="mend the file, or import without --strict")
        if not self.rows_in:
            said = f"{self.path}: no {self.WORD} could be imported ({bad} rejected); nothing was changed"
            why = (
                "the findings say why"
                if bad
                else "the file holds a header, or nothing, and no rows"
            )
            raise InputError(said, hint=why)


R = TypeVar("R", bound=ImportReport)
T = TypeVar("T")


@contextlib.contextmanager
def _rejects_report(done: ImportReport) -> Iterator[SealedWriter | None]:
    if done.report is None:
        yield None
        return
    target = target_of(Path(done.report))
    if target == Path(done.path).resolve():
        raise InputError(
            f"the report would replace {done.path}; nothing was changed",
            hint="give it another name",
        )
    try:
        sweep_parts(target)
        writer = SealedWriter(target)
    except OSError as error:
        raise InputError(
            f"the report {done.report} cannot be written: {error.strerror}; nothing was changed"
        ) from None
    with writer:
        writer.write(csv_line(done.NAMES))
        yield writer


@contextlib.contextmanager
def all_or_nothing() -> Iterator[None]:
    """Let an interrupt of a block, before anything is committed, say that nothing was imported."""
    try:
        yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            "interrupted; nothing was imported", "run the same command again"
        ) from None


def import_rows(
    store: Store,
    display: Progress,
    rows: Iterable[SoundRow | Finding],
    done: R,
    *,
    write: Callable[[Connection, list[SoundRow], R], Iterable[Finding]],
    task: str,
    at: datetime,
    block: int,
    long: str,
    missing: Callable[[Connection, R], Iterable[str]] = lambda _tx, _done: (),
) -> None:
    """Write what was made of the rows of a file, `block` of them at a time; `write` counts them, and returns findings.

    `missing` gives the keys of rows that the file does not have, when all of it was written. `long` is the column with
    long texts. Rejected rows are stored as refused rows of the task in the place of those of the last file of that
    name. Of a `dry` import `write` gets a snapshot to look at. A report says what happened also where nothing went in.
    Nothing is changed where the file cannot be read to its end, or the report not be written.
    """

    def size(one: SoundRow | Finding) -> int:
        return len(str(one.cells)) if isinstance(one, Finding) else len(str(one.values.get(long)))

    with _rejects_report(done) as rejects, store.read() if done.dry else store.write() as tx:
        refused = None if done.dry else FileRefusals(tx, task, Path(done.path).name)
        with all_or_nothing(), display.bar("reading" if done.dry else "importing", None) as bar:
            for some in in_blocks(rows, most=block, size=size):
                findings = [one for one in some if isinstance(one, Finding)]
                sound = [one for one in some if not isinstance(one, Finding)]
                changes = (change for one in sound for change in one.changes)
                findings += [*changes, *write(tx, sound, done)]
                done.tell(findings, rejects)
                if refused is not None:
                    refused.add(
                        [refused_row(one) for one in findings if one.kind is FindingKind.REJECTED]
                    )
                done.lines += len(some)
                bar.show(done.lines)
            for key in missing(tx, done):
                done.note_missing(key, rejects)
            if rejects is not None:
                rejects.seal()
        done.refused = done.strict and bool(
            done.counts[FindingKind.REJECTED] + done.counts[FindingKind.CHANGED]
        )
        if not done.rows_in:
            tx.rollback()
        elif done.changes and not done.dry:
            name = Path(done.path).name
            workspace.record_event(
                tx, "import", name, old=None, new=done.summary, why="import", at=at
            )


def in_blocks(
    rows: Iterable[T], *, most: int, size: Callable[[T], int], sizes: int = BLOCK_SIZE
) -> Iterator[list[T]]:
    """Yield rows at most so many at a time, fewer where they hold more than `sizes` together; the last may be none."""
    some: list[T] = []
    held = 0
    for row in rows:
        some.append(row)
        held += size(row)
        if len(some) == most or held > sizes:
            yield some
            some = []
            held = 0
    yield some
