"""Rows of a SELECT: run once, on a read-only connection, and ended in time."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import literal, text

from askrows.pipeline.core.errors import InputError
from askrows.pipeline.rows.row_findings import SourceRow
from askrows.pipeline.rows.source import QuerySource, query_rows_by_id
from askrows.pipeline.rows.where_sql import make_number_expression
from askrows.pipeline.store.database import Connection, Store
from askrows.pipeline.store.rows import NO_HASH
from tests.integration.passages.workspaces import url_of
from tests.integration.rows.sources import SyncedRows, record_of
from tests.lab import ON_POSTGRESQL

TIMEOUT_S = 20.0
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT {} AS id FROM n"


def has_table(tx: Connection, table: str) -> bool:
    """Return whether a table exists."""
    return tx.dialect.has_table(tx, table)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Open a database with another program's reviews."""
    store = Store(url_of(tmp_path / "data"))
    with store.write() as tx:
        tx.exec_driver_sql("CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT)")
        tx.exec_driver_sql(
            "CREATE TABLE reviews "
            '(id INTEGER PRIMARY KEY, product INTEGER, "select" TEXT, stars REAL)'
        )
        tx.exec_driver_sql("INSERT INTO products VALUES (1, 'Bees'), (2, 'Wasps')")
        tx.exec_driver_sql(
            "INSERT INTO reviews VALUES (10, 1, '100_ :good', 5), (11, 2, 'bad', NULL)"
        )
        tx.execute(text("UPDATE reviews SET \"select\" = replace(\"select\", '_', '%')"))
    yield store
    store.close()


def test_a_join_is_read(store: Store) -> None:
    """Kinds come from all values; `%` and `:` are no parameters; a final semicolon is removed."""
    sql = """SELECT r.id, p.name AS "Name of it", r."select", r.stars, '50% :x' AS "a (%)"
    FROM reviews AS r JOIN products AS p ON p.id = r.product
    WHERE r."select" LIKE '%' ORDER BY r.id; """
    source = QuerySource(store, sql, timeout_s=TIMEOUT_S)
    assert source.columns == {
        "id": "integer",
        "Name of it": "text",
        "select": "text",
        "stars": "real",
        "a (%)": "text",
    }
    first_row, _ = source
    assert isinstance(first_row, SourceRow)
    assert [*first_row.values.values()] == [10, "Bees", "100% :good", 5.0, "50% :x"]


@pytest.mark.sqlite_only("a text of PostgreSQL is valid in the encoding of its database")
def test_bytes_that_are_not_utf_8_cost_their_row_only_if_they_are_sent(tmp_path: Path) -> None:
    """In the key or a sent column they refuse the row, and in another column they are escaped."""
    store = Store(url_of(tmp_path / "data"))
    bad_text = "CAST(x'a7' AS TEXT)"
    query = f"""SELECT 'a' AS id, 'bees' AS text, {bad_text} AS note
        UNION ALL SELECT {bad_text}, 'wasps', 'b'
        UNION ALL SELECT 'c', {bad_text}, 'b' UNION ALL SELECT 'd', 'ants', 'b'"""

    synced_rows = SyncedRows(store)
    report = synced_rows.sync(QuerySource(store, query))

    assert [(finding.line, finding.column) for finding in report.findings] == [
        (2, "id"),
        (3, "text"),
    ]
    assert report.escaped == {"note": 1}
    sound_rows = [row for row in synced_rows.rows() if row["askrows_hash"] != NO_HASH]
    assert [(row["id"], row["note"]) for row in sound_rows] == [("a", r"\xa7"), ("d", "b")]
    store.close()


def test_repeated_column_is_numbered(store: Store) -> None:
    """A join may have two columns of a name, also if only some of its rows are read again."""
    sql = "SELECT r.id, p.id, r.stars FROM reviews AS r JOIN products AS p ON p.id = r.product"
    source = QuerySource(store, sql, timeout_s=TIMEOUT_S)
    assert list(source.columns) == ["id", "id (2)", "stars"]
    assert source.notes == ["columns with a repeated name are called 'id (2)'"]

    record = record_of("joined", key=(("id", "integer"),), columns=source.columns, items=sql)
    (row,) = query_rows_by_id(store, record, ["11"])
    assert row.values == {"id": 11, "id (2)": 2, "stars": None}


def test_a_condition_is_made_while_rows_are_read(store: Store) -> None:
    """SQLite refuses to replace functions then, so conditions register theirs once."""
    with store.read() as tx:
        rows = tx.execute(text("SELECT id FROM products ORDER BY id"))
        assert rows.fetchone() == (1,)
        for _ in range(2):
            make_number_expression(tx, literal("1"))
        assert rows.fetchone() == (2,)


FORBIDDEN_QUERIES = {
    "rows": "WITH a AS (SELECT 1) DELETE FROM products",
    "more rows": "WITH a AS (INSERT INTO products VALUES (3, 'x') RETURNING id) SELECT id FROM a",
    "another statement": "SELECT 1 AS id; DELETE FROM products",
    "the end of its transaction": "SELECT 1 AS id; COMMIT; DELETE FROM products",
    "an endless count": ENDLESS.format("max(i)"),
    "a table that is not there": "SELECT id FROM nowhere",
    "no SQL": "SELECT id FROM",
    "nothing": "WITH",
    "a NUL": "SELECT 1 AS id\0",
}
FORBIDDEN_ON_SQLITE = {
    "the schema": "WITH a AS (SELECT 1) UPDATE sqlite_master SET sql = ''",
    "another file": "WITH a AS (SELECT 1) ATTACH 'x.db' AS x",
    "a library": "SELECT load_extension('x') AS id",
    "much": "SELECT 1 AS id, zeroblob(100000000) AS text",
}
FORBIDDEN_ON_POSTGRESQL = {
    "a function": "SELECT nextval('counter') AS id",
    "a table": "SELECT 1 AS id INTO other",
    "its limits": (
        "SELECT set_config('transaction_read_only', 'off', false) AS id, nextval('counter') AS text"
    ),
    "its time": (
        "SELECT set_config('statement_timeout', '0', true) AS id FROM products, pg_sleep(60)"
    ),
    "locks": "SELECT id FROM products FOR UPDATE",
}


@pytest.mark.parametrize(
    "name",
    [*FORBIDDEN_QUERIES, *(FORBIDDEN_ON_POSTGRESQL if ON_POSTGRESQL else FORBIDDEN_ON_SQLITE)],
)
@pytest.mark.promise("queries")
def test_a_forbidden_query_is_refused(store: Store, name: str) -> None:
    """The error contains the database's message, and nothing is written."""
    if ON_POSTGRESQL:
        with store.write() as tx:
            tx.exec_driver_sql("CREATE SEQUENCE counter")

    with pytest.raises(InputError, match="nothing was written"):
        _columns_in_time(
            store, {**FORBIDDEN_QUERIES, **FORBIDDEN_ON_SQLITE, **FORBIDDEN_ON_POSTGRESQL}[name]
        )

    # The database is unchanged, and a later connection has its own settings.
    with store.write() as tx:
        assert tx.exec_driver_sql("SELECT count(*) FROM products").scalar() == 2
        assert not has_table(tx, "other")
        if ON_POSTGRESQL:
            assert tx.exec_driver_sql("SELECT nextval('counter')").scalar() == 1
            assert tx.exec_driver_sql("SHOW statement_timeout").scalar() == "0"


def _columns_in_time(store: Store, sql: str) -> dict[str, str]:
    return QuerySource(store, sql, timeout_s=0.3).columns
