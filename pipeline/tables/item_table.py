"""Ask a table, findable's own or another program's, for the items of a task: which are open, their states, names."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Subquery,
    Table,
    Text,
    case,
    cast,
    func,
    or_,
    select,
)

from pipeline.store import asks
from pipeline.store.database import streamed
from pipeline.tables.adopt import Ids
from pipeline.tables.rows import rows_among

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
    def state(self) -> ColumnElement[str]:
        """Return a row's state as an expression."""
        told, key = self.states, self.item_id
        claimed, parked = (
            _is_among(key, ids) for ids in (asks.claimed_ids(self.task), asks.parked(self.task, self.own))
        )
        held_back = parked if told.parked is None else or_(told.parked, parked)
        ways = [(told.done[1], told.done[0]), (claimed, "claimed"), (held_back, "parked")]
        ways += [(condition, name) for name, condition in (*told.others, told.pending)]
        return case(*ways, else_=told.rest)

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

    def names(self, tx: Connection, ids: Sequence[str]) -> dict[str, str]:
        """Return the name of each of these items that is there, by id."""
        if not self.named:
            found = self.ids_among(tx, ids)
            return {one: one for one in ids if one in found}
        return {one: self.name_of(row) for one, row in self.rows(tx, ids, self.named).items()}

    def counts(self, tx: Connection) -> dict[str, int]:
        """Return the total and {done, pending, rest, claimed, parked, …}: disjoint, and adding up to it."""
        query = select(state := self.state, func.count(self.table.c[self.key])).group_by(state)
        found = {row[0]: row[1] for row in tx.execute(query)}
        parts = {name: found.get(name, 0) for name in self.states.names}
        return {"total": sum(parts.values()), **parts}

    def state_of(self, tx: Connection, item_id: str) -> str:
        """Return the state of an item that is there."""
        return str(next(iter(self.among(tx, [item_id], [self.state])))[0])

    def _is_behind(self, item_id: str) -> ColumnElement[bool]:
        """Return the condition that a row comes behind that of an item; of none where that is not there."""
        others = self.table.alias().c
        row = select(others[self.order]).where(others[self.key].in_(self.ids.native([item_id]))).limit(1)
        return self.table.c[self.order] > row.scalar_subquery()


def _is_among(key: ColumnElement[str], ids: Select[Any]) -> ColumnElement[bool]:
    """Return the condition that an id is among others, looked up one by one: where they are many, few rows are read."""
    (held,) = ids.get_final_froms()
    return ids.where(ids.selected_columns[0] == key).correlate_except(held).exists()
