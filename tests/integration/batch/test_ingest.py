"""`batch-ingest`: what changes between reading and writing, and an account that does not add up."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from pipeline.batch import ingest as batch_ingest
from pipeline.engine.workspace import WorkspaceSession
from pipeline.experts import table
from pipeline.experts.table import score_of
from pipeline.store import edits
from tests import ledger
from tests.delivery import MODEL, deliver, prepare, put_people, result, workspace_at
from tests.lab import Workspace

Write = Callable[[], AbstractContextManager[Connection]]
WRITTEN = '["water law","beekeeping","soil science"]'  # as a row has what the answers say


@pytest.fixture
def offline(tmp_path: Path) -> Workspace:
    """A workspace that cannot reach any API."""
    return workspace_at(tmp_path / "data")


@contextmanager
def _meanwhile(
    ws: WorkspaceSession, monkeypatch: pytest.MonkeyPatch, change: Callable[[Write], object]
) -> Iterator[None]:
    """Let another program change something before the first time that is written, when the answers are judged."""
    writes = count()
    real = ws.store.write

    def write(**how: Any) -> Any:
        if next(writes) == 0:
            change(real)
        return real(**how)

    with monkeypatch.context() as patched:
        patched.setattr(ws.store, "write", write)
        yield


def test_a_merge_while_answers_are_judged_is_seen(
    offline: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No answer goes past it."""
    put_people(offline, 3)
    deliver(offline, result(prepare(offline)))

    def merge(write: Write) -> None:
        with write() as tx:
            edits.add_merge(
                tx,
                table.TASK,
                json.loads(WRITTEN)[0],
                "merged",
                editor="a person",
                now=datetime.now(UTC),
            )

    with offline.open() as ws, _meanwhile(ws, monkeypatch, merge):
        assert len([*batch_ingest.ingest_batches(ws)]) == 1
    assert {json.loads(one[0])[0] for one in offline.query("SELECT tags FROM experts")} == {
        "merged"
    }


@pytest.mark.parametrize(
    ("change", "told", "tags"),
    [
        ("UPDATE experts SET bio = 'Now I teach chess.'", (1, 1), [WRITTEN]),
        ("UPDATE experts SET username = 'somebody else'", (0, 1), [None]),
        (
            "UPDATE experts SET hourly_rate = 80, profile_url = 'https://example.org/1'",
            (1, 0),
            [WRITTEN],
        ),
        ("UPDATE experts SET tags = '[\"by hand\"]'", (0, 0), ['["by hand"]']),
        ("DELETE FROM experts", (0, 0), []),
    ],
)
def test_what_changes_while_answers_are_judged_is_seen(
    change: str,
    told: tuple[int, int],
    tags: list[str | None],
    offline: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row may change after it was read and before its answer is written: that counts as a change before both."""
    put_people(offline, 3)
    deliver(offline, result(prepare(offline)))
    with (
        offline.open() as ws,
        _meanwhile(ws, monkeypatch, lambda _: offline.change(f"{change} WHERE id = 1")),
    ):
        assert len([*batch_ingest.ingest_batches(ws)]) == 1
    assert offline.query("SELECT applied, outdated FROM findable_answers ORDER BY item_id") == [
        told,
        (1, 0),
        (1, 0),
    ]
    assert offline.query("SELECT tags FROM experts WHERE id = 1") == [(tag,) for tag in tags]
    cells = ", ".join(table.SCORE_COLUMNS)
    for points, *row in offline.query(
        f"SELECT findability_score, {cells} FROM experts WHERE tags LIKE '[\"w%'"  # noqa: S608
    ):
        assert points == score_of(*row)


def test_an_account_that_does_not_add_up_ends_nothing(offline: Workspace) -> None:
    """Where a request is unaccounted for, its batch stays downloaded: exit 5; where its model is not known, exit 3."""
    put_people(offline, 3)
    deliver(offline, result(prepare(offline)))
    offline.change("UPDATE findable_batches SET model = 'gemini-1-ultra'")
    assert "gemini-1-ultra" in offline.ran("batch-ingest", code=3).stderr
    offline.change("UPDATE findable_batches SET model = :model", model=MODEL)
    offline.change("DELETE FROM findable_asks WHERE line = 2")
    assert "2 are accounted for" in offline.ran("batch-ingest", code=5).stderr
    assert ledger.batches(offline) == ["downloaded"]
