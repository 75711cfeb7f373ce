"""Databases that other applications made: taken over as they are, run through the chain, and left to their owners."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from pipeline.experts import table as adoption
from pipeline.store.database import Store
from tests.lab import Workspace

pytestmark = pytest.mark.sqlite_only(reason="the databases are made by hand; PostgreSQL has its own such tests")

SCORED = "INSERT INTO experts (username, findability_score, tags) VALUES"


def _made(path: Path, *statements: str) -> Path:
    """Make a small database from statements."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)
    return path


def _rows(path: Path, query: str) -> list[tuple[Any, ...]]:
    """Return the rows of a query; text that is no UTF-8 as bytes."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = bytes
        return connection.execute(query).fetchall()


def _dump(path: Path) -> list[str]:
    """Return everything in a database but counts that took long, as the statements that would make it again."""
    with closing(sqlite3.connect(path)) as connection:
        connection.text_factory = lambda cell: cell.decode("utf-8", "backslashreplace")
        return [one for one in connection.iterdump() if not one.startswith('INSERT INTO "findable_counts"')]


def _adopted(path: Path) -> list[str]:
    """Adopt a database's experts twice over the store alone; return the lines of the first time."""
    from pipeline.store import schema

    store = Store(f"sqlite:///{path}")
    try:
        lines = schema.ensure_schema(store, [adoption.adopt])
        with store.read() as tx:
            assert adoption.is_adopted(tx)
        once = _dump(path)
        assert schema.ensure_schema(store, [adoption.adopt]) == []
        assert _dump(path) == once
    finally:
        store.close()
    return lines


def test_foreign_text_in_a_row_with_a_score_is_recorded(workspace: Workspace) -> None:
    """It is found by an index in our own table, and recorded once."""
    workspace.begin().change(f"{SCORED} ('odd', 1, 'bees'), ('even', 1, '[\"bees\"]')")
    workspace.ran_each("score", "score")
    assert workspace.query("SELECT reason, extractor FROM findable_asks") == [(adoption.FOREIGN_TAGS, "")]


def test_rows_without_an_id_of_ours_are_numbered_later_too(tmp_path: Path) -> None:
    """Where the ids are ours, rows that the owner adds get theirs from the next command, and none is given twice."""
    path = _made(
        tmp_path / "x.db", "CREATE TABLE experts (username TEXT)", "INSERT INTO experts VALUES ('a'), ('b'), ('c')"
    )
    _adopted(path)
    _made(
        path,
        "DELETE FROM experts WHERE username = 'b'",
        "INSERT INTO experts (username) VALUES ('d'), ('e')",
    )
    _adopted(path)
    found = _rows(path, "SELECT id, username, findability_score FROM experts ORDER BY id")
    assert found == [(1, b"a", 0.0), (3, b"c", 0.0), (4, b"d", 0.0), (5, b"e", 0.0)]
    plan = _rows(path, "EXPLAIN QUERY PLAN SELECT 1 FROM experts WHERE findability_score IS NULL LIMIT 1")
    assert b"findable_experts_unscored" in plan[0][3]  # whether a table is adopted is known without reading it


@pytest.mark.full
def test_our_columns_may_be_not_null_there(workspace: Workspace, tmp_path: Path) -> None:
    """Where their table takes no NULL, nothing is written as empty text or 0: by import and add-expert."""
    path = _made(
        tmp_path / "x.db",
        "CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT NOT NULL, first_name TEXT NOT NULL,"
        " bio TEXT NOT NULL, hourly_rate REAL NOT NULL, tags TEXT NOT NULL)",
        "INSERT INTO experts VALUES (1, 'a', '', 'I teach water law.', 0, '')",
    )
    workspace.environ["FINDABLE_DATABASE_URL"] = f"sqlite:///{path}"
    workspace.environ["FINDABLE_BACKEND"] = "local"
    people = tmp_path / "people.csv"
    people.write_text("username,bio,company\na,,Farm\nb,I keep bees.,\nc,,\n")
    assert workspace.run("import", str(people), "--yes").exit_code == 0
    file = tmp_path / "new.json"
    file.write_text('{"username": "d", "bio": "I sing."}')
    assert workspace.run("add-expert", str(file)).exit_code == 0
    assert _rows(path, "SELECT username, first_name, bio, hourly_rate, tags, company FROM experts ORDER BY id") == [
        (b"a", b"", b"", 0.0, b"", b"Farm"),
        (b"b", b"", b"I keep bees.", 0.0, b"", None),
        (b"c", b"", b"", 0.0, b"", None),
        (b"d", b"", b"I sing.", 0.0, b"", None),
    ]
