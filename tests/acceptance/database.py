"""A user's own tables, as another program reads and changes them: never one of the product's own."""

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from tests import postgresql
from tests.acceptance.product import Workspace

# Tables, partitioned and foreign ones, and views; `information_schema` tells the same and takes far longer.
OF_SCHEMA = "relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'f', 'v')"


def sql(workspace: Workspace, statement: str, **values: Any) -> list[tuple[Any, ...]]:
    """Run one statement in a workspace's database with `:name` for its values, commit it, and return its rows."""
    assert "findable_" not in statement, "tests see what a user sees"
    with connected(workspace) as connection:
        words = postgresql.translated(statement) if workspace.server else statement
        cursor = connection.execute(words, values)
        return list(cursor.fetchall()) if cursor.description else []


def a_week_later(workspace: Workspace, task: str) -> None:
    """Let the last whole reading of a task's query be a week older."""
    with connected(workspace) as connection:
        ((text,),) = connection.execute(
            f"SELECT words FROM findable_tasks WHERE name = '{task}'"  # noqa: S608
        ).fetchall()
        words = json.loads(text)
        before = datetime.fromisoformat(words["read"]["full"]) - timedelta(days=7)
        told = json.dumps({**words, "read": {**words["read"], "full": before.isoformat()}}).replace(
            "'", "''"
        )
        connection.execute(f"UPDATE findable_tasks SET words = '{told}' WHERE name = '{task}'")  # noqa: S608


def two_days_later(workspace: Workspace, batch: int) -> None:
    """Let a batch that is over at the API have been so for two days more."""
    with connected(workspace) as connection:
        where = f"WHERE number = {batch}"
        ((over_at,),) = connection.execute(
            f"SELECT over_at FROM findable_batches {where}"  # noqa: S608
        ).fetchall()
        before = datetime.fromisoformat(str(over_at)) - timedelta(days=2)
        connection.execute(
            f"UPDATE findable_batches SET over_at = '{before.isoformat(' ')}' {where}"  # noqa: S608
        )


TIMES = {
    "findable_batches": (
        "created_at",
        "uploaded_at",
        "create_sent_at",
        "create_ended_at",
        "submitted_at",
        "over_at",
        "ended_at",
    ),
    "findable_runs": ("started_at",),
}


def clock_was_wrong(workspace: Workspace, *, days: int) -> None:
    """Let all batches and runs so far be recorded by a clock that was so many days ahead, or behind if negative."""
    with connected(workspace) as connection:
        for table, columns in TIMES.items():
            rows = connection.execute(
                f"SELECT number, {', '.join(columns)} FROM {table}"  # noqa: S608
            ).fetchall()
            for number, *times in rows:
                for column, time in zip(columns, times, strict=True):
                    if time is None:
                        continue
                    wrong = datetime.fromisoformat(str(time)) + timedelta(days=days)
                    connection.execute(
                        f"UPDATE {table} SET {column} = '{wrong.isoformat(' ')}' WHERE number = {number}"  # noqa: S608
                    )


@contextlib.contextmanager
def connected(workspace: Workspace) -> Iterator[Any]:
    """Be another program that is connected to a workspace's database; what it did is committed at the end."""
    if workspace.server:
        import psycopg

        with psycopg.connect(workspace.server.replace("+psycopg", "")) as server:
            yield server
        return
    workspace.data.mkdir(parents=True, exist_ok=True)
    with (
        contextlib.closing(sqlite3.connect(workspace.data / "findable.db")) as connection,
        connection,
    ):
        yield connection


def schema(workspace: Workspace) -> dict[str, str]:
    """Return every table, view and index of a workspace's database, the product's too, with what it is made of."""
    with connected(workspace) as connection:
        if not workspace.server:
            return dict(
                connection.execute(
                    "SELECT name, coalesce(sql, '') FROM sqlite_master ORDER BY name"
                )
            )
        column = "attname || ' ' || format_type(atttypid, atttypmod)"
        where = f"{OF_SCHEMA} AND attnum > 0 AND NOT attisdropped GROUP BY 1"
        joined = "pg_class JOIN pg_attribute ON attrelid = pg_class.oid"
        columns = f"SELECT relname, string_agg({column}, ', ' ORDER BY attnum) FROM {joined} WHERE {where}"  # noqa: S608 - our words
        return dict(connection.execute(columns).fetchall())


def counts(workspace: Workspace) -> dict[str, int]:
    """Return how many rows each table and view has, the product's too."""
    with connected(workspace) as connection:
        every = names(connection)
        return {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]  # noqa: S608 - names that the database gave
            for name in every
        }


def names(connection: Any) -> list[str]:
    """Return the names of all tables and views, in alphabetical order."""
    if not isinstance(connection, sqlite3.Connection):
        query = f"SELECT relname FROM pg_class WHERE {OF_SCHEMA} ORDER BY relname::text"  # noqa: S608 - our words
    else:
        query = "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY 1"
    return [row[0] for row in connection.execute(query).fetchall() if re.fullmatch(r"\w+", row[0])]


def as_before_states(workspace: Workspace, task: str) -> None:
    """Make the rows of a task what they were before each row had a state: without refused ones, equal ones merged."""
    with connected(workspace) as connection:
        rows = f"FROM findable_rows WHERE task = '{task}'"
        connection.execute(f"DELETE {rows} AND (input_hash = '' OR item_id LIKE '%-2')")
        ((text,),) = connection.execute(
            f"SELECT words FROM findable_tasks WHERE name = '{task}'"  # noqa: S608
        ).fetchall()
        words = {name: value for name, value in json.loads(text).items() if name != "reading"}
        told = json.dumps(words).replace("'", "''")
        connection.execute(f"UPDATE findable_tasks SET words = '{told}' WHERE name = '{task}'")  # noqa: S608
        for table in ("findable_answers", "findable_asks"):
            connection.execute(f"DELETE FROM {table} WHERE task = '{task}' AND item_id LIKE '%-2'")  # noqa: S608


def forge(workspace: Workspace, statement: str, **values: Any) -> None:
    """Run one statement on the product's tables as who may only read and update them."""
    if not workspace.server:
        with connected(workspace) as connection:
            connection.execute("PRAGMA foreign_keys = OFF")
            connection.execute(statement, values)
        return

    with connected(workspace) as server:
        role = f"{postgresql.name_of(workspace.data)}_forger"
        server.execute(f'CREATE ROLE "{role}"')
        server.execute(f'GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO "{role}"')
        server.execute(f'SET ROLE "{role}"')
        server.execute(postgresql.translated(statement), values)
        server.execute(f'RESET ROLE; DROP OWNED BY "{role}"; DROP ROLE "{role}"')
