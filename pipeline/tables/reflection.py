"""Read which columns and keys a database's tables have, from its catalogue.

- SQLite compares names without case, so names of SQLite columns are in lower case here.
- Tables are named without a schema, except in `write_to=`. PostgreSQL finds them by its search
  path.
- Results are read once in each read snapshot.
"""

import threading
import warnings
from collections.abc import Mapping

from sqlalchemy import Connection, exc, inspect, text
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import Inspector

from pipeline.store.database import cached_in_snapshot

# Reflected columns by name.
ReflectedColumns = Mapping[str, ReflectedColumn]
# `warnings.catch_warnings` changes a setting of the whole process.
_WARNINGS_LOCK = threading.Lock()
_SQLITE_DEFINITION_QUERY = text(
    "SELECT name, sql FROM sqlite_master "
    "WHERE type IN ('table', 'view') AND lower(name) = lower(:table)",
)


def is_sqlite(tx: Connection) -> bool:
    """Return whether the database is an SQLite file."""
    return tx.dialect.name == "sqlite"


def quote_identifier(tx: Connection, name: str) -> str:
    """Quote the name of a table, view, index or column for SQL, if it needs quotes."""
    return tx.dialect.identifier_preparer.quote(name)


def quote_name(name: str) -> str:
    """Return a name in the quotation marks of SQL, whatever its characters are."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Return a text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def fold_column_name(tx: Connection, column: str) -> str:
    """Return the name of a column as `read_columns` spells it: in lower case on SQLite."""
    if is_sqlite(tx):
        return column.lower()
    return column


@cached_in_snapshot
def read_columns(
    tx: Connection, table: str, schema: str | None = None
) -> dict[str, ReflectedColumn]:
    """Return the columns of a table or view by name, in their order; empty if it does not exist.

    The names are in lower case on SQLite.
    """
    # SQLAlchemy warns of types that it does not know.
    with _WARNINGS_LOCK, warnings.catch_warnings(action="ignore", category=exc.SAWarning):
        try:
            columns = _inspector(tx).get_columns(_find_stored_name(tx, table), schema)
        except exc.NoSuchTableError:
            return {}
    return {fold_column_name(tx, column["name"]): column for column in columns}


def read_keys(
    tx: Connection, table: str, schema: str | None = None, *, unique: bool
) -> list[list[str]]:
    """Return the column names of the primary key, the unique constraints and the indexes.

    Partial indexes and indexes of expressions are left out: they do not identify every row.

    Args:
        tx: The transaction that reads.
        table: An existing table.
        schema: Its schema; None means the search path.
        unique: Leave out indexes that are not unique.
    """
    inspector = _inspector(tx)
    name = _find_stored_name(tx, table)
    keys = [inspector.get_pk_constraint(name, schema)["constrained_columns"]]
    # SQLAlchemy warns of indexes of expressions.
    with _WARNINGS_LOCK, warnings.catch_warnings(action="ignore", category=exc.SAWarning):
        keys += [key["column_names"] for key in inspector.get_unique_constraints(name, schema)]
        indexes = inspector.get_indexes(name, schema)

    for index in indexes:
        column_names = [column for column in index["column_names"] if column is not None]
        is_partial = f"{tx.dialect.name}_where" in index.get("dialect_options", {})
        identifies_rows = not is_partial and len(column_names) == len(index["column_names"])
        if identifies_rows and (index["unique"] or not unique):
            keys.append(column_names)
    return [[fold_column_name(tx, column) for column in key] for key in keys if key]


def generates_ids(tx: Connection, table: str, id_column: ReflectedColumn) -> bool:
    """Return whether the database generates ids that no row had before, deleted rows included.

    So it does on PostgreSQL if the id has a default, and on SQLite with AUTOINCREMENT.
    """
    if id_column["default"] is not None or "identity" in id_column:
        return True
    definition = None
    if is_sqlite(tx):
        definition = tx.execute(_SQLITE_DEFINITION_QUERY, {"table": table}).first()
    return definition is not None and "AUTOINCREMENT" in str(definition.sql).upper()


def _find_stored_name(tx: Connection, table: str) -> str:
    """Return the name of a table as the database spells it, if the table exists."""
    if not is_sqlite(tx):
        return table
    stored_name = tx.execute(_SQLITE_DEFINITION_QUERY, {"table": table}).scalar()
    return stored_name or table


@cached_in_snapshot
def _inspector(tx: Connection) -> Inspector:
    """Return a reader of the database's catalogue, which caches its results."""
    return inspect(tx)
