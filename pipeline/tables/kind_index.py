"""Count items by what their rows say by themselves: by an index on a table that findable made, else by every row.

The index holds of each row its kind and its id, so that counts are exact whichever program writes. SQLite keeps it; a
server reads rows quickly enough, and uses no such index without the rows. A table of another program gets none.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Select,
    Table,
    Text,
    cast,
    column,
    func,
    literal_column,
    select,
    text,
    union_all,
)
from sqlalchemy.schema import CreateTable

from pipeline.store import answers, claims
from pipeline.store.tables import parked, requests
from pipeline.tables.item_table import ItemTable
from pipeline.tables.reflect import columns_of, is_sqlite

KINDLESS = ("claimed", "parked")  # states that are told by the engine's own tables
_SQL_OF = text("SELECT sql FROM sqlite_master WHERE type = :type AND name = :name")


@dataclass(frozen=True, eq=False)
class KindIndex:
    """The index `name` on a table with the column `id`; `kind` is what a row is by itself, as the name of a state.

    Items that are asked about or parked are counted apart.
    """

    name: str
    table: Table
    kind: ColumnElement[str]

    def is_there(self, tx: Connection) -> bool:
        """Return whether the index is there, as this version makes it."""
        return is_sqlite(tx) and _sql_of(tx, "index", self.name) == self._definition(tx)

    def is_on_ours(self, tx: Connection) -> bool:
        """Return whether the table is as findable makes it; on a server, whether it has no column of another's."""
        if not is_sqlite(tx):
            return set(columns_of(tx, self.table.name)) == set(self.table.c.keys())
        wanted = str(CreateTable(self.table).compile(dialect=tx.dialect))
        return str(_sql_of(tx, "table", self.table.name)).split() == wanted.split()

    def is_lacking(self, tx: Connection) -> bool:
        """Return whether the index is to be made."""
        return is_sqlite(tx) and not self.is_there(tx) and self.is_on_ours(tx)

    def ensure(self, tx: Connection) -> None:
        """Make the index where it is to be, in place of one that another version made."""
        if self.is_lacking(tx):
            tx.exec_driver_sql(f"DROP INDEX IF EXISTS {self.name}")
            tx.exec_driver_sql(self._definition(tx))

    def count(self, tx: Connection, kind: str, *, but: Select[Any]) -> int:
        """Return how many rows are of a kind, without those with some ids."""
        of_row, key = self._columns(tx)
        query = self._select(func.count()).where(of_row == kind, key.not_in(but))
        return int(tx.execute(query).scalar_one())

    def is_of(self, tx: Connection, kind: str) -> ColumnElement[bool]:
        """Return the condition that a row is of a kind, as the index has it."""
        return self._columns(tx)[0] == literal_column(f"'{kind}'")

    def ids_of(self, tx: Connection, kind: str) -> Select[Any]:
        """Return the SELECT of the ids of the rows of a kind."""
        of_row, key = self._columns(tx)
        return self._select(key).where(of_row == kind)

    def by_kind(self, tx: Connection, ids: Select[Any] | None = None) -> dict[str, int]:
        """Return how many rows there are of each kind, or of those with some ids; the kinds of none are not there.

        Whether there are such ids is asked first: else each row would be held against none.
        """
        kind, key = self._columns(tx)
        query = self._select(kind, func.count()).group_by(kind)
        if ids is not None:
            if tx.execute(ids.limit(1)).first() is None:
                return {}
            query = query.where(key.in_(ids))
        return {row[0]: row[1] for row in tx.execute(query)}

    def _definition(self, tx: Connection) -> str:
        return f"CREATE INDEX {self.name} ON {self.table.name} ({_sql(self, tx.dialect)}, id)"

    def _columns(self, tx: Connection) -> tuple[ColumnElement[str], ColumnElement[str]]:
        """Return a row's kind and its id as text, as they stand in the index."""
        return literal_column(_sql(self, tx.dialect)), cast(column("id"), Text)

    def _select(self, *columns: ColumnElement[Any]) -> Select[Any]:
        """Return the SELECT that reads the index alone: SQLite, left to choose, would read the rows for their ids."""
        return select(*columns).select_from(text(f"{self.table.name} INDEXED BY {self.name}"))


def _sql(index: KindIndex, dialect: Dialect) -> str:
    """Return what a row is, in SQL that stands in the index and in queries alike; made once for a kind of dialect."""
    if (kind := (index, type(dialect))) not in _SQL:
        compiled = index.kind.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        _SQL[kind] = str(compiled).replace(f"{index.table.name}.", "")
    return _SQL[kind]


_SQL: dict[tuple[KindIndex, type[Dialect]], str] = {}


def _sql_of(tx: Connection, kind: str, name: str) -> str | None:
    """Return the SQL with which SQLite made a table or an index."""
    found: str | None = tx.execute(_SQL_OF, {"type": kind, "name": name}).scalar()
    return found


@dataclass(frozen=True, eq=False, kw_only=True)
class CountedTable(ItemTable):
    """A table of items whose counts come from an index where it is there."""

    index: KindIndex

    def count_done(self, tx: Connection) -> int:
        """Return how many items are done."""
        if not self.index.is_there(tx):
            return self.total(tx, self.states.done[1])
        return self.index.count(tx, self.states.done[0], but=answers.foreign_ids(self.task))

    def told_apart(self, tx: Connection, state: str) -> Any:
        """Return the SELECT of ids; those of parked rows are in the record, or looked up in the index."""
        if state == "parked" and self.index.is_there(tx):
            return union_all(answers.parked_ids(self.task), self.index.ids_of(tx, state))
        return super().told_apart(tx, state)

    def is_of_kind(self, tx: Connection, state: str) -> ColumnElement[bool] | None:
        """Return the condition that a row is of the kind that is named as its state."""
        return self.index.is_of(tx, state) if state not in KINDLESS and self.index.is_there(tx) else None

    def counts(self, tx: Connection, *, now: datetime) -> dict[str, int]:
        """Return the counts by the index: of all rows by kind, less those that are asked about, then the parked.

        What is done stays so, unless its answer is another program's text.
        """
        if not self.index.is_there(tx):
            return super().counts(tx, now=now)
        done = self.states.done[0]
        found = dict.fromkeys(self.states.names, 0) | self.index.by_kind(tx)
        asked = claims.claimed_ids(self.task).where(
            requests.c.item_id.not_in(claims.dead_claims(tx, self.task, now=now))
        )
        foreign = answers.foreign_ids(self.task)
        free = ~asked.where(requests.c.item_id == parked.c.item_id).correlate(parked).exists()
        apart = {
            "claimed": (asked, foreign.where(~free)),
            "parked": (answers.parked_ids(self.task).where(free), foreign.where(free)),
        }
        for state, (ids, foreign_ids) in apart.items():
            moved = self.index.by_kind(tx, ids) | {done: self.index.by_kind(tx, foreign_ids).get(done, 0)}
            for kind, count in moved.items():
                found[kind] -= count
                found[state] += count
        return {"total": sum(found.values()), **found}
