"""Read and change a workspace's database like another program.

Most functions only use a user's own tables, never the product's.
"""

import contextlib
import re
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from tests import postgresql
from tests.acceptance.product import Workspace

# Tables, partitioned and foreign tables, and views. `information_schema` is far slower.
OF_SCHEMA = "relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'f', 'v')"
# Columns of the product with a recorded time, by table.
TIME_COLUMNS = {
    "askrows_batches": (
        "created_at",
        "uploaded_at",
        "create_sent_at",
        "create_ended_at",
        "submitted_at",
        "over_at",
        "ended_at",
    ),
    "askrows_runs": ("started_at",),
}


def run_sql(workspace: Workspace, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """Run and commit a statement in a workspace's database, and return its rows.

    The statement has `:name` in the place of a value.
    """
    assert "askrows_" not in statement, "tests see what a user sees"
    with connect(workspace) as connection:
        words = postgresql.translated(statement) if workspace.server else statement
        cursor = connection.execute(words, values)
        return list(cursor.fetchall()) if cursor.description else []


def shift_recorded_times(workspace: Workspace, *, days: int) -> None:
    """Move all recorded times of batches and runs by days; a negative number moves them back."""
    with connect(workspace) as connection:
        for table, columns in TIME_COLUMNS.items():
            rows = connection.execute(
                f"SELECT number, {', '.join(columns)} FROM {table}"  # noqa: S608
            ).fetchall()
            for number, *times in rows:
                for column, time in zip(columns, times, strict=True):
                    if time is None:
                        continue
                    moved_time = datetime.fromisoformat(str(time)) + timedelta(days=days)
                    change = f"{column} = '{moved_time.isoformat(' ')}'"
                    statement = f"UPDATE {table} SET {change} WHERE number = {number}"  # noqa: S608
                    connection.execute(statement)


def move_to_other_server(workspace: Workspace) -> None:
    """Replace the recorded address after the workspace and its server were copied together."""
    with connect(workspace) as connection:
        for table in ("askrows_workspace", "askrows_batches"):
            connection.execute(f"UPDATE {table} SET address = '{workspace.api}'")  # noqa: S608


@contextlib.contextmanager
def connect(workspace: Workspace) -> Iterator[Any]:
    """Connect to a workspace's database like another program, and commit at the end."""
    if workspace.server:
        with postgresql.connect(workspace.server) as server:
            yield server
        return

    workspace.data.mkdir(parents=True, exist_ok=True)
    with (
        contextlib.closing(sqlite3.connect(workspace.data / "askrows.db")) as connection,
        connection,
    ):
        yield connection


def read_schema(workspace: Workspace) -> dict[str, str]:
    """Return the definition of every table, view and index of a workspace's database.

    The result includes the product's own tables.
    """
    with connect(workspace) as connection:
        if not workspace.server:
            return dict(
                connection.execute(
                    "SELECT name, coalesce(sql, '') FROM sqlite_master ORDER BY name"
                )
            )
        column = "attname || ' ' || format_type(atttypid, atttypmod)"
        columns = f"string_agg({column}, ', ' ORDER BY attnum)"
        condition = f"{OF_SCHEMA} AND attnum > 0 AND NOT attisdropped GROUP BY 1"
        tables = "pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
        query = f"SELECT relname, {columns} FROM {tables} WHERE {condition}"  # noqa: S608
        return dict(connection.execute(query).fetchall())


def count_rows(workspace: Workspace) -> dict[str, int]:
    """Return the row count of each table and view, including the product's own tables."""
    row_counts = {}
    with connect(workspace) as connection:
        for name in list_tables(connection):
            query = f'SELECT count(*) FROM "{name}"'  # noqa: S608 - names that the database gave
            row_counts[name] = connection.execute(query).fetchone()[0]
    return row_counts


def list_tables(connection: Any) -> list[str]:
    """Return the names of all tables and views, in alphabetical order."""
    if not isinstance(connection, sqlite3.Connection):
        tables = f"pg_class WHERE {OF_SCHEMA}"
        query = f"SELECT relname FROM {tables} ORDER BY relname::text"  # noqa: S608
    else:
        query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY 1"
    return [row[0] for row in connection.execute(query).fetchall() if re.fullmatch(r"\w+", row[0])]
