"""Commands send few statements to the database, for each costs processor time at every command."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from tests.integration import reviews
from tests.lab import Workspace

MAX_OF_STATUS = 105  # with people, passages and a user task, and to find the task that is meant; without care 149
MAX_CATALOGUE_LOOKS = (
    3  # at the columns of one table: when it is opened, when its task is made, and by the command
)
MAX_SCANS = (
    3  # of all rows of a task, where none is open: stale ones, and those to ask before and after
)
REVIEWS = ("batch-submit", "batch-poll", "batch-ingest")

pytestmark = pytest.mark.usefixtures("in_folder")


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in the test's folder."""
    monkeypatch.chdir(tmp_path)


@contextlib.contextmanager
def statements_sent() -> Iterator[list[str]]:
    """Collect the statements that are sent to a database during a block."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def test_opening_a_workspace_asks_the_catalogue_few_questions(workspace: Workspace) -> None:
    """A status in a workspace with three subjects sends few statements, and looks at no table's columns repeatedly."""
    Path("passages.jsonl").write_text(
        '{"id": "p-1", "text": "Old bees keep longer than new bees."}\n', encoding="utf-8"
    )
    workspace.ran("import-passages", "passages.jsonl")
    reviews.put(workspace).ran("batch-submit")
    workspace.environ.pop("FINDABLE_TASK")

    with statements_sent() as sent:
        workspace.ran("status")

    assert len(sent) <= MAX_OF_STATUS, sent
    looks = [one for one in sent if 'table_xinfo("passages")' in one or "atttypid" in one]
    assert 0 < len(looks) <= MAX_CATALOGUE_LOOKS, looks


def test_rows_are_read_few_times_where_none_is_open(workspace: Workspace) -> None:
    """With nothing to submit, rows are counted before and after, and parked ones are found by their key."""
    reviews.put(workspace).ran_each(*REVIEWS)

    with statements_sent() as sent:
        stdout = workspace.ran("batch-submit").stdout

    assert "nothing to submit" in stdout
    scans = [one for one in sent if "FROM findable_rows" in one and "FROM findable_answers" in one]
    assert 0 < len(scans) <= MAX_SCANS, scans
    parked = next(
        one for one in sent if one.startswith("SELECT findable_asks.item_id, findable_asks.reason")
    )
    if not workspace.on_postgresql:
        plan = workspace.query("EXPLAIN QUERY PLAN " + parked.replace("?", "''"))
        assert "sqlite_autoindex_findable_asks_1" in plan[0][3], plan
