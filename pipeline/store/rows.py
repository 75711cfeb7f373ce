"""Keep the rows of a source as they were last read, and bring them to another reading of it all at once.

Of people, who have a table of their own, it is what a file says beside that table's columns.

A reading goes to a temporary table, for which nobody waits; then a few statements of one transaction write what is new
or differs, bring back what was gone, and mark what the source has no more. A process that dies before leaves no trace.

A row that the source has and no task can ask about (without a key, say) is *refused*. It is stored, too, so that every
row of the source is in one state: its hash is empty, `unusable` says why it was refused, and `seen` on which line.
"""

import contextlib
import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
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
    insert,
    literal,
    or_,
    select,
    update,
)

from pipeline.store.database import PAGE, Store, among, insert_into, insert_new, run_many, streamed
from pipeline.store.schema import rows

MANY = 10_000  # new rows after which a server counts them, or it would plan for none
READ = ("row", "input_hash", "is_empty", "seen", "unusable")  # what a reading says of a row
NO_HASH = ""  # the input hash of a refused row, which asks for nothing
is_refused = rows.c.input_hash == NO_HASH
_read = Table(
    "findable_read",
    MetaData(),
    Column("item_id", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
    Column("line", BigInteger, nullable=False),
    *(Column(name, Boolean if name == "is_empty" else Text) for name in READ),
    prefixes=["TEMPORARY"],
)


class RefusedRow(NamedTuple):
    """A refused row of a source: its line from 1, why it was refused, and its cells as they were read, by column."""

    line: int
    reason: str
    cells: Mapping[str, Any]

    @property
    def sentence(self) -> str:
        """Return where the row is in its source, and why it was refused."""
        return f"line {self.line}: {self.reason}"

    def stored(self, item_id: str) -> dict[str, Any]:
        """Return the columns of the row under an id, except the task and the place."""
        cells = json.dumps(self.cells, ensure_ascii=False, separators=(",", ":"))
        told = {"item_id": item_id, "row": cells, "input_hash": NO_HASH, "is_empty": True}
        return {**told, "seen": str(self.line), "unusable": self.reason}


class SyncCounts(NamedTuple):
    """What a reading changed, in rows that were not refused.

    `back` were gone, `gone` are marked now, `touched` are another thing now.
    """

    new: int
    changed: int
    same: int
    back: int
    gone: int
    touched: int


class StagedRows(NamedTuple):
    """Rows of a source on their way, in a temporary table of one connection, which is held."""

    store: Store
    held: Connection

    def add(self, found: Sequence[Mapping[str, Any]]) -> list[tuple[Mapping[str, Any], int]]:
        """Keep rows; return those whose id came before, with the line of the first."""
        with self.held.begin():
            if insert_new(self.held, _read, found) == len(found):
                return []
            ids = [one["item_id"] for one in found]
            first = {
                row.item_id: row for row in among(self.held, select(_read), _read.c.item_id, ids)
            }
        pairs = ((one, first[one["item_id"]]) for one in found)
        return [(one, before.line) for one, before in pairs if before.n != one["n"]]

    @contextlib.contextmanager
    def written(
        self, task: str, *, at: datetime, is_part: bool = False
    ) -> Iterator[tuple[Connection, SyncCounts]]:
        """Make the rows of a task what was read, in a transaction that ends with the block; of a part none is gone."""
        with self.store.write(on=self.held) as tx:
            is_server = tx.dialect.name != "sqlite"
            if is_server:
                tx.exec_driver_sql(f"ANALYZE {_read.name}")
            is_changed = rows.c.input_hash != _read.c.input_hash
            counts = (rows.c.item_id, case((is_changed, 1)), rows.c.gone_at)
            query = select(func.count(), *map(func.count, counts)).select_from(
                _read.outerjoin(rows, _is_row_of(task))
            )
            query = query.where(_read.c.input_hash != NO_HASH)
            read, known, changed, back = tuple(tx.execute(query).one())
            top = tx.execute(_top(task)).scalar() or 0
            is_in_order = is_part or self._is_in_order(tx, task, top=top)
            written = tx.execute(self._upsert(task, at, top=top)).rowcount
            here = (rows.c.task == task) & rows.c.gone_at.is_(None) & ~is_refused
            gone = (
                0
                if is_part
                else tx.execute(select(func.count()).select_from(rows).where(here)).scalar_one()
                - read
            )
            is_absent = ~select(_read.c.item_id).where(_read.c.item_id == rows.c.item_id).exists()
            if gone:
                tx.execute(update(rows).where(here, is_absent).values(gone_at=at))
            if not is_part:
                tx.execute(delete(rows).where(rows.c.task == task, is_refused, is_absent))
            if not is_in_order:
                place = (
                    select(_read.c.n + top)
                    .where(_read.c.item_id == rows.c.item_id)
                    .scalar_subquery()
                )
                tx.execute(update(rows).where(rows.c.task == task, ~is_absent).values(n=place))
            if is_server and read - known > MANY:
                tx.exec_driver_sql(f"ANALYZE {rows.name}")
            yield (
                tx,
                SyncCounts(
                    read - known,
                    changed,
                    known - changed,
                    back,
                    gone,
                    written - (read - known) + gone,
                ),
            )

    def _is_in_order(self, tx: Connection, task: str, *, top: int) -> bool:
        """Return whether the rows would be in the order of the source if new ones came last."""
        place = func.coalesce(rows.c.n, _read.c.n + top)
        before = func.lag(place).over(order_by=_read.c.n)
        placed = select(place.label("place"), before.label("before"))
        pairs = placed.select_from(_read.outerjoin(rows, _is_row_of(task))).subquery()
        return (
            tx.execute(select(literal(1)).where(pairs.c.place < pairs.c.before).limit(1)).first()
            is None
        )

    def _upsert(self, task: str, at: datetime, *, top: int) -> Any:
        """Return what writes the rows that are new or other ones; a server would lock all that it is given."""
        is_other = or_(
            rows.c.gone_at.is_not(None),
            *(rows.c[name].is_distinct_from(_read.c[name]) for name in READ),
        )
        told = [literal(task), _read.c.item_id, _read.c.n + top, *(_read.c[name] for name in READ)]
        found = (
            select(*told).select_from(_read.outerjoin(rows, _is_row_of(task))).order_by(_read.c.n)
        )
        own = insert_into(rows, self.held.dialect.name)
        own = own.from_select(["task", "item_id", "n", *READ], found.where(is_other))
        new = own.excluded
        now = literal(at, rows.c.changed_at.type)
        values = {name: new[name] for name in READ} | {
            "gone_at": None,
            "changed_at": case((rows.c.input_hash != new.input_hash, now), else_=rows.c.changed_at),
        }
        return own.on_conflict_do_update(index_elements=["task", "item_id"], set_=values)


def _is_row_of(task: str) -> ColumnElement[bool]:
    return (rows.c.task == task) & (rows.c.item_id == _read.c.item_id)


@contextlib.contextmanager
def reading(store: Store) -> Iterator[StagedRows]:
    """Take rows of a source for the length of a block; those that were not `written` then are forgotten."""
    with store.held() as held:
        with held.begin():
            _read.create(held)
        try:
            yield StagedRows(store, held)
        finally:
            with (
                contextlib.suppress(Exception),
                held.begin(),
            ):  # the connection may be lost, and the table with it
                _read.drop(held)


def _top(task: str) -> Select[Any]:
    return select(func.max(rows.c.n)).where(rows.c.task == task)


def seen_before(tx: Connection, task: str, ids: Sequence[str]) -> dict[str, str | None]:
    """Return what was seen of the images of these rows, by id."""
    query = select(rows.c.item_id, rows.c.seen).where(rows.c.task == task)
    return {row[0]: row[1] for row in among(tx, query, rows.c.item_id, ids)}


def changed_since(tx: Connection, task: str, moments: Mapping[str, datetime]) -> list[str]:
    """Return which of some rows changed after a moment of each."""
    query = select(rows.c.item_id, rows.c.changed_at).where(
        rows.c.task == task, rows.c.changed_at.is_not(None)
    )
    return [key for key, at in among(tx, query, rows.c.item_id, list(moments)) if at > moments[key]]


def kept_rows(tx: Connection, task: str, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return (hash, JSON) of those of some rows that are kept, by id."""
    query = select(rows.c.item_id, rows.c.input_hash, rows.c.row).where(rows.c.task == task)
    return {key: (hash_, row) for key, hash_, row in among(tx, query, rows.c.item_id, ids)}


def all_rows(tx: Connection, task: str) -> Iterator[str]:
    """Yield the JSON of each row of a task that is kept and not refused, in their order."""
    query = select(rows.c.row).where(rows.c.task == task, ~is_refused).order_by(rows.c.n)
    yield from (row[0] for row in streamed(tx, query, page=PAGE))


def ids_of(tx: Connection, task: str) -> set[str]:
    """Return the ids of all rows of a task that are kept."""
    return set(tx.execute(select(rows.c.item_id).where(rows.c.task == task, ~is_refused)).scalars())


def put_rows(tx: Connection, task: str, found: Mapping[str, tuple[str, str]]) -> None:
    """Write (hash, JSON) of some rows by id, whether or not they were kept before."""
    top = tx.execute(_top(task)).scalar() or 0
    own = insert_into(rows, tx.dialect.name)
    own = own.on_conflict_do_update(
        index_elements=["task", "item_id"],
        set_={name: own.excluded[name] for name in ("input_hash", "row")},
    )
    told = [
        {"task": task, "item_id": key, "n": n, "input_hash": hash_, "row": row, "is_empty": False}
        for n, (key, (hash_, row)) in enumerate(found.items(), start=top + 1)
    ]
    run_many(tx, own, told)


def remove_row(tx: Connection, task: str, item_id: str) -> None:
    """Delete a row, if it is there."""
    tx.execute(delete(rows).where(rows.c.task == task, rows.c.item_id == item_id))


# ---- refused rows


def refused_rows(tx: Connection, task: str, *, limit: int | None = None) -> Iterator[RefusedRow]:
    """Yield the refused rows of a task in the order of their source."""
    told = select(rows.c.seen, rows.c.unusable, rows.c.row).where(rows.c.task == task, is_refused)
    for row in streamed(tx, told.order_by(rows.c.n).limit(limit), page=PAGE):
        yield RefusedRow(int(row.seen), row.unusable, json.loads(row.row))


def count_refused(tx: Connection, task: str) -> int:
    """Return how many refused rows a task has."""
    return tx.execute(
        select(func.count()).select_from(rows).where(rows.c.task == task, is_refused)
    ).scalar_one()


class FileRefusals:
    """The refused rows of one file of a task whose other rows are in a table of their own.

    A file that is imported again replaces its refused rows; those of other files stay.
    """

    def __init__(self, tx: Connection, task: str, path: str) -> None:
        """Delete the refused rows of an earlier import of the file, in the caller's transaction."""
        self._tx = tx
        self._task = task
        self._prefix = f"refused-{hashlib.sha256(path.encode()).hexdigest()[:16]}-"
        self._count = 0
        before = rows.c.item_id.startswith(self._prefix, autoescape=True)
        tx.execute(delete(rows).where(rows.c.task == task, is_refused, before))

    def add(self, refused: Collection[RefusedRow]) -> None:
        """Store more refused rows of the file, in its order."""
        top = self._tx.execute(_top(self._task)).scalar() or 0
        stored = list[dict[str, Any]]()
        for place, row in enumerate(refused, start=1):
            self._count += 1
            stored.append(
                {"task": self._task, "n": top + place, **row.stored(f"{self._prefix}{self._count}")}
            )
        run_many(self._tx, insert(rows), stored)


def remove_refused(tx: Connection, task: str, words: Collection[str]) -> None:
    """Delete the refused rows of a task that have a cell equal to one of the words.

    Case and blanks at the ends of a cell or word do not matter.
    """
    folded = {word.strip().casefold() for word in words}
    query = select(rows.c.item_id, rows.c.row).where(rows.c.task == task, is_refused)
    for item_id, cells in tx.execute(query).all():
        if not folded.isdisjoint(
            str(cell).strip().casefold() for cell in json.loads(cells).values()
        ):
            remove_row(tx, task, item_id)
