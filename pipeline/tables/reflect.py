"""How a table is in the database, asked in the database's own words: reflection takes longer, and misses some.

SQLite's names know no case. Tables are named by the plain name; PostgreSQL finds it by its search path.
"""

import re
import string
from typing import Any

from sqlalchemy import Column, Connection, Table, text
from sqlalchemy.schema import CreateColumn

from pipeline.tables.columns import ReflectedColumn

_COLUMNS = """
SELECT a.attname, coalesce(b.typname, t.typname), format_type(a.atttypid, a.atttypmod),
CASE WHEN b.oid IS NULL THEN a.atttypmod ELSE t.typtypmod END - 4,
NOT a.attnotnull, pg_get_expr(d.adbin, d.adrelid), a.attidentity <> '', a.attgenerated <> ''
FROM pg_attribute AS a JOIN pg_type AS t ON t.oid = a.atttypid LEFT JOIN pg_type AS b ON b.oid = t.typbasetype
LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""
_LEADS = (
    """
    SELECT 1 FROM pragma_table_info(:table) WHERE lower(name) = :column AND pk = 1 UNION ALL
    SELECT 1 FROM pragma_index_list(:table) AS i, pragma_index_info(i.name) AS c
    WHERE c.seqno = 0 AND lower(c.name) = :column AND NOT i.partial
    """,
    """
    SELECT 1 FROM pg_index AS i JOIN pg_attribute AS c ON c.attrelid = i.indrelid AND c.attnum = i.indkey[0]
    WHERE i.indrelid = to_regclass(:table) AND c.attname = :column AND i.indpred IS NULL AND i.indisvalid
    """,
)
_UNIQUE = (
    """
    SELECT i.name, s.sql, k.name FROM pragma_index_list(:table) AS i, pragma_index_info(i.name) AS k
    LEFT JOIN sqlite_master AS s ON s.type = 'index' AND s.name = i.name WHERE i."unique"
    """,
    """
    SELECT i.indexrelid::bigint, pg_get_indexdef(i.indexrelid), c.attname FROM pg_index AS i
    JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k(at, place) ON k.place <= i.indnkeyatts
    LEFT JOIN pg_attribute AS c ON c.attrelid = i.indrelid AND c.attnum = k.at
    WHERE i.indrelid = to_regclass(:table) AND i.indisunique ORDER BY i.indexrelid, k.place
    """,
)
_IS_PLAIN = text(
    """
    SELECT 1 FROM pg_class AS c WHERE c.oid = to_regclass(:table) AND c.relkind = 'r'
    AND NOT (c.relhasrules OR c.relhassubclass OR c.relispartition)
    AND NOT EXISTS (SELECT 1 FROM pg_trigger AS t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal)
    """
)
_WHERE = re.compile(r"\bWHERE\b", re.IGNORECASE)
_AFTER_KEYS = re.compile(r"\b(?:INCLUDE|WHERE)\b", re.IGNORECASE)
_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)  # names of SQLite know no case of these
_SERVER_KINDS = {"r": "table", "p": "table", "v": "view", "m": "view"}


def is_sqlite(tx: Connection) -> bool:
    """Return whether the database is an SQLite file."""
    return tx.dialect.name == "sqlite"


def quoted(tx: Connection, name: str) -> str:
    """Return the name of a table or a column for SQL."""
    return tx.dialect.identifier_preparer.quote(name)


def folded(tx: Connection, column: str) -> str:
    """Return the name of a column as `columns_of` has it."""
    return column.translate(_LOWER) if is_sqlite(tx) else column


def named(tx: Connection, table: str) -> str:
    """Return a table's name as the database's own functions take it."""
    return table if is_sqlite(tx) else quoted(tx, table)


def kind_of(tx: Connection, table: str) -> str | None:
    """Return "table", "view", "virtual", or another word for what is no table; None where there is nothing."""
    if is_sqlite(tx):
        query = text("SELECT type FROM pragma_table_list WHERE schema = 'main' AND lower(name) = lower(:table)")
        kind: str | None = tx.execute(query, {"table": table}).scalar()
        return kind
    query = text("SELECT relkind::text FROM pg_class WHERE oid = to_regclass(:table)")
    kind = tx.execute(query, {"table": named(tx, table)}).scalar()
    return _SERVER_KINDS.get(str(kind), kind)


def columns_of(tx: Connection, table: str) -> dict[str, ReflectedColumn]:
    """Return the columns of a table by name, in their order; SQLite's in lower case. Empty where there is none."""
    if not is_sqlite(tx):
        return {row[0]: ReflectedColumn(*row) for row in tx.execute(text(_COLUMNS), {"table": named(tx, table)})}
    query = text('SELECT lower(name), type, "notnull", dflt_value, hidden FROM pragma_table_xinfo(:table)')
    return {
        name: ReflectedColumn(name, "", declared, 0, not needed, default, identity=False, computed=hidden > 1)
        for name, declared, needed, default, hidden in tx.execute(query, {"table": table})
    }


def missing_columns(tx: Connection, table: Table) -> list[Column[Any]]:
    """Return the columns that the table of this name in the database lacks."""
    there = columns_of(tx, table.name)
    return [column for column in table.columns if folded(tx, column.name) not in there]


def add_column(tx: Connection, column: Column[Any]) -> None:
    """Add a column to the table in the database, empty in every row."""
    declared = CreateColumn(column).compile(dialect=tx.dialect)
    tx.exec_driver_sql(f"ALTER TABLE {quoted(tx, column.table.name)} ADD COLUMN {declared}")


def primary_key(tx: Connection, table: str) -> list[str]:
    """Return the names of the columns of an SQLite table's primary key, in lower case."""
    query = text("SELECT lower(name) FROM pragma_table_info(:table) WHERE pk > 0 ORDER BY pk")
    return list(tx.execute(query, {"table": table}).scalars())


def has_triggers(tx: Connection, table: str) -> bool:
    """Return whether a table has triggers, or on a server rules: they may keep a row as it is.

    What is no plain table of a server, or a part of another, or has such parts, is taken to have some.
    """
    if is_sqlite(tx):
        query = text("SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = :table")
        return tx.execute(query, {"table": table.translate(_LOWER)}).first() is not None
    return tx.execute(_IS_PLAIN, {"table": named(tx, table)}).first() is None


def has_row_numbers(tx: Connection, table: str) -> bool:
    """Return whether rows have a number beside their columns, as SQLite gives them unless made WITHOUT ROWID."""
    query = text("SELECT wr FROM pragma_table_list WHERE schema = 'main' AND lower(name) = lower(:table)")
    return is_sqlite(tx) and not tx.execute(query, {"table": table}).scalar()


def counts_up(tx: Connection, table: str, own: ReflectedColumn) -> bool:
    """Return whether a new row gets its id by counting: on PostgreSQL as an identity or from a sequence.

    On SQLite where `id`, the only key, is the row number; declared INT or WITHOUT ROWID it would stay NULL.
    """
    if not is_sqlite(tx):
        return own.identity or str(own.default).startswith("nextval(")
    is_key = own.declared.upper() == "INTEGER" and primary_key(tx, table) == ["id"]
    return is_key and has_row_numbers(tx, table)


def is_found_by(tx: Connection, table: str, column: str) -> bool:
    """Return whether a key or an index finds rows by a column without reading the table."""
    leading = text(_LEADS[0] if is_sqlite(tx) else _LEADS[1])
    return tx.execute(leading, {"table": named(tx, table), "column": column}).first() is not None


def unique_keys(tx: Connection, table: str, *, version: str) -> list[set[str]]:
    """Return the columns of each key that no two rows of a table may share; of an expression, the words in it.

    A key that holds for only some rows, by a condition on the column `version`, is left out.
    """
    lower = is_sqlite(tx)
    found: dict[Any, set[str]] = {}
    for key, declared, column in tx.execute(text(_UNIQUE[0 if lower else 1]), {"table": named(tx, table)}):
        keys, condition = _AFTER_KEYS.split(declared or "")[0], _WHERE.split(declared or "", maxsplit=1)[1:]
        if any(version in one.lower() for one in condition):
            continue
        parts = re.findall(r"\w+", keys.partition("(")[2].lower()) if column is None else [column]
        found.setdefault(key, set()).update(one.lower() if lower else one for one in parts)
    return list(found.values())
