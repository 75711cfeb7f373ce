"""How a table is in the database, whichever program made it, as SQLAlchemy reflects it.

SQLite's names know no case. Tables are named by the plain name; PostgreSQL finds it by its search path.
"""

import string
import threading
import warnings
from typing import Any

from sqlalchemy import Column, Connection, MetaData, Table, UniqueConstraint, exc, text
from sqlalchemy.schema import CreateColumn

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)  # names of SQLite know no case of these
_QUIET = threading.Lock()  # what warnings are shown is one thing for all threads
_SERVER_KINDS = {"r": "table", "p": "table", "v": "view", "m": "view"}
_REAL_NAME = text("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND lower(name) = lower(:table)")


def is_sqlite(tx: Connection) -> bool:
    """Return whether the database is an SQLite file."""
    return tx.dialect.name == "sqlite"


def quoted(tx: Connection, name: str) -> str:
    """Return the name of a table or a column for SQL."""
    return tx.dialect.identifier_preparer.quote(name)


def folded(tx: Connection, column: str) -> str:
    """Return the name of a column as `columns_of` has it."""
    return column.translate(_LOWER) if is_sqlite(tx) else str(column)  # reflected, it may be a kind of its own


def kind_of(tx: Connection, table: str) -> str | None:
    """Return "table", "view", "virtual", or another word for what is no table; None where there is nothing."""
    if is_sqlite(tx):
        query = text("SELECT type FROM pragma_table_list WHERE schema = 'main' AND lower(name) = lower(:table)")
        kind: str | None = tx.execute(query, {"table": table}).scalar()
        return kind
    query = text("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(:table)")
    kind = tx.execute(query, {"table": quoted(tx, table)}).scalar()
    return _SERVER_KINDS.get(str(kind), kind)


def columns_of(tx: Connection, table: str) -> dict[str, Column[Any]]:
    """Return the columns of a table by name, in their order; SQLite's in lower case. Empty where there is none."""
    name = tx.execute(_REAL_NAME, {"table": table}).scalar() if is_sqlite(tx) else table
    if name is None:
        return {}
    try:
        with _QUIET, warnings.catch_warnings(action="ignore", category=exc.SAWarning):  # of types not known to it, too
            found = Table(name, MetaData(), autoload_with=tx, resolve_fks=False)
    except exc.NoSuchTableError:
        return {}
    return {folded(tx, column.name): column for column in found.columns}


def add_column(tx: Connection, column: Column[Any]) -> None:
    """Add a column to the table in the database, empty in every row."""
    declared = CreateColumn(column).compile(dialect=tx.dialect)
    tx.exec_driver_sql(f"ALTER TABLE {quoted(tx, column.table.name)} ADD COLUMN {declared}")


def is_found_by(tx: Connection, column: Column[Any]) -> bool:
    """Return whether a key or an index of a reflected table finds rows by a column without reading the table."""
    return any(one[:1] == [column.name] for one in _keys(tx, column.table, unique=False))


def unique_keys(tx: Connection, table: Table) -> list[set[str]]:
    """Return the names of the columns of each key that no two rows of a reflected table may share.

    Those of an expression, or that hold for some rows only, are left out: no row is told by them.
    """
    return [{folded(tx, one) for one in key} for key in _keys(tx, table, unique=True)]


def _keys(tx: Connection, table: Table, *, unique: bool) -> list[list[str]]:
    constraints = [one for one in table.constraints if isinstance(one, UniqueConstraint)]
    found = [[column.name for column in one.columns] for one in (table.primary_key, *constraints) if one.columns]
    for index in table.indexes:
        names = [one.name for one in index.expressions if isinstance(one, Column)]
        is_whole = index.dialect_options[tx.dialect.name]["where"] is None and len(names) == len(index.expressions)
        if is_whole and (index.unique or not unique):
            found.append(names)
    return found
