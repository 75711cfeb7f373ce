"""A batch that gave nothing lets its people go, however many they are."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from pipeline.batch import download
from pipeline.core.states import RemoteState
from pipeline.gemini.operations import RemoteBatch
from tests import ledger
from tests.delivery import prepare, put_people, workspace_at
from tests.lab import Workspace


@pytest.fixture
def offline(tmp_path: Path) -> Workspace:
    """A workspace that cannot reach any API."""
    return workspace_at(tmp_path / "data")


def test_a_failed_batch_of_more_people_than_a_statement_holds_lets_all_go(offline: Workspace) -> None:
    """Databases bound how many values one statement may hold; a large batch fails in pieces, in one transaction."""
    put_people(offline, 1)
    prepare(offline)
    offline.change(
        "WITH RECURSIVE n(x) AS (SELECT 2 UNION ALL SELECT x + 1 FROM n WHERE x < 5000) "
        "INSERT INTO findable_requests (task, item_id, batch, line, input_hash, open, at) "
        "SELECT 'expert-tags', CAST(x AS TEXT), 1, x, '', true, '2026-01-01 00:00:00+00' FROM n",
    )
    offline.change("UPDATE findable_batches SET state = 'submitted', remote_name = 'batches/b'")
    event.listen(Engine, "connect", _hold_little)
    try:
        with offline.open() as ws:
            download.download_result(ws, 1, RemoteBatch("batches/b", "", "BATCH_STATE_FAILED", RemoteState.FAILED))
    finally:
        event.remove(Engine, "connect", _hold_little)
    assert ledger.batches(offline) == ["failed"]
    assert offline.scalar("SELECT count(*) FROM findable_requests WHERE open") == 0
    assert offline.scalar("SELECT count(*) FROM findable_attempts WHERE NOT charged") == 5000


def _hold_little(connection: Any, _record: object) -> None:
    """Let a statement hold few values; builds of SQLite differ in how many they allow."""
    if isinstance(connection, sqlite3.Connection):
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 4000)
