"""Bring a table of items up to what a source says, in three steps.

The source is read to its end into a spool before anything is written, so that half a source writes nothing and marks
nothing as gone. Then rows that are new or differ are written, some thousand in a transaction; the same is done again by
the next fill where a process died between them. Last, what the source has no more is marked.
"""

import contextlib
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Row, Table, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.progress import Bar, Progress
from pipeline.store.database import Store, next_value, pages, run_many
from pipeline.tables.findings import SHOWN, Finding, rejected
from pipeline.tables.item_values import UnfitValueError, UnsoundValueError, stored_value
from pipeline.tables.items import SEEN, BadKeyError, ItemsSpec, hash_of, is_empty, items_table, key_of
from pipeline.tables.read import SourceRow

_WRITTEN = 5  # pages of the spool in one transaction
_LOOKED_AT = 5_000  # rows of the table that are looked up in the spool at a time


PAGE = 1_000  # rows in memory
_REST = "hash TEXT, empty, cells, seen TEXT, unusable TEXT"


class SpooledItem(NamedTuple):
    """One row that was read: its key, the hash of what is asked about, whether that is blank, and its values.

    Of a row with images also what a look at them saw, and why it cannot be asked about with them.
    """

    key: str
    hash: str
    empty: bool
    cells: list[Any]
    seen: str | None = None
    unusable: str | None = None


class ItemsSpool(AbstractContextManager["ItemsSpool"]):
    """The rows so far; `count` of them."""

    def __init__(self) -> None:
        """Start with none."""
        self.count = 0
        self._file = sqlite3.connect("", isolation_level=None)
        for statement in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            f"CREATE TABLE items (number INTEGER PRIMARY KEY, key TEXT UNIQUE, line INTEGER, {_REST})",
            "BEGIN",
        ):
            self._file.execute(statement)

    def add(self, line: int, item: SpooledItem) -> tuple[int, bool] | None:
        """Keep a row; where its key came before, return that row's line and whether its values were the same."""
        cells = orjson.dumps(item.cells)
        row = (item.key, line, item.hash, item.empty, cells)
        statement = "INSERT INTO items (key, line, hash, empty, cells) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
        with room_needed():
            is_first = self._file.execute(statement, row).rowcount
        if is_first:
            self.count += 1
            return None
        found = self._file.execute("SELECT line, cells FROM items WHERE key = ?", (item.key,)).fetchone()
        return found[0], found[1] == cells

    def pages(self) -> Iterator[list[SpooledItem]]:
        """Yield the rows in the order in which they were added, some at a time."""
        rows = self._file.execute("SELECT key, hash, empty, cells, seen, unusable FROM items ORDER BY number")
        while page := rows.fetchmany(PAGE):
            yield [
                SpooledItem(key, hash_, bool(empty), orjson.loads(cells), *seen)
                for key, hash_, empty, cells, *seen in page
            ]

    def note(self, items: Sequence[SpooledItem]) -> None:
        """Keep the hashes of some rows, and what was seen of their images, in the place of what was kept of them."""
        rows = [(one.hash, one.seen, one.unusable, one.key) for one in items]
        with room_needed():
            self._file.executemany("UPDATE items SET hash = ?, seen = ?, unusable = ? WHERE key = ?", rows)

    def missing(self, keys: Sequence[str]) -> set[str]:
        """Return those of some keys that no row has."""
        listed = orjson.dumps(list(keys)).decode()
        query = "SELECT key FROM items WHERE key IN (SELECT value FROM json_each(?))"
        return {*keys} - {key for (key,) in self._file.execute(query, (listed,))}

    def __exit__(self, *_: object) -> None:
        """Remove what was kept."""
        self._file.close()


@contextlib.contextmanager
def room_needed() -> Iterator[None]:
    """Say where there is no room for what is read, for the length of a block.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        raise ConfigurationError(
            f"the items cannot be kept in {tempfile.gettempdir()} while they are read: {error}; nothing was written",
            hint="free some room there, or set TMPDIR= to a folder that has some",
        ) from error


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


class FillHooks(NamedTuple):
    """What the caller of a fill does in its transactions.

    `touch` is called where rows that were there changed or went, and `settle` in the last one, for what is recorded of
    the source.
    """

    touch: Callable[[Connection], None] = lambda _tx: None
    settle: Callable[[Connection], None] = lambda _tx: None


NO_HOOKS = FillHooks()


@dataclass(frozen=True)
class ItemsFill:
    """One fill of a table of items.

    A row that is blank in all columns that are `asked` about, or in those that must be `quoted`, is empty.
    A row without a usable key, with the key of another row that differs, or with text that cannot be kept is refused;
    `strict` refuses the source with it. A row whose key `is_forgotten` is left out. `look_at` looks at the images of a
    row where it has some. What changes is written as of the moment `at`.
    """

    store: Store
    spec: ItemsSpec
    asked: Sequence[str]
    at: datetime
    quoted: Sequence[str] = ()
    strict: bool = False
    is_forgotten: Callable[[str], bool] = lambda _key: False
    look_at: LookAt | None = None
    hooks: FillHooks = NO_HOOKS
    report: ItemsReport = field(default_factory=ItemsReport, init=False)

    def run(self, rows: Iterable[SourceRow | Finding], display: Progress) -> ItemsReport:
        """Read a source to its end, and make the table hold what it says.

        Raises:
            InputError: the source cannot be read to its end, a value does not fit into its column, or a row is refused
                where `strict`; nothing was written.
        """
        table = items_table(self.spec)
        with ItemsSpool() as spool, display.bar("items", None, late=True) as bar:
            for number, row in enumerate(rows, start=1):
                self._take(spool, row)
                if not number % _LOOKED_AT:
                    bar.show(number)
            if self.look_at is not None and self.spec.images:
                self._look(table, spool, self.look_at, bar)
            self._write(table, spool, bar)
            self._mark_gone(table, spool)
        with self.store.write() as tx:
            self.hooks.settle(tx)
        return self.report

    def _take(self, spool: ItemsSpool, row: SourceRow | Finding) -> None:
        finding = row if isinstance(row, Finding) else self._spool_row(spool, row)
        if finding is not None and self.strict:
            raise InputError(_said(finding, self.spec), hint="mend the source, or leave the row out of it")
        if finding is not None:
            self.report.tell(finding)

    def _spool_row(self, spool: ItemsSpool, row: SourceRow) -> Finding | None:
        values = _stored_values(row, self.spec)
        if isinstance(values, Finding):
            return values
        try:
            key = key_of(values, self.spec)
        except BadKeyError as error:
            return rejected(row.line, str(error), values.get(error.column) or "", column=error.column)
        if self.is_forgotten(key):
            self.report.forgotten += 1
            return None
        empty = is_empty(values, self.spec.images or self.asked) or is_empty(values, self.quoted)
        before = spool.add(row.line, SpooledItem(key, hash_of(values, self.asked), empty, list(values.values())))
        if before is None:
            self.report.empty += empty
            return None
        line, is_same = before
        if is_same:
            self.report.merged += 1
            return None
        said = f"the key is on line {line}, too, with other values"
        return rejected(row.line, said, key, column=self.spec.key[0], key=key)

    def _look(self, table: Table, spool: ItemsSpool, look_at: LookAt, bar: Bar) -> None:
        """Look at the images of every row in the spool, and make its hash that of their bytes and the other values."""
        hashed, done = [*self.asked, *self.spec.images], 0
        for page in spool.pages():
            with self.store.read() as tx:
                known = _seen_before(tx, table, [one.key for one in page])
            noted = []
            for item in page:
                values = dict(zip(self.spec.columns, item.cells, strict=True))
                look = look_at(values, known.get(item.key))
                hash_ = hash_of({**values, **look.hashes}, hashed)
                noted.append(item._replace(hash=hash_, seen=look.seen, unusable=look.unusable))
                self.report.tell_look(item.key, look)
                done += 1
                bar.show(done, total=spool.count)
            spool.note(noted)

    def _write(self, table: Table, spool: ItemsSpool, bar: Bar) -> None:
        done = 0
        left = spool.pages()
        while some := list(islice(left, _WRITTEN)):
            with self.store.write() as tx:
                newest = next_value(tx, table.c.findable_row)
                for page in some:
                    new, other = _write_page(tx, table, page, newest=newest, at=self.at, report=self.report)
                    newest += new
                    done += len(page)
                    if other:
                        self.hooks.touch(tx)
            bar.show(done, total=spool.count)

    def _mark_gone(self, table: Table, spool: ItemsSpool) -> None:
        for some in _vanished(self.store, table, spool):
            with self.store.write() as tx:
                gone = update(table).where(table.c.findable_key.in_(some)).values(findable_gone_at=self.at)
                self.report.gone += tx.execute(gone).rowcount
                self.hooks.touch(tx)


def _said(finding: Finding, spec: ItemsSpec) -> str:
    of = f" {finding.column!r}" if finding.column else ""
    key = f" (key {finding.key!r})" if finding.key else ""
    shown = f": {finding.value}" if finding.value else ""
    return f"row {finding.line}{of}{key} for {spec.table}: {finding.reason}{shown}; nothing was written"


def _stored_values(row: SourceRow, spec: ItemsSpec) -> dict[str, Any] | Finding:
    """Return a row's values as they are stored, by column, or the finding that refuses it."""
    values: dict[str, Any] = {}
    for name, kind in spec.columns.items():
        value = row.values.get(name)
        try:
            values[name] = stored_value(value, kind)
        except UnsoundValueError as error:
            return rejected(row.line, str(error), value, column=name)
        except UnfitValueError as error:
            raise InputError(
                f"row {row.line}, column {name!r}: {error}; nothing was written",
                hint="give the column another name in the source, or its values the kind they had",
            ) from None
    return values


def _seen_before(tx: Connection, table: Table, keys: Sequence[str]) -> dict[str, str | None]:
    key, seen = table.c.findable_key, table.c.findable_seen
    found = (tx.execute(select(key, seen).where(key.in_(some))) for some in pages(keys))
    return {row[0]: row[1] for rows in found for row in rows}


def _write_page(
    tx: Connection, table: Table, page: Sequence[SpooledItem], *, newest: int, at: datetime, report: ItemsReport
) -> tuple[int, list[str]]:
    """Write one page of rows, the first new one of which gets the number `newest`.

    Returns how many are new, and the keys of those that were there and changed.
    """
    there = _stored_rows(tx, table, [item.key for item in page]) if newest > 1 else {}
    names = [column.name for column in (*_seen(table), *_columns(table))]
    new: list[dict[str, Any]] = []
    other: list[dict[str, Any]] = []
    for item in page:
        row = there.get(item.key)
        cells = [*(item.seen, item.unusable)[: len(_seen(table))], *item.cells]
        own: dict[str, Any] = {"findable_key": item.key, "findable_hash": item.hash, "findable_empty": item.empty}
        own |= zip(names, cells, strict=True)
        if row is None:
            new.append({**own, "findable_row": newest + len(new)})
            continue
        is_changed, was_gone = row.findable_hash != item.hash, row.findable_gone_at is not None
        report.back += was_gone
        report.changed += is_changed
        report.same += not is_changed
        if is_changed or was_gone or row.findable_empty != item.empty or list(row)[6:] != cells:
            changed_at = at if is_changed else row.findable_changed_at
            there_again = {"findable_gone_at": None, "findable_changed_at": changed_at}
            other.append({**own, "findable_row": row.findable_row, **there_again})
    report.new += len(new)
    run_many(tx, insert(table), new)
    run_many(tx, _upsert(tx, table), other)
    return len(new), [row["findable_key"] for row in other]


def _upsert(tx: Connection, table: Table) -> Any:
    own: Any = sqlite.insert(table) if tx.dialect.name == "sqlite" else postgresql.insert(table)
    values = {name: own.excluded[name] for name in table.c.keys() if name != "findable_key"}  # noqa: SIM118 - columns
    return own.on_conflict_do_update(index_elements=["findable_key"], set_=values)


def _stored_rows(tx: Connection, table: Table, keys: Sequence[str]) -> dict[str, Row[Any]]:
    own = (table.c[f"findable_{name}"] for name in ("key", "row", "hash", "empty", "gone_at", "changed_at"))
    query = select(*own, *_seen(table), *_columns(table))
    found = (tx.execute(query.where(table.c.findable_key.in_(some))) for some in pages(keys))
    return {row[0]: row for rows in found for row in rows}


def _columns(table: Table) -> list[Any]:
    return [column for column in table.c if not column.name.startswith("findable_")]


def _seen(table: Table) -> list[Any]:
    return [table.c[name] for name in SEEN if name in table.c]


def _vanished(store: Store, table: Table, spool: ItemsSpool) -> Iterator[list[str]]:
    """Yield the keys of the rows that the source has no more, some at a time."""
    last = 0
    here = table.c.findable_gone_at.is_(None)
    number, key = table.c.findable_row, table.c.findable_key
    with store.read() as tx:
        if tx.execute(select(func.count()).select_from(table).where(here)).scalar_one() == spool.count:
            return  # all keys of the spool are in the table
    while True:
        with store.read() as tx:
            query = select(number, key).where(here, number > last).order_by(number).limit(_LOOKED_AT)
            found = {one.findable_key: one.findable_row for one in tx.execute(query)}
        if not found:
            return
        last = max(found.values())
        if gone := spool.missing(list(found)):
            yield sorted(gone)
