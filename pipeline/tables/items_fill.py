"""Bring a table of items up to what a source says, in three steps.

The source is read to its end into a spool before anything is written, so that half a source writes nothing and marks
nothing as gone. Then rows that are new or differ are written, some thousand in a transaction; the same is done again by
the next fill where a process died between them. Last, what the source has no more is marked.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from sqlalchemy import BindParameter, Connection, Insert, Row, Table, Update, bindparam, func, insert, select, update

from pipeline.core.errors import InputError
from pipeline.core.progress import Bar, Progress
from pipeline.store.database import Store, among, next_value, pages, run_many
from pipeline.tables.findings import SHOWN, Finding, rejected
from pipeline.tables.item_values import UnfitValueError, UnsoundValueError, stored_value
from pipeline.tables.items import SEEN, BadKeyError, ItemsSpec, hash_of, is_empty, items_table, key_of
from pipeline.tables.items_file import SourceRow
from pipeline.tables.items_spool import ItemsSpool, SpooledItem

_WRITTEN = 5  # pages of the spool in one transaction
_LOOKED_AT = 5_000  # rows of the table that are looked up in the spool at a time
_OWN = ("findable_key", "findable_row", "findable_hash", "findable_empty")


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

    def tell(self, finding: Finding) -> None:
        """Count a refused row, and keep why while there is room."""
        self.refused[finding.reason] += 1
        if len(self.findings) < SHOWN:
            self.findings.append(finding)


def fill_items(
    store: Store,
    spec: ItemsSpec,
    rows: Iterable[SourceRow | Finding],
    *,
    asked: Sequence[str],
    quoted: Sequence[str] = (),
    at: datetime,
    display: Progress,
    strict: bool = False,
    is_forgotten: Callable[[str], bool] = lambda _key: False,
    guard: Callable[[Connection], None] = lambda _tx: None,
    settle: Callable[[Connection], None] = lambda _tx: None,
    touch: Callable[[Connection, Sequence[str]], None] = lambda _tx, _keys: None,
    look_at: LookAt | None = None,
) -> ItemsReport:
    """Read a source to its end, and make the table hold what it says.

    A row that is blank in all columns that are `asked` about, or in those that must be `quoted`, is empty.
    A row without a usable key, with the key of another row that differs, or with text that cannot be kept is refused;
    `strict` refuses the source with it. A row whose key `is_forgotten` is left out. `guard` is called in every
    transaction before it writes, such as with a lease that is to be ours, `touch` with the keys of the rows that were
    there and changed or went, and `settle` in the last one, for what is recorded of the source. `look_at` looks at the
    images of a row where it has some.

    Raises:
        InputError: the source cannot be read to its end, a value does not fit into its column, or a row is refused
            where `strict`; nothing was written.
    """
    report = ItemsReport()
    table = items_table(spec)
    with ItemsSpool() as spool, display.bar("items", None, late=True) as bar:
        for number, row in enumerate(rows, start=1):
            finding = (
                row
                if isinstance(row, Finding)
                else _spool_row(spool, row, spec, report, asked=asked, quoted=quoted, is_forgotten=is_forgotten)
            )
            if finding is not None and strict:
                raise InputError(_said(finding, spec), hint="mend the source, or leave the row out of it")
            if finding is not None:
                report.tell(finding)
            if not number % _LOOKED_AT:
                bar.show(number)
        if look_at is not None and spec.images:
            _look(store, table, spool, spec, look_at, asked=asked, report=report, bar=bar)
        _write(store, table, spool, at=at, report=report, guard=guard, touch=touch, bar=bar)
        for some in _vanished(store, table, spool):
            with store.write() as tx:
                guard(tx)
                gone = update(table).where(among(tx, table.c.findable_key, some)).values(findable_gone_at=at)
                report.gone += tx.execute(gone).rowcount
                touch(tx, some)
    with store.write() as tx:
        guard(tx)
        settle(tx)
    return report


def _said(finding: Finding, spec: ItemsSpec) -> str:
    """Return why a source is refused for one of its rows."""
    of = f" {finding.column!r}" if finding.column else ""
    key = f" (key {finding.key!r})" if finding.key else ""
    shown = f": {finding.value}" if finding.value else ""
    return f"row {finding.line}{of}{key} for {spec.table}: {finding.reason}{shown}; nothing was written"


def _spool_row(
    spool: ItemsSpool,
    row: SourceRow,
    spec: ItemsSpec,
    report: ItemsReport,
    *,
    asked: Sequence[str],
    quoted: Sequence[str],
    is_forgotten: Callable[[str], bool],
) -> Finding | None:
    """Keep a row, or return the finding that refuses it."""
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
    try:
        key = key_of(values, spec)
    except BadKeyError as error:
        return rejected(row.line, str(error), values.get(error.column) or "", column=error.column)
    if is_forgotten(key):
        report.forgotten += 1
        return None
    empty = is_empty(values, spec.images or asked) or is_empty(values, quoted)
    before = spool.add(row.line, SpooledItem(key, hash_of(values, asked), empty, list(values.values())))
    if before is None:
        report.empty += empty
        return None
    line, is_same = before
    if is_same:
        report.merged += 1
        return None
    return rejected(row.line, f"the key is on line {line}, too, with other values", key, column=spec.key[0], key=key)


def _look(
    store: Store,
    table: Table,
    spool: ItemsSpool,
    spec: ItemsSpec,
    look_at: LookAt,
    *,
    asked: Sequence[str],
    report: ItemsReport,
    bar: Bar,
) -> None:
    """Look at the images of every row in the spool, and make its hash that of their bytes and the other values."""
    names, done = list(spec.columns), 0
    for page in spool.pages():
        with store.read() as tx:
            key, seen = table.c.findable_key, table.c.findable_seen
            rows = (
                tx.execute(select(key, seen).where(among(tx, key, some))) for some in pages([one.key for one in page])
            )
            known = {row[0]: row[1] for found in rows for row in found}
        noted = []
        for item in page:
            values = dict(zip(names, item.cells, strict=True))
            look = look_at(values, known.get(item.key))
            hash_ = hash_of({**values, **look.hashes}, [*asked, *spec.images])
            noted.append(item._replace(hash=hash_, seen=look.seen, unusable=look.unusable))
            report.unusable += look.unusable is not None
            if look.unusable is not None and len(report.unusable_rows) < SHOWN:
                report.unusable_rows.append((item.key, look.unusable))
            done += 1
            bar.show(done, total=spool.count)
        spool.note(noted)


def _write(
    store: Store,
    table: Table,
    spool: ItemsSpool,
    *,
    at: datetime,
    report: ItemsReport,
    guard: Callable[[Connection], None],
    touch: Callable[[Connection, Sequence[str]], None],
    bar: Bar,
) -> None:
    """Write the rows of the spool that are new or differ."""
    done = 0
    left = spool.pages()
    while some := list(islice(left, _WRITTEN)):
        with store.write() as tx:
            guard(tx)
            newest = next_value(tx, table.c.findable_row)
            for page in some:
                new, other = _write_page(tx, table, page, newest=newest, at=at, report=report)
                newest += new
                done += len(page)
                if other:
                    touch(tx, other)
        bar.show(done, total=spool.count)


def _write_page(
    tx: Connection, table: Table, page: Sequence[SpooledItem], *, newest: int, at: datetime, report: ItemsReport
) -> tuple[int, list[str]]:
    """Write one page of rows, the first new one of which gets the number `newest`.

    Returns how many are new, and the keys of those that were there and changed.
    """
    there = _stored_rows(tx, table, [item.key for item in page]) if newest > 1 else {}
    moment = _driver_time(tx, table, at)
    new: list[tuple[Any, ...]] = []
    other: list[tuple[Any, ...]] = []
    for item in page:
        row = there.get(item.key)
        look = (item.seen, item.unusable)[: len(_seen(table))]
        if row is None:
            new.append((item.key, newest + len(new), item.hash, item.empty, *look, *item.cells))
            continue
        is_changed, was_gone = row.findable_hash != item.hash, row.findable_gone_at is not None
        report.back += was_gone
        report.changed += is_changed
        report.same += not is_changed
        if is_changed or was_gone or row.findable_empty != item.empty or list(row)[4:] != [*look, *item.cells]:
            other.append((item.key, item.hash, item.empty, moment if is_changed else None, *look, *item.cells))
    report.new += len(new)
    run_many(tx, *_inserting(table), new)
    run_many(tx, *_updating(table), other)
    return len(new), [row[0] for row in other]


def _stored_rows(tx: Connection, table: Table, keys: Sequence[str]) -> dict[str, Row[Any]]:
    """Return the rows with some keys: key, hash, whether it is empty, when it went, and the source's columns."""
    own = (table.c.findable_key, table.c.findable_hash, table.c.findable_empty, table.c.findable_gone_at)
    query = select(*own, *_seen(table), *_columns(table))
    found = (tx.execute(query.where(among(tx, table.c.findable_key, some))) for some in pages(keys))
    return {row[0]: row for rows in found for row in rows}


def _columns(table: Table) -> list[Any]:
    """Return the columns that are the source's."""
    return [column for column in table.c if not column.name.startswith("findable_")]


def _seen(table: Table) -> list[Any]:
    """Return the columns with what was seen of a row's images; none where rows have none."""
    return [table.c[name] for name in SEEN if name in table.c]


def _inserting(table: Table) -> tuple[Insert, list[str]]:
    """Return the statement that adds rows, and its parameters: named by number, for a column may be called anything."""
    written = [*(table.c[name] for name in _OWN), *_seen(table), *_columns(table)]
    names = [f"findable_p{place}" for place in range(len(written))]
    values: dict[str, Any] = {column.name: bindparam(name) for column, name in zip(written, names, strict=True)}
    return insert(table).values(values), names


def _updating(table: Table) -> tuple[Update, list[str]]:
    """Return the statement that changes rows, which are there again, and its parameters."""
    columns = [*_seen(table), *_columns(table)]
    names = [f"findable_p{place}" for place in range(len(columns) + 4)]
    parameters: list[BindParameter[Any]] = [bindparam(name) for name in names]
    key, hash_, empty, moment, *cells = parameters
    changed_at = table.c.findable_changed_at
    values: dict[str, Any] = {
        "findable_hash": hash_,
        "findable_empty": empty,
        "findable_gone_at": None,
        "findable_changed_at": func.coalesce(bindparam(moment.key, type_=changed_at.type), changed_at),
        **{column.name: cell for column, cell in zip(columns, cells, strict=True)},
    }
    return update(table).where(table.c.findable_key == key).values(values), names


def _driver_time(tx: Connection, table: Table, at: datetime) -> Any:
    """Return a moment as the driver takes it for a column of this table."""
    process = table.c.findable_changed_at.type.dialect_impl(tx.dialect).bind_processor(tx.dialect)
    return process(at) if process else at


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
