"""Count people by what their rows say: by an index on a table that findable made, else by reading every row.

The index holds of each row its kind and its id, so that counts are exact whichever program writes. SQLite keeps it; a
server reads rows quickly enough, and uses no such index without the rows. A table of another program gets none.
"""

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Dialect,
    Select,
    Text,
    and_,
    case,
    cast,
    column,
    func,
    literal_column,
    or_,
    select,
    text,
    union_all,
)
from sqlalchemy.schema import CreateTable

from pipeline.experts.schema import experts
from pipeline.experts.table import TASK, has_bio, looks_foreign, tagged, untagged
from pipeline.store import answers, claims
from pipeline.tables.reflect import columns_of, is_sqlite
from pipeline.tables.rows import count_item_states

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


def count_experts_by_state(tx: Connection, *, now: datetime | None = None) -> dict[str, int]:
    """Return {total, tagged, untagged, no_bio, claimed, parked} at `now` (this moment); see `count_item_states`."""
    now = now or datetime.now(UTC)
    if is_counted(tx):
        return _counted(tx, now=now)
    return count_item_states(
        tx,
        experts,
        TASK,
        now=now,
        done=("tagged", tagged()),
        pending=("untagged", has_bio),
        rest="no_bio",
        parked=looks_foreign,
    )


def count_tagged(tx: Connection) -> int:
    """Return how many people are tagged."""
    if not is_counted(tx):
        return tx.execute(select(func.count()).select_from(experts).where(tagged())).scalar_one()
    kind, key = _columns(tx)
    query = _from_index(func.count()).where(kind == "tagged", key.not_in(answers.foreign_ids(TASK)))
    return int(tx.execute(query).scalar_one())


def _counted(tx: Connection, *, now: datetime) -> dict[str, int]:
    """Return the counts by the index: of all rows by kind, then of those who are asked about or parked once more."""
    kind, key = _columns(tx)
    found = dict.fromkeys(STATES, 0)
    for one, count in tx.execute(_from_index(kind, func.count()).group_by(kind)):
        found[one] += count
    dead = claims.dead_claims(tx, TASK, now=now)
    asked, parked = claims.claimed_ids(TASK), answers.parked_ids(TASK)
    if tx.execute(union_all(asked, parked).limit(1)).first() is None:
        return {"total": sum(found.values()), **found}
    is_claimed = and_(key.in_(asked), key.not_in(dead))
    is_tagged = and_(kind == "tagged", key.not_in(answers.foreign_ids(TASK)))
    state = case((is_tagged, "tagged"), (is_claimed, "claimed"), (key.in_(parked), "parked"), else_=kind)
    apart = _from_index(kind, state.label("findable_state"), func.count())
    apart = apart.where(or_(key.in_(asked), key.in_(parked))).group_by(kind, column("findable_state"))
    for was, one, count in tx.execute(apart):
        found[was] -= count
        found[one] += count
    return {"total": sum(found.values()), **found}


def _columns(tx: Connection) -> tuple[ColumnElement[str], ColumnElement[str]]:
    """Return a row's kind and its id as text, as they stand in the index."""
    return literal_column(_kind(tx.dialect)), cast(column("id"), Text)


def _from_index(*columns: ColumnElement[Any]) -> Select[Any]:
    """Return the SELECT that reads the index alone: SQLite, left to choose, would read the rows for their ids."""
    return select(*columns).select_from(text(f"experts INDEXED BY {INDEX}"))
