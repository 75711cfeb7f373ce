"""`batch-ingest`: changes between reading and writing, and accounts that do not add up."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from askrows.pipeline.batch import ingest as batch_ingest
from askrows.pipeline.batch.run import Run
from askrows.pipeline.store import tag_merges
from tests import ledger
from tests.acceptance.product import MODEL
from tests.delivery import deliver, prepare, result, workspace_at
from tests.integration import reviews
from tests.lab import Workspace, put_people

Write = Callable[[], AbstractContextManager[Connection]]
# The tags of a row after the ingest of its answer.
INGESTED_TAGS = '["water law","beekeeping","soil science"]'
# The first review has the quotation, and the others have not.
REVIEW_ANSWER = '{"praise": [], "quote": "the lid burned my hand", "stars": 2}'


@pytest.fixture
def offline(tmp_path: Path) -> Workspace:
    """A workspace that cannot reach any API."""
    return workspace_at(tmp_path / "data")


@contextmanager
def _change_before_first_write(
    ws: Run, monkeypatch: pytest.MonkeyPatch, change: Callable[[Write], object]
) -> Iterator[None]:
    """Let another program change something right before the answers are written."""
    write_numbers = count()
    original_write = ws.workspace.store.write

    def write(**options: Any) -> Any:
        if next(write_numbers) == 0:
            change(original_write)
        return original_write(**options)

    with monkeypatch.context() as patch:
        patch.setattr(ws.workspace.store, "write", write)
        yield


def test_a_merge_during_the_ingest_is_applied(
    offline: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A merge during the ingest applies to every new answer."""
    put_people(offline, 3)
    deliver(offline, result(prepare(offline)))

    def merge(write: Write) -> None:
        with write() as tx:
            tag_merges.record_merge(
                tx,
                tag_merges.make_list_name("experts", "tags"),
                json.loads(INGESTED_TAGS)[0],
                "merged",
                editor="a person",
                now=datetime.now(UTC),
            )

    with offline.open() as ws, _change_before_first_write(ws, monkeypatch, merge):
        assert len([*batch_ingest.ingest_batches(ws)]) == 1
    assert {json.loads(row[0])[0] for row in offline.query("SELECT tags FROM experts")} == {
        "merged"
    }


@pytest.mark.parametrize(
    ("change", "expected_flags", "tags"),
    [
        ("UPDATE experts SET bio = 'Now I teach chess.'", (1, 1), [None]),
        ("UPDATE experts SET username = 'somebody else'", (1, 1), [None]),
        (
            "UPDATE experts SET hourly_rate = 80, profile_url = 'https://example.org/1'",
            (1, 0),
            [INGESTED_TAGS],
        ),
        ("UPDATE experts SET tags = '[\"by hand\"]'", (0, 0), ['["by hand"]']),
        ("DELETE FROM experts", (1, 1), []),
    ],
)
def test_a_change_during_the_ingest_is_respected(
    change: str,
    expected_flags: tuple[int, int],
    tags: list[str | None],
    offline: Workspace,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row that changes before its answer is written counts as changed before it was read."""
    put_people(offline, 3)
    deliver(offline, result(prepare(offline)))

    def change_row(_write: Write) -> None:
        offline.change(f"{change} WHERE id = 1")

    with offline.open() as ws, _change_before_first_write(ws, monkeypatch, change_row):
        assert len([*batch_ingest.ingest_batches(ws)]) == 1

    query = "SELECT applied, outdated FROM askrows_answers WHERE version <> 'other' ORDER BY row_id"
    assert offline.query(query) == [
        expected_flags,
        (1, 0),
        (1, 0),
    ]
    assert offline.query("SELECT tags FROM experts WHERE id = 1") == [(tag,) for tag in tags]


def test_a_batch_with_a_wrong_account_stays_downloaded(offline: Workspace) -> None:
    """A missing request exits with 5, an unknown model with 3; the batch stays downloaded."""
    put_people(offline, 3)
    deliver(offline, result(prepare(offline)))
    offline.change("UPDATE askrows_batches SET model = 'gemini-1-ultra'")
    assert "gemini-1-ultra" in offline.ran("batch-ingest", code=3).stderr

    offline.change("UPDATE askrows_batches SET model = :model", model=MODEL)
    # Now a request has no claim.
    offline.change("DELETE FROM askrows_asks WHERE line = 2")
    assert "but 2 outcomes" in offline.ran("batch-ingest", code=5).stderr
    assert ledger.batches(offline) == ["downloaded"]


@pytest.fixture
def reviewed(offline: Workspace) -> Workspace:
    """A workspace with a downloaded batch of all reviews, whose answers have quotations."""
    reviews.set_up_task(offline).ran("tag", "--dry", TASK="tasks/reviews.py")
    deliver(offline, result(prepare(offline), REVIEW_ANSWER))
    return offline


@pytest.mark.full
def test_an_answer_that_no_row_was_compared_with_is_not_applied(
    reviewed: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row whose text changes and changes back during the ingest is compared later."""
    change_input = "UPDATE askrows_rows SET input_hash = :hash WHERE row_id = '2'"
    row_hash = reviewed.scalar("SELECT input_hash FROM askrows_rows WHERE row_id = '2'")
    reviewed.change(change_input, hash="another input")

    def change_back(_write: Write) -> None:
        reviewed.change(change_input, hash=row_hash)

    with reviewed.open() as ws, _change_before_first_write(ws, monkeypatch, change_back):
        assert len([*batch_ingest.ingest_batches(ws)]) == 1
    assert ledger.batches(reviewed) == ["ingested"]
    query = "SELECT row_id, applied, outdated FROM askrows_answers ORDER BY row_id"
    assert reviewed.query(query) == [("1", 1, 0), ("2", 0, 1)]
    states = json.loads(reviewed.ran("items", JSON="1").stdout)
    assert {row["id"]: row["state"] for row in states["rows"]}["2"] == "open"


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM askrows_rows WHERE row_id = '1'",
        "UPDATE askrows_rows SET input_hash = 'another input' WHERE row_id = '1'",
    ],
)
def test_a_row_may_change_between_its_claim_and_its_text(
    change: str, reviewed: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Claims and rows of a page are two snapshots; a change between them loses no request."""
    changed_ids: list[str] = []
    with reviewed.open() as ws, monkeypatch.context() as patch:
        original_query = ws.workspace.store.query

        def query(read: Any, *args: Any, **options: Any) -> Any:
            if read == ws.task.read_rows:
                changed_ids.extend(*args)
                reviewed.change(change)
            return original_query(read, *args, **options)

        patch.setattr(ws.workspace.store, "query", query)
        assert len([*batch_ingest.ingest_batches(ws)]) == 1
    assert changed_ids == ["1", "2", "3", "4"]
    assert ledger.batches(reviewed) == ["ingested"]
    query_text = "SELECT row_id, applied FROM askrows_answers ORDER BY row_id"
    assert reviewed.query(query_text) == [("1", 0)]
    assert reviewed.scalar("SELECT COUNT(*) FROM askrows_attempts") == 3
