"""Bring the rows of a task up to what its source says, all or nothing.

They stand in `findable_rows`, each as one JSON object; nothing of the source need be there to read them. The source is
read to its end before anything is written, with a look at the images of each row, so that half a source writes nothing
and marks nothing as gone. What changes is written in one transaction.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Subquery, select

from pipeline.core.declaration import MADE_KEY
from pipeline.core.progress import Progress
from pipeline.store import claims, erasure, workspace
from pipeline.store import rows as kept
from pipeline.store.database import Store, pages
from pipeline.store.schema import TaskRecord
from pipeline.store.schema import rows as stored
from pipeline.tables.cells import LARGEST, compact_json
from pipeline.tables.read import SourceRow
from pipeline.tables.row_import import SHOWN, Finding, refused_row, rejected, unsound
from pipeline.tables.source import READ, TIMEOUT_S, selected_rows

PAGE = 2_000  # rows in memory
KEYS = (
    200  # of rows that are looked up in a query at once; SQLite nests no more than 1,000 conditions
)
MAX_KEY = 2_000  # bytes of a key, which an index of PostgreSQL takes
KEY = "findable_key"
HASH = "findable_hash"
VALUES = "findable_values"
UNUSABLE = "findable_unusable"
SEEN = "findable_seen"
_COLUMNS = {
    KEY: stored.c.item_id,
    "findable_row": stored.c.n,
    VALUES: stored.c.row,
    HASH: stored.c.input_hash,
    "findable_empty": stored.c.is_empty,
    "findable_gone_at": stored.c.gone_at,
    "findable_changed_at": stored.c.changed_at,
    UNUSABLE: stored.c.unusable,
    SEEN: stored.c.seen,
}
KEY_KINDS = frozenset({"text", "integer"})  # of columns that tell rows apart


class ImageInspection(NamedTuple):
    """What was seen of a row's images: their hashes by column, what to know of them at the next look, what is wrong."""

    hashes: Mapping[str, str | None]
    seen: str
    unusable: str | None


LookAt = Callable[
    [Mapping[str, Any], str | None], ImageInspection
]  # given a row's values, and what was seen of it before


@dataclass
class RowSyncReport:
    """What a fill did, in rows. Each row of the source is new, changed, the same, refused or forgotten.

    `changed` are rows whose hash of what is asked about is another one; `back` of them and of the same were gone.
    `empty` ones have nothing to ask about, `forgotten` ones are left out, and `gone` ones are marked now. `unusable`
    ones have an image that cannot be asked about; `an_unusable` is the key of one, and why. `findings` are the first
    thousand refused rows, `refused` counts all by reason.
    """

    new: int = 0
    changed: int = 0
    same: int = 0
    gone: int = 0
    back: int = 0
    empty: int = 0
    forgotten: int = 0
    unusable: int = 0
    an_unusable: tuple[str, str] = "", ""
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
            "empty": self.empty if self.new or self.changed else 0,
            "with an image that cannot be asked about": self.unusable,
            "refused": self.refused.total(),
            "left out, for they were forgotten": self.forgotten,
        }
        told = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
        return f"rows: {told}" if told else ""


@dataclass(frozen=True)
class RowSync:
    """One fill of the rows of a task.

    A row that is blank in all columns that are asked about, or in those that must be quoted, is empty.
    A row without a usable key, with the key of an earlier row, or with text that cannot be kept is refused, and stored
    as such. Where a hash of the row is its key, each of several equal rows is a row: the first has the hash as its id,
    the others their number behind it. A row that was forgotten is left out. `look_at` looks at the images of a row
    where it has some, and `on_refused` is called for each refused row. What changes is written as of the moment `at`,
    with which source it was; rows that were parked before they changed may be asked again.
    """

    store: Store
    record: TaskRecord
    at: datetime
    look_at: LookAt | None = None
    on_refused: Callable[[Finding], None] | None = None
    report: RowSyncReport = field(default_factory=RowSyncReport, init=False)
    # How often an id came so far, of those that came more than once.
    _repeats: Counter[str] = field(default_factory=Counter, init=False)
    # Ids of forgotten rows that the source has.
    _forgotten: set[str] = field(default_factory=set, init=False)

    def run(self, source: Any, display: Progress) -> RowSyncReport:
        """Read a source to its end, and make the rows what it says; an InputError on the way writes nothing."""
        number = 0
        report = self.report
        name = self.record.name
        with self.store.read() as tx:
            is_forgotten = erasure.buried_items(tx, name)
        with kept.reading(self.store) as reading:
            with display.bar("items", None, late=True) as bar:
                for some in pages(source, PAGE):
                    self._take(reading, some, is_forgotten, first=number)
                    number += len(some)
                    bar.show(number)
            with reading.written(name, at=self.at, is_part=getattr(source, "is_part", False)) as (
                tx,
                filled,
            ):
                if filled.touched:
                    workspace.touch_revision(tx, name)
                workspace.update_task(tx, name, items_sha256=source.sha256)
                if read := getattr(source, "read", None):
                    # Another command may have stored a preference meanwhile.
                    words = (workspace.get_task(tx, name) or self.record).words
                    workspace.update_task(tx, name, words=compact_json({**words, READ: read}))
                parked = {key: at for key, _, at in claims.parked_rows(tx, name)}
                claims.unpark(tx, name, ids=kept.changed_since(tx, name, parked))
        report.new, report.changed, report.same, report.back, report.gone, _ = filled
        return report

    def rows(self, source: Iterable[SourceRow | Finding]) -> Iterator[dict[str, Any]]:
        """Yield each row of a source as it would be kept; those that are refused are in the report."""
        for row in source:
            kept_row, _ = self._read(row)
            if kept_row["input_hash"] != kept.NO_HASH:
                yield kept_row

    def _take(
        self,
        reading: kept.StagedRows,
        rows: Sequence[SourceRow | Finding],
        is_forgotten: Callable[[str], bool],
        *,
        first: int,
    ) -> None:
        read = [self._read(row) for row in rows]
        for number, (row, _) in enumerate(read, start=first + 1):
            row["n"] = number
        if self.look_at is not None and (images := self.record.words.get("images")):
            self._look_at_images(read, images, self.look_at)
        waiting = [row for row, _ in read]
        while waiting:
            free = [row for row in waiting if not is_forgotten(row["item_id"])]
            again = self._leave_out([row for row in waiting if is_forgotten(row["item_id"])])
            repeated = {row["n"]: line for row, line in reading.add(free)}
            for row in free:
                if (line := repeated.get(row["n"])) is None:
                    self._count(row)
                elif self._may_repeat(row):
                    again.append(self._next_of_equal(row))
                else:
                    again.append(self._refuse_double(row, line))
            waiting = again

    def _look_at_images(
        self,
        read: Sequence[tuple[dict[str, Any], Mapping[str, Any]]],
        images: Sequence[str],
        look_at: LookAt,
    ) -> None:
        sound = [(row, values) for row, values in read if row["input_hash"] != kept.NO_HASH]
        with self.store.read() as tx:
            known = kept.seen_before(tx, self.record.name, [row["item_id"] for row, _ in sound])
        for row, values in sound:
            look = look_at(values, known.get(row["item_id"]))
            hashed = hash_of({**values, **look.hashes}, [*self.record.words["asked"], *images])
            row.update(input_hash=hashed, seen=look.seen, unusable=look.unusable)

    def _leave_out(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Leave out rows that were forgotten; return those that only equal one, under their own ids."""
        others = list[dict[str, Any]]()
        for row in rows:
            if row["item_id"] in self._forgotten and self._may_repeat(row):
                others.append(self._next_of_equal(row))
                continue
            self._forgotten.add(row["item_id"])
            self.report.forgotten += 1
        return others

    def _count(self, row: Mapping[str, Any]) -> None:
        """Count a row that is stored."""
        if row["input_hash"] == kept.NO_HASH:
            return
        self.report.empty += row["is_empty"]
        if row["unusable"] is not None:
            self.report.unusable += 1
            self.report.an_unusable = row["item_id"], row["unusable"]

    def _may_repeat(self, row: Mapping[str, Any]) -> bool:
        """Return whether the id of a row is made of its values, so that equal rows have one."""
        return row["input_hash"] == kept.NO_HASH or self.record.key[0][0] == MADE_KEY

    def _next_of_equal(self, row: dict[str, Any]) -> dict[str, Any]:
        """Give a row that equals earlier ones the next id of theirs."""
        first, _, _ = row["item_id"].partition("-")
        self._repeats[first] += 1
        row["item_id"] = f"{first}-{self._repeats[first] + 1}"
        return row

    def _refuse_double(self, row: Mapping[str, Any], line: int) -> dict[str, Any]:
        key = row["item_id"]
        cells = values_in(row["row"])
        reason = f"the key is on line {line}, too"
        finding = rejected(
            row["line"], reason, key, column=self.record.key[0][0], key=key, cells=cells
        )
        return {**self._record_refusal(finding), "n": row["n"]}

    def _record_refusal(self, finding: Finding) -> dict[str, Any]:
        """Count a refused row in the report, and return its database record."""
        if self.on_refused is not None:
            self.on_refused(finding)
        self.report.refused[finding.reason] += 1
        self.report.findings += [finding._replace(cells={})][: SHOWN - len(self.report.findings)]
        refused = refused_row(finding)
        item_id = f"refused:{hash_of(refused.cells, list(refused.cells))[:32]}"
        return {**refused.stored(item_id), "line": finding.line}

    def _read(self, row: SourceRow | Finding) -> tuple[dict[str, Any], Mapping[str, Any]]:
        """Return a row as it is kept, except its number, and its values by column."""
        if isinstance(row, Finding):
            return self._record_refusal(row), {}
        get = row.values.get
        values = {
            name: value if value.__class__ is str and kind != "json" else _stored_value(value, kind)
            for name, kind in self.record.columns.items()
            if (value := get(name)) is not None
        }
        try:
            data = orjson.dumps(values)
        except TypeError:  # half of a character
            data = b"\\u0000"
        if b"\\u0000" in data and (bad := unsound(row.line, values, {})):
            return self._record_refusal(bad._replace(cells=values)), values
        key, why, column = self._key_of(values)
        if why:
            bad = rejected(row.line, why, values.get(column) or "", column=column, cells=values)
            return self._record_refusal(bad), values
        words = self.record.words
        is_empty = _is_empty(values, words.get("images") or words["asked"]) or _is_empty(
            values, words["quoted"]
        )
        told = {"item_id": key, "line": row.line, "row": data.decode(), "is_empty": is_empty}
        return {
            **told,
            "input_hash": hash_of(values, words["asked"]),
            "seen": None,
            "unusable": None,
        }, values

    def _key_of(self, values: Mapping[str, Any]) -> tuple[str, str, str]:
        """Return the id of a row by its values; or the empty text, why it has none, and the column that is meant.

        One column: its text, a whole number in decimal. Several: a JSON array. A made key: half a hash of all values.
        """
        (first, _), *others = names = self.record.key
        if first == MADE_KEY:
            return hashlib.sha256(compact_json(values, sort=True).encode()).hexdigest()[:32], "", ""
        for name, _ in names:
            part = values.get(name)
            if part is None or not str(part).strip():
                return "", "the key is missing" if part is None else "the key is blank", name
        parts = [
            str(values[name]) if self.record.columns[name] == "text" else values[name]
            for name, _ in names
        ]
        key = compact_json(parts) if others else str(values[first])
        is_long = len(key) * 4 > MAX_KEY and len(key.encode()) > MAX_KEY
        return (
            ("", f"the key is longer than {MAX_KEY:,} bytes", first) if is_long else (key, "", "")
        )


def changed_in_source(
    store: Store, record: TaskRecord, kept: Mapping[str, Mapping[str, Any]]
) -> set[str]:
    """Return the ids of rows that a task's query does not give any more, or gives with other values to ask about.

    `kept` are the values of each row as they were last read, by id.
    """
    asked = [*record.words["asked"], *record.words.get("images", ())]
    fill = RowSync(store, record, record.at)
    changed_ids = set(kept)
    # A second look finds keys that the database holds with another type than their text has.
    for as_text in (False, True):
        for page in pages(sorted(changed_ids), KEYS):
            rows = selected_rows(store, record, page, as_text=as_text, timeout_s=TIMEOUT_S)
            for row in fill.rows(rows):
                values = values_in(row["row"])
                before = kept.get(row["item_id"], {})
                if all(values.get(name) == before.get(name) for name in asked):
                    changed_ids.discard(row["item_id"])
    return changed_ids


def items_table(task: str) -> Subquery:
    """Return the rows of a task: what findable keeps of each, and its values as JSON."""
    columns = (column.label(name) for name, column in _COLUMNS.items())
    return select(*columns).where(stored.c.task == task).subquery("items")


def values_in(row: str) -> dict[str, Any]:
    """Return the values of a row that was kept, by column; those that are none are left out."""
    found: dict[str, Any] = orjson.loads(row)
    return found


def hash_of(values: Mapping[str, Any], asked: Sequence[str]) -> str:
    """Return the SHA-256 of the values that a prompt names."""
    filled = {name: values.get(name) for name in asked}
    return hashlib.sha256(orjson.dumps(filled, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _stored_value(value: Any, kind: str) -> Any:
    if kind == "json" or isinstance(value, list | dict):
        return compact_json(value)
    return str(value) if isinstance(value, int) and not -LARGEST - 1 <= value <= LARGEST else value


def _is_empty(values: Mapping[str, Any], asked: Sequence[str]) -> bool:
    found = (values.get(name) for name in asked)
    return bool(asked) and all(
        value is None or (isinstance(value, str) and not value.strip()) for value in found
    )
