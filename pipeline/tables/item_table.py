"""Ask a table, findable's own or another program's, for the items of a task: which are open, their states, names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple
from typing import cast as cast_to

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Subquery,
    Table,
    Text,
    case,
    cast,
    delete,
    exc,
    false,
    func,
    or_,
    select,
    text,
)

from pipeline.core.errors import ConfigurationError
from pipeline.store import asks
from pipeline.store.database import describe_error, streamed, update_rows
from pipeline.tables.adopt import Ids
from pipeline.tables.cells import number_of
from pipeline.tables.rows import is_refusal, rows_among

CELLS = 256  # rows read at a time where a row is only looked at: what fits into a processor's cache is quicker


class ItemStates(NamedTuple):
    """What tells the states of a task's items: `done` and `pending` are names with conditions, `rest` is another name.

    `parked` is a condition beside the parked items; `others` come before what is pending.
    """

    done: tuple[str, ColumnElement[bool]]
    pending: tuple[str, ColumnElement[bool]]
    rest: str
    parked: ColumnElement[bool] | None = None
    others: tuple[tuple[str, ColumnElement[bool]], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all states, in the order in which they are counted."""
        return (self.done[0], self.pending[0], self.rest, "claimed", "parked", *(name for name, _ in self.others))

    def of_row(self, key: ColumnElement[Any], task: str, *, own: str = "") -> ColumnElement[str]:
        """Return a row's state as an expression, by the id of its item; `own` is as `asks.parked` has it."""
        return _state(self, key, task, own)


@lru_cache(maxsize=64)
def _state(states: ItemStates, key: ColumnElement[Any], task: str, own: str) -> ColumnElement[str]:
    """Return the same; kept, for making it takes longer than asking it."""
    key = cast(key, Text)
    claimed = _is_among(key, asks.claimed_ids(task))
    held_back = or_(false() if states.parked is None else states.parked, _is_among(key, asks.parked(task, own)))
    ways: tuple[tuple[ColumnElement[bool], str], ...] = (
        (states.done[1], states.done[0]),
        (claimed, "claimed"),
        (held_back, "parked"),
    )
    ways += tuple((condition, name) for name, condition in states.others)
    return case(*ways, (states.pending[1], states.pending[0]), else_=states.rest)


@dataclass(frozen=True, eq=False)
class ItemTable:
    """A table whose rows are the items of a task: column `key` holds their ids, and by `order` they are asked.

    `is_open` is the condition that a row may be asked about. `named` are the columns of the name by which a person
    knows an item, which `name_of` makes of their cells; without any it is the id. `own` is as `asks.parked` has it.
    """

    task: str
    table: Table | Subquery
    states: ItemStates
    is_open: ColumnElement[bool]
    ids: Ids = field(default_factory=Ids)
    key: str = "id"
    order: str = "id"
    named: Sequence[str] = ()
    name_of: Callable[[Mapping[str, Any]], str] = str
    own: str = ""

    @property
    def item_id(self) -> ColumnElement[str]:
        """Return an item's id as text."""
        return cast(self.table.c[self.key], Text)

    def total(self, tx: Connection, *conditions: ColumnElement[bool]) -> int:
        """Return how many rows there are of which all conditions hold."""
        return tx.execute(select(func.count()).select_from(self.table).where(*conditions)).scalar_one()

    def has_at_most(self, tx: Connection, rows: int) -> bool:
        """Return whether there are no more rows than that; one more is counted at the most."""
        some = select(self.table.c[self.key]).limit(rows + 1).subquery()
        return bool(tx.execute(select(func.count()).select_from(some)).scalar_one() <= rows)

    def pending(self, *, names: Sequence[str] = (), after: str | None = None) -> Select[Any]:
        """Return the SELECT of rows that may be asked about, in their order; see `Task.pending`."""
        columns = (*(self.table.c[name] for name in names), self.item_id.label("item_id"))
        query = select(*columns).where(self.is_open).order_by(self.table.c[self.order])
        return query if after is None else query.where(self._is_behind(after))

    def among(
        self,
        tx: Connection,
        ids: Sequence[str],
        columns: Sequence[ColumnElement[Any]],
        *conditions: ColumnElement[bool],
        locked: bool = False,
    ) -> Iterator[Sequence[Any]]:
        """Yield some columns of the rows with these ids of which all conditions hold; see `rows_among`."""
        key = self.table.c[self.key]
        return rows_among(tx, key, self.ids.native(ids), columns, *conditions, locked=locked)

    def rows(
        self, tx: Connection, ids: Sequence[str], names: Sequence[str], *, locked: bool = False
    ) -> dict[str, dict[str, Any]]:
        """Return some columns of the rows with these ids that are there, by id."""
        found = self.plain_rows(tx, ids, names, locked=locked)
        return {key: dict(zip(names, row, strict=False)) for key, row in found.items()}

    def plain_rows(
        self, tx: Connection, ids: Sequence[str], names: Sequence[str], *more: ColumnElement[Any], locked: bool = False
    ) -> dict[str, Sequence[Any]]:
        """Return the same as cells in the order of the names, then `more` and the id: a third of the time."""
        columns = [*(self.table.c[name] for name in names), *more, self.item_id]
        return {row[-1]: row for row in self.among(tx, ids, columns, locked=locked)}

    def cells(self, tx: Connection, names: Sequence[str], *conditions: ColumnElement[bool]) -> Iterator[Sequence[Any]]:
        """Yield some columns of the rows of which all conditions hold, in their order, at flat memory."""
        query = select(*(self.table.c[name] for name in names)).where(*conditions).order_by(self.table.c[self.order])
        for some in streamed(tx, query, page=CELLS).partitions():
            yield from some

    def ids_among(self, tx: Connection, ids: Sequence[str], *conditions: ColumnElement[bool]) -> set[str]:
        """Return which of these ids are of rows of which all conditions hold."""
        return {row[0] for row in self.among(tx, ids, [self.item_id], *conditions)}

    def pending_among(self, tx: Connection, ids: Sequence[str]) -> set[str]:
        """Return which of these items may be asked about."""
        return self.ids_among(tx, ids, self.is_open)

    def count_pending(self, tx: Connection, ids: Sequence[str]) -> int:
        """Return how many of these items, few enough for one statement, may be asked about."""
        key = self.table.c[self.key]
        mine = key.in_(self.ids.native(ids))
        return tx.execute(select(func.count(key.distinct())).where(mine, self.is_open)).scalar_one()

    def names(self, tx: Connection, ids: Sequence[str]) -> dict[str, str]:
        """Return the name of each of these items that is there, by id."""
        if not self.named:
            found = self.ids_among(tx, ids)
            return {one: one for one in ids if one in found}
        return {one: self.name_of(row) for one, row in self.rows(tx, ids, self.named).items()}

    def counts(self, tx: Connection) -> dict[str, int]:
        """Return the total and {done, pending, rest, claimed, parked, …}: disjoint, and adding up to it."""
        key = self.table.c[self.key]
        kind = self.states.of_row(key, self.task, own=self.own)
        found = {row[0]: row[1] for row in tx.execute(select(kind, func.count(key)).group_by(kind))}
        parts = {name: found.get(name, 0) for name in self.states.names}
        return {"total": sum(parts.values()), **parts}

    def state_of(self, tx: Connection, item_id: str) -> str:
        """Return the state of an item that is there."""
        state = self.states.of_row(self.table.c[self.key], self.task, own=self.own)
        return str(next(iter(self.among(tx, [item_id], [state])))[0])

    def _is_behind(self, item_id: str) -> ColumnElement[bool]:
        """Return the condition that a row comes behind that of an item; of none where that is not there."""
        others = self.table.alias().c
        row = select(others[self.order]).where(others[self.key].in_(self.ids.native([item_id]))).limit(1)
        return self.table.c[self.order] > row.scalar_subquery()


def _is_among(key: ColumnElement[str], ids: Select[Any]) -> ColumnElement[bool]:
    """Return the condition that an id is among others, looked up one by one: where they are many, few rows are read."""
    (held,) = ids.get_final_froms()
    return ids.where(ids.selected_columns[0] == key).correlate_except(held).exists()


PAGE = 2000  # rows that are written at a time, or a few more


class DerivedColumn(NamedTuple):
    """A column of a table with the column `id`, and what makes its number of the cells of some other columns."""

    table: Table
    name: str
    made_of: Sequence[str]
    make: Callable[..., float]

    def refresh(self, tx: Connection, condition: ColumnElement[bool] | None = None) -> int:
        """Write the numbers of some or all rows that are wrong; return how many those were.

        Rows are read in one go for as long as few differ; those are written before the next are read.
        """
        written, after, own = 0, None, self.table.c.id
        while True:
            query = select(own, self.table.c[self.name], *(self.table.c[one] for one in self.made_of)).order_by(own)
            if condition is not None:
                query = query.where(condition)
            if after is not None:
                query = query.where(own > after)
            changed, after = self._outdated(tx, query)
            if changed:
                update_rows(tx, self.table, (self.name,), changed)
                written += len(changed)
            if after is None:
                return written

    def _outdated(self, tx: Connection, query: Select[Any]) -> tuple[list[tuple[float, Any]], Any]:
        """Return (right number, id) of rows that hold a wrong one, PAGE or a few more; and where to go on, or None."""
        found: list[tuple[float, Any]] = []
        result, make = streamed(tx, query, page=CELLS), self.make
        pages: Iterator[Sequence[Sequence[Any]]] = result.partitions()
        for rows in pages:
            found += [(new, key) for key, old, *cells in rows if (new := make(*cells)) != old and new != number_of(old)]
            if len(found) >= PAGE:
                result.close()
                return found, rows[-1][0]
        return found, None


def remove_row(tx: Connection, table: ItemTable, item_id: str, *, so_far: str) -> None:
    """Delete the row of an item, if it is there. `so_far` is what an error says of all else.

    Raises:
        ConfigurationError: another program's rows hold on to it, or its trigger or rule does.
    """
    name = table.names(tx, [item_id]).get(item_id)
    if name is None:
        return
    try:
        broken, made = _broken_references(tx), cast_to(Table, table.table)
        tx.execute(delete(made).where(made.c[table.key].in_(table.ids.native([item_id]))))
        if tx.dialect.name != "sqlite":
            tx.exec_driver_sql("SET CONSTRAINTS ALL IMMEDIATE")  # else those that wait speak at the commit
        elif _broken_references(tx) > broken:
            raise ConfigurationError(
                f"rows of another program refer to {name!r}; {so_far}", hint="remove those first, then run it again"
            )
    except exc.DBAPIError as error:
        if not is_refusal(error):
            raise
        is_reference = "foreign key constraint" in str(error.orig).lower()
        why = f"rows of another program refer to {name!r}" if is_reference else f"the database keeps {name!r}"
        raise ConfigurationError(
            f"{why}: {describe_error(error)}; {so_far}", hint="remove what holds on to the row first, then run it again"
        ) from error
    if table.ids_among(tx, [item_id]):
        raise ConfigurationError(
            f"a trigger or a rule of the database keeps the row of {name!r}, who cannot be forgotten so; {so_far}",
            hint="take the trigger or rule away, or delete the row yourself, then run it again",
        )


def _broken_references(tx: Connection) -> int:
    """Return how many references of an SQLite database lead nowhere, where it looks at some only at the commit."""
    if tx.dialect.name != "sqlite":
        return 0
    waits = text("SELECT 1 FROM sqlite_master WHERE type = 'table' AND sql LIKE '%DEFERRED%' LIMIT 1")
    if tx.execute(waits).first() is None:
        return 0
    return int(tx.execute(text("SELECT count(*) FROM pragma_foreign_key_check")).scalar_one())
