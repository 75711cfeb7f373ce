"""Report what is wrong in a file while it is imported: one finding for each fault; a report as CSV is sealed whole."""

import contextlib
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pipeline.core import text as core_text
from pipeline.core.errors import InputError
from pipeline.core.files import SealedWriter, sweep_parts, target_of

if TYPE_CHECKING:
    from pipeline.tables.mapping import ColumnMapping

EXCERPT = 80  # characters of a value that a finding shows
SHOWN = 1000  # findings kept in memory to be shown; the report in a file has all of them


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
    """

    line: int
    column: str
    reason: str
    value: str
    kind: FindingKind
    key: str | None = None


def rejected(line: int, reason: str, value: object, *, column: str = "", key: str | None = None) -> Finding:
    """Return the finding that keeps a row out."""
    return Finding(line, column, reason, excerpt(value), FindingKind.REJECTED, key)


def excerpt(value: object) -> str:
    """Return at most 80 characters of a value on one line, with everything unprintable escaped."""
    text = value if isinstance(value, str) else repr(value)
    pieces = [character if character.isprintable() else _escaped(character) for character in text[:EXCERPT]]
    fit = sum(size <= EXCERPT for size in accumulate(map(len, pieces)))
    shown = "".join(pieces[:fit])
    return shown if fit == len(text) else f"{shown[: EXCERPT - 1]}…"


def _escaped(character: str) -> str:
    r"""Return `\xe9` for a byte that did not decode (kept as U+DCE9), else Python's own escape."""
    code = ord(character)
    if 0xDC00 <= code <= 0xDCFF:  # noqa: PLR2004 - the range in which `pipeline.tables.text_file` keeps bad bytes
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")


@contextlib.contextmanager
def rejects_report(path: Path | None, *, columns: Sequence[str], source: Path) -> Iterator[SealedWriter | None]:
    """Open a report with its header for the length of a block, or none without a path; removed unless sealed.

    Raises:
        InputError: the report would replace the file that is read, or cannot be written there.
    """
    if path is None:
        yield None
        return
    target = target_of(path)
    if target == source.resolve():
        raise InputError(f"the report would replace {source}; nothing was changed", hint="give it another name")
    try:
        sweep_parts(target)
        writer = SealedWriter(target)
    except OSError as error:
        raise InputError(f"the report {path} cannot be written: {error.strerror}; nothing was changed") from None
    with writer:
        writer.write(core_text.csv_line(columns))
        yield writer


EXAMPLES = 3  # findings of a group that are shown
_VARIES = re.compile(
    r"'[^']*'|\b[A-Z]{3}\b|\d[\d,.]*"
)  # what differs in reasons that are one: a value, a code, a number


@dataclass
class FindingGroup:
    """The findings of one kind in one column for one reason: how many there are, and the first three."""

    kind: FindingKind
    column: str
    reason: str  # with an ellipsis for what differs
    count: int = 0
    examples: list[Finding] = field(default_factory=list)

    def add(self, finding: Finding) -> None:
        """Count one more; where reasons differ in a word, that word is left out."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(finding)
        if self.count == 1:
            self.reason = finding.reason
        elif self.reason != finding.reason:
            self.reason = _VARIES.sub("…", finding.reason)

    def own_reason(self, finding: Finding) -> str:
        """Return an example's reason where it says more than the group's, and than the example's value."""
        words = [word.strip("'") for word in _VARIES.findall(finding.reason)]
        is_told = finding.reason == self.reason or all(word in finding.value for word in words)
        return "" if is_told else finding.reason


@dataclass
class ImportReport:
    """What an import did. `findings` are the first thousand, `counts` and `groups` are those of all.

    `released` were parked before, and are asked again; of a `dry` import all are what would be. A subject's report adds
    its own counts, and says which of them stand in the document for programs (`FIELDS`, `KINDS`), how the values of a
    finding are called there (`NAMES`, `NO_KEY`), and what a row is called (`WORD`).
    """

    FIELDS: ClassVar[tuple[str, ...]]
    KINDS: ClassVar[tuple[FindingKind, ...]] = tuple(FindingKind)
    NAMES: ClassVar[tuple[str, ...]]
    NO_KEY: ClassVar[str | None] = None
    WORD: ClassVar[str] = "row"

    path: str
    report: str | None = None
    dry: bool = False
    mapping: "ColumnMapping | None" = None  # what the names in the file were taken for
    added: int = 0
    updated: int = 0
    unchanged: int = 0
    released: int = 0
    refused: bool = False
    counts: dict[FindingKind, int] = field(default_factory=lambda: dict.fromkeys(FindingKind, 0))
    findings: list[Finding] = field(default_factory=list)
    groups: dict[tuple[FindingKind, str, str], FindingGroup] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def rows_in(self) -> int:
        """Return how many rows of the file stand in the table now, whether or not they were there before."""
        return 0 if self.refused else self.added + self.updated + self.unchanged

    @property
    def summary(self) -> str:
        """Return what was done in a few words, for the event."""
        return f"{self.added} added, {self.updated} updated, {self.counts[FindingKind.REJECTED]} rejected"

    @property
    def document(self) -> dict[str, Any]:
        """Return the report for programs."""
        by_kind = {kind.value: self.counts[kind] for kind in self.KINDS}
        findings = [dict(zip(self.NAMES, (*one[:-1], one.key or self.NO_KEY), strict=True)) for one in self.findings]
        return {**{name: getattr(self, name) for name in self.FIELDS}, **by_kind, "findings": findings}

    @property
    def is_flawed(self) -> bool:
        """Return whether a strict import refuses the file."""
        return bool(self.counts[FindingKind.REJECTED] + self.counts[FindingKind.CHANGED])

    def tell(self, findings: Iterable[Finding], report: SealedWriter | None) -> None:
        """Count findings, report them in the order of the file, and keep them to be shown while there is room."""
        for finding in sorted(findings, key=lambda one: one.line):
            self.counts[finding.kind] += 1
            if report is not None:
                report.write(core_text.csv_line([str(cell or "") for cell in finding]))
            if len(self.findings) < SHOWN:
                self.findings.append(finding)
            self._group_of(finding).add(finding)

    def _group_of(self, finding: Finding) -> FindingGroup:
        """Return the group of findings that one belongs to; past a thousand groups, one takes all of a kind."""
        key = (finding.kind, finding.column, _VARIES.sub("…", finding.reason))
        if key not in self.groups and len(self.groups) >= SHOWN:
            key = (finding.kind, "", "other reasons")
        return self.groups.setdefault(key, FindingGroup(finding.kind, finding.column, finding.reason))

    def check(self) -> None:
        """Raise where nothing went in.

        Raises:
            InputError: `--strict` refused the file, or it holds no row that can go in. Nothing was changed.
        """
        rejected, changed = self.counts[FindingKind.REJECTED], self.counts[FindingKind.CHANGED]
        if self.refused:
            raise InputError(
                f"{self.path}: {rejected} rejected and {changed} changed, so --strict imported nothing",
                hint="mend the file, or import without --strict",
            )
        if not self.rows_in:
            raise InputError(
                f"{self.path}: no {self.WORD} could be imported ({rejected} rejected); nothing was changed",
                hint="the findings say why",
            )


class SeenIds(contextlib.AbstractContextManager["SeenIds"]):
    """The keys of a file that came before, and on which line: on disk, at flat memory, about 60 bytes a key."""

    def __init__(self) -> None:
        """Start with none."""
        self._file = sqlite3.connect("", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "CREATE TABLE seen (key TEXT PRIMARY KEY, line INTEGER NOT NULL, more TEXT NOT NULL) WITHOUT ROWID",
            "BEGIN",
        ):
            self._file.execute(statement)

    def first(self, key: str, line: int, more: str = "") -> tuple[int, str] | None:
        """Return the line where a key came first and what was kept with it then; None where this is its first line."""
        added = self._file.execute("INSERT INTO seen VALUES (?, ?, ?) ON CONFLICT DO NOTHING", (key, line, more))
        if added.rowcount:
            return None
        found: tuple[int, str] = self._file.execute("SELECT line, more FROM seen WHERE key = ?", (key,)).fetchone()
        return found

    def __exit__(self, *_: object) -> None:
        """Remove what was kept."""
        self._file.close()
