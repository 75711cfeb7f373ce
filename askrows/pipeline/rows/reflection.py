"""Read which columns and keys a database's tables have, and what the columns can store.

- SQLite compares names without case, so names of SQLite columns are in lower case here.
- Tables are named without a schema, except in `write_to=`. PostgreSQL finds them by its search
  path.
- Results are read once in each read snapshot.
- `ColumnNeed` lists kinds of values and the PostgreSQL types that store them unchanged.
- `find_storable_ids` returns which ids a column can store.
"""

import itertools
import threading
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any

from sqlalchemy import (
    NUMERIC,
    BigInteger,
    Boolean,
    Connection,
    Date,
    DateTime,
    Double,
    Integer,
    Numeric,
    String,
    Text,
    Uuid,
    cast,
    column,
    exc,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy import table as table_of
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.engine.reflection import Inspector
from sqlalchemy.types import TypeEngine

from askrows.pipeline.rows.cells import MAX_INTEGER
from askrows.pipeline.rows.task_rows import IdColumnFacts
from askrows.pipeline.store.database import cached_in_snapshot, is_sqlite
from askrows.pipeline.store.schema import JSONB

# Reflected columns by name.
ReflectedColumns = Mapping[str, ReflectedColumn]
# `warnings.catch_warnings` changes a setting of the whole process.
_WARNINGS_LOCK = threading.Lock()
_SQLITE_DEFINITION_QUERY = text(
    "SELECT name, sql FROM sqlite_master "
    "WHERE type IN ('table', 'view') AND lower(name) = lower(:table)",
)
_TEXT_TYPES = ("TEXT", "VARCHAR")
_INTEGER_TYPES = ("INTEGER", "BIGINT")
_REAL_TYPES = ("REAL", "DOUBLE_PRECISION")


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
            columns = _get_inspector(tx).get_columns(_find_stored_table_name(tx, table), schema)
        except exc.NoSuchTableError:
            return {}
    return {fold_column_name(tx, column["name"]): column for column in columns}


def read_key_and_index_columns(
    tx: Connection, table: str, schema: str | None = None, *, only_unique: bool
) -> list[list[str]]:
    """Return the folded column names of primary key, unique constraints and indexes.

    Partial indexes and indexes of expressions are left out: they do not identify every row.

    Args:
        tx: The transaction that reads.
        table: An existing table.
        schema: Its schema; None means the search path.
        only_unique: Leave out indexes that are not unique.
    """
    inspector = _get_inspector(tx)
    name = _find_stored_table_name(tx, table)
    keys = [inspector.get_pk_constraint(name, schema)["constrained_columns"]]
    # SQLite has an index for each unique key. SQLAlchemy lists it only on request, and misses some
    # of the constraints, such as that of `name VARCHAR(40) UNIQUE`.
    options = {"include_auto_indexes": True} if is_sqlite(tx) else {}
    # SQLAlchemy warns of indexes of expressions.
    with _WARNINGS_LOCK, warnings.catch_warnings(action="ignore", category=exc.SAWarning):
        keys += [key["column_names"] for key in inspector.get_unique_constraints(name, schema)]
        indexes = inspector.get_indexes(name, schema, **options)

    for index in indexes:
        is_partial = f"{tx.dialect.name}_where" in index.get("dialect_options", {})
        identifies_rows = not is_partial and None not in index["column_names"]
        if identifies_rows and (index["unique"] or not only_unique):
            keys.append([column for column in index["column_names"] if column])
    return [[fold_column_name(tx, column) for column in key] for key in keys if key]


def generates_never_used_ids(tx: Connection, table: str, id_column: ReflectedColumn) -> bool:
    """Return whether the database generates ids that no row had before, deleted rows included.

    So it does on PostgreSQL if the id has a default, and on SQLite with AUTOINCREMENT.
    """
    if not is_sqlite(tx):
        return id_column["default"] is not None or "identity" in id_column
    definition = tx.execute(_SQLITE_DEFINITION_QUERY, {"table": table}).first()
    return definition is not None and "AUTOINCREMENT" in str(definition.sql).upper()


def _find_stored_table_name(tx: Connection, table: str) -> str:
    """Return the name of a table as the database spells it, if the table exists."""
    if not is_sqlite(tx):
        return table
    stored_name = tx.execute(_SQLITE_DEFINITION_QUERY, {"table": table}).scalar()
    return stored_name or table


@cached_in_snapshot
def _get_inspector(tx: Connection) -> Inspector:
    """Return a reader of the database's catalogue, which caches its results."""
    return inspect(tx)


# ---- values of columns


# SQL types of values, by the kind of their column or field.
TYPES_BY_KIND: Mapping[str, TypeEngine[Any]] = {
    "text": Text(),
    "integer": BigInteger(),
    "real": Double(),
    "decimal": Numeric(),
    "boolean": Boolean(),
    "date": Date(),
    "time": DateTime(timezone=True),
    "json": JSONB,
}


class ColumnNeed(Enum):
    """Values that a column must be able to store.

    Each member has a description for messages and the PostgreSQL types that fit. All other types
    are refused: domains, enums, arrays, and types that pad texts with blanks. SQLite columns of any
    type fit, except for ids.
    """

    ID = "text, whole numbers or UUIDs", (*_TEXT_TYPES, *_INTEGER_TYPES, "UUID")
    TEXT = "text", _TEXT_TYPES
    NUMBER = "numbers or text", ("NUMERIC", "SMALLINT", *_INTEGER_TYPES, *_REAL_TYPES, *_TEXT_TYPES)
    FRACTION = "floating-point numbers", _REAL_TYPES
    INTEGER = "whole numbers", ("SMALLINT", *_INTEGER_TYPES)
    JSON = "JSON or text", ("JSON", "JSONB", *_TEXT_TYPES)
    TIME = "times or text", ("TIMESTAMP", *_TEXT_TYPES)

    def accepts(self, tx: Connection, reflected: ReflectedColumn) -> bool:
        """Return whether a column can store these values; a computed column cannot.

        Only the kind of the database is taken from `tx`: no statement is run.
        """
        if "computed" in reflected:
            return False
        if not is_sqlite(tx):
            return reflected["type"].__visit_name__ in self.value[1]
        return self is not ColumnNeed.ID or isinstance(
            reflected["type"], String | Integer | NUMERIC
        )


def find_storable_ids(tx: Connection, id_type: TypeEngine[Any]) -> IdColumnFacts:
    """Return which ids a column of a type can store: UUIDs, whole numbers or texts.

    The range of whole numbers follows from the type, too; it is 64 bits on SQLite.
    """
    is_typed = not is_sqlite(tx)
    if isinstance(id_type, Uuid):
        return IdColumnFacts("UUIDs", is_typed=is_typed)
    if not isinstance(id_type, Integer):
        return IdColumnFacts(is_typed=is_typed)
    # SQLite stores whole numbers of any declared type in 64 bits.
    max_number = MAX_INTEGER
    if is_typed and not isinstance(id_type, BigInteger):
        max_number = 2**31 - 1
    return IdColumnFacts("whole numbers", max_number, is_typed=is_typed)


def make_new_ids(
    tx: Connection,
    table: str,
    id_column: ReflectedColumn,
    count: int,
    *,
    find_highest_id: Callable[[], int] = lambda: 0,
    is_forgotten: Callable[[str], bool] = lambda _row_id: False,
) -> Sequence[int | str] | None:
    """Return ids for new rows of a table; None if the database generates its whole numbers.

    Texts and UUIDs are random UUIDs. Whole numbers ascend above the largest number in the column,
    and above the result of `find_highest_id`.

    Args:
        tx: The caller's transaction.
        table: Name of the table.
        id_column: The reflected id column of the table.
        count: Number of ids.
        find_highest_id: Returns the highest number that a deleted row has had, so that it is not
            used again. The default does not look for deleted rows.
        is_forgotten: Returns whether a forgotten row had an id, which is not used again either.
    """
    if find_storable_ids(tx, id_column["type"]).kind != "whole numbers":
        return [str(uuid.uuid4()) for _ in range(count)]
    if generates_never_used_ids(tx, table, id_column):
        return None

    # An SQLite column of whole numbers can contain texts.
    ids = cast(column("id"), BigInteger)
    max_id = tx.execute(select(func.max(ids)).select_from(table_of(table))).scalar()
    first_id = max(max_id or 0, find_highest_id()) + 1
    new_ids = (new_id for new_id in itertools.count(first_id) if not is_forgotten(str(new_id)))
    return list(itertools.islice(new_ids, count))
