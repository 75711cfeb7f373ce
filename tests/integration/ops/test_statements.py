"""Commands send few statements to the database, because each costs processor time."""

import contextlib
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from pipeline.core.settings import load_settings
from pipeline.engine.access import Access
from pipeline.engine.open_workspace import open_workspace
from pipeline.engine.task_file import forget_loaded_files
from tests.integration import reviews
from tests.lab import Workspace
from tests.progress import NullProgress

# Opening with a named task; careless code sends 37 to read and 50 to write.
MAX_READING_STATEMENTS = 10
MAX_WRITING_STATEMENTS = 33
# Statements that only a server needs: to begin snapshots, for its clock, and to reflect columns.
MAX_SERVER_STATEMENTS = 10
# Reads of all rows of a task without open rows: stale rows, open rows before and after, and the
# rows by state for the next step.
MAX_SCANS = 4
REVIEWS = ("batch-submit", "batch-poll", "batch-ingest")


@contextlib.contextmanager
def record_statements() -> Iterator[list[str]]:
    """Record the statements that are sent to a database during a block."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.parametrize("task", ["experts", reviews.NAME])
def test_opening_sends_few_statements(workspace: Workspace, task: str) -> None:
    """Opening for reading reads one record, tasks and columns; nothing is checked again to write.

    A dropped view is made again by the next opening for writing.
    """
    if task == reviews.NAME:
        reviews.set_up_task(workspace).ran("batch-submit")
    else:
        Path("people.csv").write_text("Username,Bio\nann,I keep bees.\n", encoding="utf-8")
        workspace.ran("import", "people.csv")
    settings = replace(load_settings(workspace.environ), task=task, sources={"task": "a test"})
    counts = {}
    for access in (Access.READ, Access.WRITE):
        with (
            record_statements() as statements,
            open_workspace(settings, NullProgress(), access=access),
        ):
            counts[access] = len(statements)
        assert not [words for words in statements if words.startswith(("CREATE", "COMMENT"))]
    server_count = MAX_SERVER_STATEMENTS if workspace.on_postgresql else 0
    assert counts[Access.READ] <= MAX_READING_STATEMENTS + server_count
    assert counts[Access.WRITE] <= MAX_WRITING_STATEMENTS + server_count

    if task == reviews.NAME:
        workspace.change("DROP VIEW reviews_answered")
        with open_workspace(settings, NullProgress(), access=Access.WRITE):
            assert workspace.query("SELECT * FROM reviews_answered") == []


def test_rows_of_an_unchanged_query_are_not_written(workspace: Workspace) -> None:
    """A query with the rows of its last reading is read once, and no row is staged or written."""
    with contextlib.closing(sqlite3.connect("orders.db")) as connection:
        connection.executescript("CREATE TABLE orders (id INTEGER, text TEXT);")
        connection.executemany("INSERT INTO orders VALUES (?, ?)", enumerate("abc", 1))
        connection.commit()
        workspace.begin().environ["FINDABLE_TASK"] = reviews.NAME
        path = reviews.write_task_file()
        query = '"SELECT id, text FROM orders", source="sqlite:///../orders.db"'
        text = path.read_text(encoding="utf-8").replace('"reviews.csv"', query)
        path.write_text(text, encoding="utf-8")
        forget_loaded_files()
        workspace.ran("tag", "--dry")

        with record_statements() as statements:
            workspace.ran("tag", "--dry")
        assert not [statement for statement in statements if "findable_read" in statement]
        assert not [statement for statement in statements if "INTO findable_rows" in statement]

        connection.execute("UPDATE orders SET text = 'd' WHERE id = 2")
        connection.commit()
        with record_statements() as statements:
            output = workspace.ran("tag", "--dry").stderr
        assert "rows: 1 changed" in output
        assert [statement for statement in statements if "INTO findable_rows" in statement]


def test_rows_are_rarely_read_if_no_row_is_open(workspace: Workspace) -> None:
    """A `batch-submit` without open rows reads rows few times; parked rows are found by key."""
    reviews.set_up_task(workspace).ran_each(*REVIEWS)

    with record_statements() as statements:
        stdout = workspace.ran("batch-submit").stdout

    assert "nothing to submit" in stdout

    scans = [
        statement
        for statement in statements
        if "FROM findable_rows" in statement and "FROM findable_answers" in statement
    ]
    assert 0 < len(scans) <= MAX_SCANS, scans

    parked_query = next(
        statement
        for statement in statements
        if statement.startswith("SELECT findable_asks.item_id, findable_asks.reason")
    )
    if not workspace.on_postgresql:
        plan = workspace.query("EXPLAIN QUERY PLAN " + parked_query.replace("?", "''"))
        assert "sqlite_autoindex_findable_asks_1" in plan[0][3], plan
