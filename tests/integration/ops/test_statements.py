"""Commands send few statements to the database, because each costs processor time."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from askrows.pipeline.core.settings import load_settings
from askrows.pipeline.ops.open_task import open_workspace
from askrows.pipeline.workspace.open_workspace import Access
from tests.integration import reviews
from tests.lab import Workspace
from tests.progress import NullProgress

# Opening with a named task; careless code sends 37 to read and 50 to write.
MAX_READING_STATEMENTS = 10
MAX_WRITING_STATEMENTS = 33
# Statements that only a server needs: to begin snapshots, for its clock, and to reflect columns.
MAX_SERVER_STATEMENTS = 10


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
