"""Read which tables, columns and keys a database has, from its catalogue.

- SQLite compares names without case, so names of SQLite columns are in lower case here.
- Tables are named without a schema, except in `write_to=`. PostgreSQL finds them by its search
  path.
- Results are read once in each read snapshot.
"""

import string
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import (
    Column,
    Computed,
    Connection,
    DefaultClause,
    Identity,
    MetaData,
    String,
    Table,
    exc,
    inspect,
    text,
)
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import Inspector, ObjectKind, ObjectScope

from pipeline.store.database import cached_in_snapshot

# Reflected columns by name.
ReflectedColumns = Mapping[str, Column[Any]]
# SQLite folds the case of these letters only.
_ASCII_LOWER_CASE = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
# `warnings.catch_warnings` changes a setting of the whole process.
_WARNINGS_LOCK = threading.Lock()
_SERVER_KINDS = {"r": "table", "p": "table", "v": "view", "m": "view"}
_SQLITE_KIND_QUERY = text(
    "SELECT type FROM pragma_table_list WHERE schema = 'main' AND lower(name) = lower(:table)",
)
_SERVER_KIND_QUERY = text("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(:table)")
SQLITE_DEFINITION_QUERY = text(
    "SELECT name, sql FROM sqlite_master "
    "WHERE type IN ('table', 'view') AND lower(name) = lower(:table)",
)
# Usual table names of all tasks. Their columns are read together, because each query for columns
# costs a server 5 ms of processor time, for any number of tables.
TASK_TABLE_NAMES = set[str]()


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


def describe_column_type(tx: Connection, column: Column[Any]) -> str:
    """Return the type of a reflected column in brackets after a blank; "" if it is unknown."""
    try:
        return f" ({column.type.compile(tx.dialect).lower()})"
    except exc.CompileError:
        return ""


def fold_column_name(tx: Connection, column: str) -> str:
    """Return the name of a column as `read_columns` spells it: in lower case on SQLite."""
    if is_sqlite(tx):
        return column.translate(_ASCII_LOWER_CASE)
    # A reflected name may be an instance of a subclass of str.
    return str(column)


@cached_in_snapshot
def read_object_kind(tx: Connection, table: str, schema: str | None = None) -> str | None:
    """Return which kind of database object has a name, as this transaction sees it.

    Names are compared without case on SQLite. PostgreSQL searches `schema`, or its search path.

    Returns:
        "table", also for a partitioned table, or "view", also for a materialized view. For other
        objects the database's own word, such as "virtual" on SQLite or a letter like "S" on
        PostgreSQL. None if there is no such object, or on SQLite if a schema is given.
    """
    if is_sqlite(tx):
        if schema:
            return None
        return tx.execute(_SQLITE_KIND_QUERY, {"table": table}).scalar()

    quoted_name = ".".join(quote_name(part) for part in (schema, table) if part)
    kind: str | None = tx.execute(_SERVER_KIND_QUERY, {"table": quoted_name}).scalar()
    return _SERVER_KINDS.get(str(kind), kind)


@cached_in_snapshot
def read_columns(tx: Connection, table: str, schema: str | None = None) -> dict[str, Column[Any]]:
    """Return the columns of a table or view by name, in their order; empty if it does not exist.

    The names are in lower case on SQLite. The columns belong to a new `Table`, which has no keys
    and no indexes. The result is cached in a read snapshot. To save queries on PostgreSQL, all
    tables in TASK_TABLE_NAMES are read together.
    """
    name = table
    if is_sqlite(tx):
        stored_name = tx.execute(SQLITE_DEFINITION_QUERY, {"table": table}).scalar()
        if stored_name is None:
            return {}
        name = stored_name

    # SQLAlchemy warns of types that it does not know.
    with _WARNINGS_LOCK, warnings.catch_warnings(action="ignore", category=exc.SAWarning):
        if is_sqlite(tx):
            reflected_columns = _inspector(tx).get_columns(name)
        else:
            names = frozenset({name})
            if schema is None and name in TASK_TABLE_NAMES:
                names = frozenset(TASK_TABLE_NAMES)
            reflected_columns = _reflect_server_columns(tx, names, schema).get(name, [])

    # `_iterate_indexed_columns` reads keys and indexes if they are needed: a server needs several
    # queries for them.
    columns = [_make_column(reflected) for reflected in reflected_columns]
    reflected_table = Table(name, MetaData(), *columns, schema=schema)
    return {fold_column_name(tx, column.name): column for column in reflected_table.columns}


@cached_in_snapshot
def _reflect_server_columns(
    tx: Connection,
    tables: frozenset[str],
    schema: str | None,
) -> dict[str, list[ReflectedColumn]]:
    """Return the columns of the tables and views that exist on a PostgreSQL server, by name."""
    reflected = _inspector(tx).get_multi_columns(
        schema=schema,
        filter_names=sorted(tables),
        kind=ObjectKind.ANY,
        scope=ObjectScope.ANY,
    )
    return {name: columns for (_, name), columns in reflected.items()}


@cached_in_snapshot
def _inspector(tx: Connection) -> Inspector:
    """Return a reader of the database's catalogue, which caches its results."""
    return inspect(tx)


def _make_column(reflected: ReflectedColumn) -> Column[Any]:
    """Make a column with a reflected column's name, type, default, computed value and identity.

    It may be NULL if the reflected column may be NULL.
    """
    sources: list[Any] = []
    if reflected["default"] is not None:
        sources.append(DefaultClause(text(reflected["default"])))
    if "computed" in reflected:
        sources.append(Computed(**reflected["computed"]))
    if "identity" in reflected:
        sources.append(Identity(**reflected["identity"]))
    return Column(reflected["name"], reflected["type"], *sources, nullable=reflected["nullable"])


def is_indexed(tx: Connection, column: Column[Any]) -> bool:
    """Return whether a key or an index of a reflected table begins with a column."""
    return any(
        names[:1] == [column.name]
        for names in _iterate_indexed_columns(tx, column.table, unique=False)
    )


def find_unique_keys(tx: Connection, table: Table) -> list[set[str]]:
    """Return the column names of each unique key and unique index of a reflected table.

    Indexes of expressions and partial indexes are left out: they do not identify every row.
    """
    return [
        {fold_column_name(tx, name) for name in names}
        for names in _iterate_indexed_columns(tx, table, unique=True)
    ]


def _iterate_indexed_columns(tx: Connection, table: Table, *, unique: bool) -> Iterator[list[str]]:
    """Yield lists of column names: of the primary key, then unique constraints, then indexes.

    Reads the catalogue step by step, as far as the caller iterates. Leaves out partial indexes and
    indexes of expressions.

    Args:
        tx: The transaction that reads.
        table: A reflected table.
        unique: Also leave out indexes that are not unique.
    """
    inspector = _inspector(tx)
    # The inspector caches by the exact type of a name; `read_columns` asks with a plain str.
    name = str.__str__(table.name)
    primary_key = inspector.get_pk_constraint(name, table.schema)["constrained_columns"]
    if primary_key:
        yield primary_key

    # SQLAlchemy warns of indexes of expressions.
    with _WARNINGS_LOCK, warnings.catch_warnings(action="ignore", category=exc.SAWarning):
        constraints = inspector.get_unique_constraints(name, table.schema)
        indexes = inspector.get_indexes(name, table.schema)

    for constraint in constraints:
        yield constraint["column_names"]
    for index in indexes:
        column_names = [column for column in index["column_names"] if column is not None]
        is_partial = f"{tx.dialect.name}_where" in index.get("dialect_options", {})
        identifies_rows = not is_partial and len(column_names) == len(index["column_names"])
        if identifies_rows and (index["unique"] or not unique):
            yield column_names


def null_substitutes(columns: ReflectedColumns, names: Iterable[str]) -> dict[str, Any]:
    """Return the value to write instead of NULL for each named column that is NOT NULL.

    Returns:
        "" for text columns and 0 for all others, by column name.
    """
    return {
        name: "" if isinstance(columns[name].type, String) else 0
        for name in names
        if not columns[name].nullable
    }
