"""Keep the rows of a source as they were last read, and bring them to another reading of it all at once.

Of people, who have a table of their own, it is what a file says beside that table's columns.

A reading goes to a temporary table, for which nobody waits; then three statements of one transaction write what is new
or differs, bring back what was gone, and mark what the source has no more. A process that dies before leaves no trace.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    MetaData,
    Select,
    Table,
    Text,
    case,
    delete,
    func,
    literal,
    or_,
    select,
    update,
)

from pipeline.store.database import PAGE, Store, among, insert_into, insert_new, run_many, streamed
from pipeline.store.schema import rows

MANY = 10_000  # new rows after which a server counts them, or it would plan for none
READ = ("row", "input_hash", "is_empty", "seen", "unusable")  # what a reading says of a row
_read = Table(
    "findable_read",
    MetaData(),
    Column("item_id", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
    Column("line", BigInteger, nullable=False),
    *(Column(name, Boolean if name == "is_empty" else Text) for name in READ),
    prefixes=["TEMPORARY"],
)


class Filled(NamedTuple):
    """What a reading changed, in rows; `back` were gone, `gone` are marked now, `touched` are another thing now."""

    new: int
    changed: int
    same: int
    back: int
    gone: int
    touched: int


class Reading(NamedTuple):
    """Rows of a source on their way, in a temporary table of one connection, which is held."""

    store: Store
    held: Connection

    def add(self, found: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], int, bool]]:
        """Keep rows; return those whose id came before, with the line of the first and whether that says the same."""
        with self.held.begin():
            if insert_new(self.held, _read, found) == len(found):
                return []
            ids = [one["item_id"] for one in found]
            first = {row.item_id: row for row in among(self.held, select(_read), _read.c.item_id, ids)}
        pairs = ((one, first[one["item_id"]]) for one in found)
        return [(one, before.line, before.row == one["row"]) for one, before in pairs if before.n != one["n"]]

    @contextlib.contextmanager
    def written(self, task: str, *, at: datetime, is_part: bool = False) -> Iterator[tuple[Connection, Filled]]:
        """Make the rows of a task what was read, in a transaction that ends with the block; of a part none is gone."""
        with self.store.write(on=self.held) as tx:
            is_server = tx.dialect.name != "sqlite"
            if is_server:
                tx.exec_driver_sql(f"ANALYZE {_read.name}")
            is_changed = rows.c.input_hash != _read.c.input_hash
            counts = (rows.c.item_id, case((is_changed, 1)), rows.c.gone_at)
            query = select(func.count(), *map(func.count, counts)).select_from(_read.outerjoin(rows, _is_row_of(task)))
            read, known, changed, back = tuple(tx.execute(query).one())
            written = tx.execute(self._upsert(task, at, top=tx.execute(_top(task)).scalar() or 0)).rowcount
            here = (rows.c.task == task) & rows.c.gone_at.is_(None)
            gone = 0 if is_part else tx.execute(select(func.count()).select_from(rows).where(here)).scalar_one() - read
            if gone:
                left = ~select(_read.c.item_id).where(_read.c.item_id == rows.c.item_id).exists()
                tx.execute(update(rows).where(here, left).values(gone_at=at))
            if is_server and read - known > MANY:
                tx.exec_driver_sql(f"ANALYZE {rows.name}")
            yield tx, Filled(read - known, changed, known - changed, back, gone, written - (read - known) + gone)

    def _upsert(self, task: str, at: datetime, *, top: int) -> Any:
        """Return what writes the rows that are new or other ones; a server would lock all that it is given."""
        is_other = or_(rows.c.gone_at.is_not(None), *(rows.c[name].is_distinct_from(_read.c[name]) for name in READ))
        told = [literal(task), _read.c.item_id, _read.c.n + top, *(_read.c[name] for name in READ)]
        found = select(*told).select_from(_read.outerjoin(rows, _is_row_of(task))).order_by(_read.c.n)
        own = insert_into(rows, self.held.dialect.name)
        own = own.from_select(["task", "item_id", "n", *READ], found.where(is_other))
        new, now = own.excluded, literal(at, rows.c.changed_at.type)
        values = {name: new[name] for name in READ} | {
            "gone_at": None,
            "changed_at": case((rows.c.input_hash != new.input_hash, now), else_=rows.c.changed_at),
        }
        return own.on_conflict_do_update(index_elements=["task", "item_id"], set_=values)


def _is_row_of(task: str) -> ColumnElement[bool]:
    return (rows.c.task == task) & (rows.c.item_id == _read.c.item_id)


@contextlib.contextmanager
def reading(store: Store) -> Iterator[Reading]:
    """Take rows of a source for the length of a block; those that were not `written` then are forgotten."""
    with store.held() as held:
        with held.begin():
            _read.create(held)
        try:
            yield Reading(store, held)
        finally:
            with contextlib.suppress(Exception), held.begin():  # the connection may be lost, and the table with it
                _read.drop(held)


def _top(task: str) -> Select[Any]:
    return select(func.max(rows.c.n)).where(rows.c.task == task)


def seen_before(tx: Connection, task: str, ids: Sequence[str]) -> dict[str, str | None]:
    """Return what was seen of the images of these rows, by id."""
    query = select(rows.c.item_id, rows.c.seen).where(rows.c.task == task)
    return {row[0]: row[1] for row in among(tx, query, rows.c.item_id, ids)}


def changed_since(tx: Connection, task: str, moments: Mapping[str, datetime]) -> list[str]:
    """Return which of some rows changed after a moment of each."""
    query = select(rows.c.item_id, rows.c.changed_at).where(rows.c.task == task, rows.c.changed_at.is_not(None))
    return [key for key, at in among(tx, query, rows.c.item_id, list(moments)) if at > moments[key]]


def kept_rows(tx: Connection, task: str, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return (hash, JSON) of those of some rows that are kept, by id."""
    query = select(rows.c.item_id, rows.c.input_hash, rows.c.row).where(rows.c.task == task)
    return {key: (hash_, row) for key, hash_, row in among(tx, query, rows.c.item_id, ids)}


def all_rows(tx: Connection, task: str) -> Iterator[str]:
    """Yield the JSON of each row of a task that is kept, in the order in which they were first seen."""
    query = select(rows.c.row).where(rows.c.task == task).order_by(rows.c.n)
    yield from (row[0] for row in streamed(tx, query, page=PAGE))


def ids_of(tx: Connection, task: str) -> set[str]:
    """Return the ids of all rows of a task that are kept."""
    return set(tx.execute(select(rows.c.item_id).where(rows.c.task == task)).scalars())


def put_rows(tx: Connection, task: str, found: Mapping[str, tuple[str, str]]) -> None:
    """Write (hash, JSON) of some rows by id, whether or not they were kept before."""
    top = tx.execute(_top(task)).scalar() or 0
    own = insert_into(rows, tx.dialect.name)
    own = own.on_conflict_do_update(
        index_elements=["task", "item_id"], set_={name: own.excluded[name] for name in ("input_hash", "row")}
    )
    told = [
        {"task": task, "item_id": key, "n": n, "input_hash": hash_, "row": row, "is_empty": False}
        for n, (key, (hash_, row)) in enumerate(found.items(), start=top + 1)
    ]
    run_many(tx, own, told)


def remove_row(tx: Connection, task: str, item_id: str) -> None:
    """Delete a row, if it is there."""
    tx.execute(delete(rows).where(rows.c.task == task, rows.c.item_id == item_id))
