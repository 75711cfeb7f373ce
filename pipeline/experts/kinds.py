"""Count people by what their rows say: by an index on a table that findable made, else by reading every row.

The index holds of each row its kind and its id, so that counts are exact whichever program writes. SQLite keeps it; a
server reads rows quickly enough, and uses no such index without the rows. A table of another program gets none.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Select,
    Text,
    case,
    cast,
    column,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.schema import CreateTable

from pipeline.experts.columns import USERNAME, text_of
from pipeline.experts.schema import experts, shape_of
from pipeline.experts.table import TASK, has_bio, looks_foreign, tagged, untagged
from pipeline.store import answers, claims
from pipeline.store.tables import parked, requests
from pipeline.tables.item_table import ItemStates, ItemTable
from pipeline.tables.reflect import columns_of, is_sqlite

INDEX = "findable_experts_kinds"
STATES = ("tagged", "untagged", "no_bio", "claimed", "parked")
_OF_INDEX = text(f"SELECT sql FROM sqlite_master WHERE type = 'index' AND name = '{INDEX}'")  # noqa: S608 - our name
_OF_TABLE = text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'experts'")
# what a row is by itself; people who are asked about or parked are counted apart
_of_row = case((looks_foreign, "parked"), (~untagged, "tagged"), (has_bio, "untagged"), else_="no_bio")


@lru_cache
def _kind(dialect: Dialect) -> str:
    """Return what a row is, in SQL that stands in the index and in queries alike."""
    compiled = _of_row.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    return str(compiled).replace("experts.", "")


def _definition(tx: Connection) -> str:
    return f"CREATE INDEX {INDEX} ON experts ({_kind(tx.dialect)}, id)"


def is_counted(tx: Connection) -> bool:
    """Return whether the index is there, as this version makes it."""
    return is_sqlite(tx) and tx.execute(_OF_INDEX).scalar() == _definition(tx)


def is_ours(tx: Connection) -> bool:
    """Return whether the table is as findable makes it; on a server, whether it has no column of another program."""
    if not is_sqlite(tx):
        return set(columns_of(tx, "experts")) == set(experts.c.keys())
    wanted = str(CreateTable(experts).compile(dialect=tx.dialect))
    return str(tx.execute(_OF_TABLE).scalar()).split() == wanted.split()


def lacks_index(tx: Connection) -> bool:
    """Return whether the index is to be made."""
    return is_sqlite(tx) and not is_counted(tx) and is_ours(tx)


def ensure_index(tx: Connection) -> None:
    """Make the index where it is to be, in place of one that another version made."""
    if lacks_index(tx):
        tx.exec_driver_sql(f"DROP INDEX IF EXISTS {INDEX}")
        tx.exec_driver_sql(_definition(tx))


@dataclass(frozen=True, eq=False)
class PeopleTable(ItemTable):
    """The table `experts`, whose counts come from the index where it is there."""

    def counts(self, tx: Connection, *, now: datetime) -> dict[str, int]:
        """Return {total, tagged, untagged, no_bio, claimed, parked}."""
        return _counted(tx, now=now) if is_counted(tx) else super().counts(tx, now=now)


def people(tx: Connection) -> PeopleTable:
    """Return the table of people; untagged ones with a bio are asked about, and known by their usernames."""
    return PeopleTable(
        TASK,
        experts,
        ItemStates(("tagged", tagged()), ("untagged", has_bio), "no_bio", looks_foreign),
        untagged & has_bio,
        shape_of(tx).ids,
        named=(USERNAME,),
        name_of=lambda row: text_of(row[USERNAME]),
    )


def count_experts_by_state(tx: Connection, *, now: datetime | None = None) -> dict[str, int]:
    """Return {total, tagged, untagged, no_bio, claimed, parked} at `now` (this moment); see `ItemTable.counts`."""
    return people(tx).counts(tx, now=now or datetime.now(UTC))


def count_tagged(tx: Connection) -> int:
    """Return how many people are tagged."""
    if not is_counted(tx):
        return tx.execute(select(func.count()).select_from(experts).where(tagged())).scalar_one()
    kind, key = _columns(tx)
    query = _from_index(func.count()).where(kind == "tagged", key.not_in(answers.foreign_ids(TASK)))
    return int(tx.execute(query).scalar_one())


def _counted(tx: Connection, *, now: datetime) -> dict[str, int]:
    """Return the counts by the index: of all rows by kind, from which those go who are asked about, then the parked.

    Who is tagged stays so, unless their tags are another program's text.
    """
    found = dict.fromkeys(STATES, 0) | _by_kind(tx)
    asked = claims.claimed_ids(TASK).where(requests.c.item_id.not_in(claims.dead_claims(tx, TASK, now=now)))
    foreign = answers.foreign_ids(TASK)
    free = ~asked.where(requests.c.item_id == parked.c.item_id).correlate(parked).exists()
    apart = {
        "claimed": (asked, foreign.where(~free)),
        "parked": (answers.parked_ids(TASK).where(free), foreign.where(free)),
    }
    for state, (ids, foreign_ids) in apart.items():
        moved = _by_kind(tx, ids) | {"tagged": _by_kind(tx, foreign_ids).get("tagged", 0)}
        for kind, count in moved.items():
            found[kind] -= count
            found[state] += count
    return {"total": sum(found.values()), **found}


def _by_kind(tx: Connection, ids: Select[Any] | None = None) -> dict[str, int]:
    """Return how many rows there are of each kind, or of those with some ids; the kinds of none are not there.

    Whether there are such ids is asked first: else each row would be held against none.
    """
    kind, key = _columns(tx)
    query = _from_index(kind, func.count()).group_by(kind)
    if ids is not None:
        if tx.execute(ids.limit(1)).first() is None:
            return {}
        query = query.where(key.in_(ids))
    return {row[0]: row[1] for row in tx.execute(query)}


def _columns(tx: Connection) -> tuple[ColumnElement[str], ColumnElement[str]]:
    """Return a row's kind and its id as text, as they stand in the index."""
    return literal_column(_kind(tx.dialect)), cast(column("id"), Text)


def _from_index(*columns: ColumnElement[Any]) -> Select[Any]:
    """Return the SELECT that reads the index alone: SQLite, left to choose, would read the rows for their ids."""
    return select(*columns).select_from(text(f"experts INDEXED BY {INDEX}"))
