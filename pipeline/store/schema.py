"""Make the schema under a number of its own, with what the subjects need, in one transaction.

Any command may be the first. A database with another program's tables is adopted: ours (`findable_…`) are added.
"""

from collections.abc import Callable, Collection, Sequence

from sqlalchemy import Connection, inspect, select, text

from pipeline.core.errors import InconsistentError
from pipeline.store import tables, workspace
from pipeline.store.database import Store

HEAD = "0022"  # one more whenever a table changes; `0001` to `0021` are of the tables before
BEFORE = "findable_version"  # the table that has the number, up to `0021`
OPENED_BY = {  # the last commit each
    "0017": "c9e9ce54",
    "0018": "2fef5f7a",
    "0019": "b92ccecb",
    "0020": "983e53b3",
    "0021": "b565137c",
}
FIRST = "20ee0c6d"  # the last commit that opens the tables up to `0016`


def ensure_schema(store: Store, adoptions: Sequence[Callable[[Connection], Sequence[str]]]) -> list[str]:
    """Make the schema where there is none, and return a line for each change to tables that were there before.

    `adoptions` are the subjects' own functions, which return what they changed. Doing it twice changes nothing.

    Raises:
        InconsistentError: another version of findable made this database; nothing was changed.
    """
    with store.write() as tx:
        if not is_schema_current(tx):
            make_schema(tx)
            workspace.create_workspace(tx, HEAD)
        return [line for adopt in adoptions for line in adopt(tx)]


def is_schema_current(tx: Connection) -> bool:
    """Return whether the engine's tables are there, which are those of this version.

    Raises:
        InconsistentError: another version of findable made this database.
    """
    if not is_workspace(tx):
        return False
    known = text(f"SELECT version_num FROM {BEFORE}")  # noqa: S608 - a constant
    is_before = inspect(tx).has_table(BEFORE)
    number = str(tx.execute(known if is_before else select(tables.workspace.c.schema)).scalar() or "")
    if number > HEAD:
        raise InconsistentError(
            f"this database was made by a newer findable (schema {number}); nothing was changed",
            hint="install the newer version",
        )
    if number < HEAD:
        before = OPENED_BY.get(number, FIRST)
        raise InconsistentError(
            f"this database was made by an older findable (schema {number}), and the last commit that opens it is "
            f"{before}; nothing was changed",
            hint=f"git checkout {before}, make export, then git checkout -, and import what it wrote into a new DATA=",
        )
    return True


def is_workspace(tx: Connection) -> bool:
    """Return whether a database holds a workspace, of any version of findable."""
    return any(map(inspect(tx).has_table, (tables.workspace.name, BEFORE)))


def other_tables(tx: Connection) -> list[str]:
    """Return the names of all tables but the engine's, in alphabetical order."""
    return sorted(name for name in inspect(tx).get_table_names() if not name.startswith("findable_"))


def engine_tables() -> list[str]:
    """Return the names of all tables of the engine, in alphabetical order."""
    return sorted(tables.metadata.tables)


def our_tables(tx: Connection, besides: Collection[str] = ()) -> list[str]:
    """Return the names of the tables that are ours, of any version of findable, or among these."""
    return [name for name in inspect(tx).get_table_names() if name.startswith("findable_") or name in besides]


_HAS_INDEX = (
    text(
        "SELECT 1 FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid "
        "WHERE i.indrelid = to_regclass(:table) AND c.relname = :name"
    ),
    text("SELECT 1 FROM pragma_index_list(:table) WHERE name = :name"),
)
"""Whether a table has an index, on PostgreSQL and on SQLite."""


def has_index(tx: Connection, table: str, name: str) -> bool:
    """Return whether a table has an index of that name; for every start, quicker than reflection."""
    found = _HAS_INDEX[tx.dialect.name == "sqlite"]
    return tx.execute(found, {"table": table, "name": name}).first() is not None


def make_schema(tx: Connection) -> None:
    """Make every table of the engine, in the caller's transaction."""
    tables.metadata.create_all(tx, checkfirst=False)
