"""Bring the rows of a task up to what its source says, all or nothing.

The source is read to its end before anything is written, with a look at the images of each row, so that half a source
writes nothing and marks nothing as gone. What changes is written in one transaction.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection

from pipeline.core.errors import InputError
from pipeline.core.progress import Progress
from pipeline.core.text import UNSOUND
from pipeline.store import rows as kept
from pipeline.store.database import Store
from pipeline.tables.findings import SHOWN, Finding, rejected
from pipeline.tables.item_values import stored_value
from pipeline.tables.items import BadKeyError, ItemsSpec, hash_of, is_empty, key_of
from pipeline.tables.read import SourceRow

PAGE = 2_000  # rows in memory


class Look(NamedTuple):
    """What was seen of a row's images: their hashes by column, what to know of them at the next look, what is wrong."""

    hashes: Mapping[str, str | None]
    seen: str
    unusable: str | None


LookAt = Callable[[Mapping[str, Any], str | None], Look]  # given a row's values, and what was seen of it before


@dataclass
class ItemsReport:
    """What a fill did, in rows. Each row of the source is new, changed, the same, merged or refused.

    `changed` are rows whose hash of what is asked about is another one; `back` of them and of the same were gone.
    `merged` rows equal one that came before, `empty` ones have nothing to ask about, `forgotten` ones are left out, and
    `gone` ones are marked now. `unusable` ones have an image that cannot be asked about; `unusable_rows` are keys and
    reasons of the first thousand of them.
    `findings` are the first thousand refused rows, `refused` counts all by reason.
    """

    new: int = 0
    changed: int = 0
    same: int = 0
    gone: int = 0
    back: int = 0
    merged: int = 0
    empty: int = 0
    forgotten: int = 0
    unusable: int = 0
    unusable_rows: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def summary(self) -> str:
        """What a fill came to, in words; an empty text where all is as it was."""
        counts = {
            "new": self.new,
            "changed": self.changed,
            "gone": self.gone,
            "back": self.back,
            "merged with an equal one": self.merged,
            "empty": self.empty if self.new or self.changed else 0,
            "with an image that cannot be asked about": self.unusable,
            "refused": self.refused.total(),
            "left out, for they were forgotten": self.forgotten,
        }
        told = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
        return f"rows: {told}" if told else ""

    def tell(self, finding: Finding) -> None:
        """Count a refused row, and keep why while there is room."""
        self.refused[finding.reason] += 1
        if len(self.findings) < SHOWN:
            self.findings.append(finding)

    def tell_look(self, key: str, look: Look) -> None:
        """Count a row with an image that cannot be asked about, and keep why while there is room."""
        self.unusable += look.unusable is not None
        if look.unusable is not None and len(self.unusable_rows) < SHOWN:
            self.unusable_rows.append((key, look.unusable))


class _Read(NamedTuple):
    """A row that can be kept, and what was seen of its images, where it has some."""

    line: int
    key: str
    values: Mapping[str, Any]
    data: bytes
    look: Look | None = None


@dataclass(frozen=True)
class ItemsFill:
    """One fill of the rows of a task.

    A row that is blank in all columns that are `asked` about, or in those that must be `quoted`, is empty.
    A row without a usable key, with the key of another row that differs, or with text that cannot be kept is refused;
    `strict` refuses the source with it. A row whose key `is_forgotten` is left out. `look_at` looks at the images of a
    row where it has some. What changes is written as of the moment `at`. In its transaction `touch` is called
    where rows that were there changed or went, and `settle` last, for what is recorded of the source.
    """

    store: Store
    spec: ItemsSpec
    asked: Sequence[str]
    at: datetime
    quoted: Sequence[str] = ()
    strict: bool = False
    is_forgotten: Callable[[str], bool] = lambda _key: False
    look_at: LookAt | None = None
    touch: Callable[[Connection], None] = lambda _tx: None
    settle: Callable[[Connection], None] = lambda _tx: None
    report: ItemsReport = field(default_factory=ItemsReport, init=False)

    def run(self, rows: Iterable[SourceRow | Finding], display: Progress) -> ItemsReport:
        """Read a source to its end, and make the rows what it says.

        Raises:
            InputError: the source cannot be read to its end, or a row is refused where `strict`; nothing was written.
        """
        left, number = iter(rows), 0
        with kept.reading(self.store) as reading:
            with display.bar("items", None, late=True) as bar:
                while some := list(islice(left, PAGE)):
                    self._take(reading, some, first=number)
                    number += len(some)
                    bar.show(number)
            with reading.written(self.spec.task, at=self.at) as (tx, filled):
                if filled.touched:
                    self.touch(tx)
                self.settle(tx)
        self.report.new, self.report.changed, self.report.same, self.report.back, self.report.gone, _ = filled
        return self.report

    def _take(self, reading: kept.Reading, rows: Sequence[SourceRow | Finding], *, first: int) -> None:
        found: list[_Read] = []
        for row in rows:
            read = row if isinstance(row, Finding) else self._read(row)
            if isinstance(read, Finding):
                self._refuse(read)
            elif read is not None:
                found.append(read)
        if self.look_at is not None and self.spec.images:
            found = self._looked_at(found, self.look_at)
        kept_rows = [self._row(number, one) for number, one in enumerate(found, start=first + 1)]
        repeated = {one["n"]: others for one, *others in reading.add(kept_rows)}
        for row_, one in zip(kept_rows, found, strict=True):
            line, is_same = repeated.get(row_["n"], (None, False))
            if line is None:
                self.report.empty += row_["is_empty"]
                if one.look is not None:
                    self.report.tell_look(one.key, one.look)
            elif is_same:
                self.report.merged += 1
            else:
                said = f"the key is on line {line}, too, with other values"
                self._refuse(rejected(one.line, said, one.key, column=self.spec.key[0], key=one.key))

    def _refuse(self, finding: Finding) -> None:
        if self.strict:
            raise InputError(_said(finding, self.spec), hint="mend the source, or leave the row out of it")
        self.report.tell(finding)

    def _read(self, row: SourceRow) -> _Read | Finding | None:
        get = row.values.get
        values = {
            name: value if value.__class__ is str and kind != "json" else stored_value(value, kind)
            for name, kind in self.spec.columns.items()
            if (value := get(name)) is not None
        }
        try:
            data = orjson.dumps(values)
        except TypeError:  # half of a character
            data = b"\\u0000"
        if b"\\u0000" in data and (finding := _unsound(row.line, values)):
            return finding
        try:
            key = key_of(values, self.spec)
        except BadKeyError as error:
            return rejected(row.line, str(error), values.get(error.column) or "", column=error.column)
        if self.is_forgotten(key):
            self.report.forgotten += 1
            return None
        return _Read(row.line, key, values, data)

    def _looked_at(self, found: Sequence[_Read], look_at: LookAt) -> list[_Read]:
        """Return rows with what their images are; the hash of such a row is of their bytes and its other values."""
        with self.store.read() as tx:
            known = kept.seen_before(tx, self.spec.task, [one.key for one in found])
        return [one._replace(look=look_at(one.values, known.get(one.key))) for one in found]

    def _row(self, number: int, one: _Read) -> dict[str, Any]:
        values, look, asked, seen = one.values, one.look, self.asked, dict[str, Any]()
        if look is not None:
            values, asked = {**values, **look.hashes}, [*asked, *self.spec.images]
            seen = {"seen": look.seen, "unusable": look.unusable}
        return {
            "item_id": one.key,
            "n": number,
            "line": one.line,
            "row": one.data.decode(),
            "input_hash": hash_of(values, asked),
            "is_empty": is_empty(one.values, self.spec.images or self.asked) or is_empty(one.values, self.quoted),
            **seen,
        }


def _unsound(line: int, values: Mapping[str, Any]) -> Finding | None:
    """Return why a row cannot be kept to the letter, if it cannot."""
    for name, value in values.items():
        if isinstance(value, str) and (unsound := UNSOUND.search(value)):
            why = "holds a NUL character" if unsound[0] == "\0" else "not valid UTF-8"
            return rejected(line, why, value, column=name)
    return None


def _said(finding: Finding, spec: ItemsSpec) -> str:
    of = f" {finding.column!r}" if finding.column else ""
    key = f" (key {finding.key!r})" if finding.key else ""
    shown = f": {finding.value}" if finding.value else ""
    return f"row {finding.line}{of}{key} for {spec.task}: {finding.reason}{shown}; nothing was written"
