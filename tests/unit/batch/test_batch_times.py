"""A batch is slow if it waits longer than 95 of 100 batches like it."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.batch.batch_times import BatchWait, measure_wait
from pipeline.core.states import BatchState
from pipeline.store import batches, schema
from pipeline.store.batches import BatchRow, RemoteTimes
from pipeline.store.database import Store
from tests.unit.store.facts import BATCH, NOW

# 40 batches: half of them ran after 1 to 20 minutes, all ended after 10 to 400 minutes.
TIMES = [
    RemoteTimes(100, 60.0 * minute if minute <= 20 else None, 600.0 * minute)
    for minute in range(1, 41)
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A database with our tables and batch 1, prepared."""
    store = Store(f"sqlite:///{tmp_path / 'findable.db'}")
    with store.write() as tx:
        schema.metadata.create_all(tx)
        batches.add_batch(tx, now=NOW, number=1, **BATCH)
    yield store
    store.close()


@pytest.fixture(name="batch")
def _pending_batch(store: Store) -> BatchRow:
    """A batch of 100 requests that was created at NOW and does not run yet."""
    with store.read() as tx:
        batch = batches.get_batch(tx, 1)
    return replace(
        batch,
        requests=100,
        state=BatchState.SUBMITTED,
        create_sent_at=NOW,
        remote_word="BATCH_STATE_PENDING",
    )


def measure(batch: BatchRow, times: list[RemoteTimes], *, minutes: float) -> BatchWait:
    """Return the wait of a batch some minutes after NOW."""
    now = NOW + timedelta(minutes=minutes)
    return measure_wait(batch, times, is_of_other_key=False, now=now)


def test_pending_batch_is_compared_with_the_time_to_run(batch: BatchRow) -> None:
    """A batch that does not run is slow before a running batch is."""
    assert not measure(batch, TIMES, minutes=19).is_slow
    wait = measure(batch, TIMES, minutes=19.5)
    assert wait.describe() == (
        "slower than 95 of 100 like it (19 min to run, from 40 batches); "
        "expires at 2026-11-22 12:00 UTC"
    )

    running_batch = replace(batch, running_at=NOW)
    assert not measure(running_batch, TIMES, minutes=379).is_slow
    assert measure(running_batch, TIMES, minutes=381).is_slow


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(TIMES[:19], id="too few batches"),
        pytest.param([like._replace(requests=401) for like in TIMES], id="larger batches"),
        pytest.param([like._replace(requests=24) for like in TIMES], id="smaller batches"),
    ],
)
def test_without_like_batches_the_documented_times_hold(
    batch: BatchRow, times: list[RemoteTimes]
) -> None:
    """Google aims at 24 hours and ends a batch after 48 hours."""
    assert measure(batch, times, minutes=24 * 60 - 1).describe() == ""
    wait = measure(batch, times, minutes=24 * 60 + 1)
    assert wait.similar_batch_count == 0
    assert wait.describe(checked_at=NOW + timedelta(hours=25)) == (
        "longer than Google's target of 24 h; checked again at 2026-11-21 13:00 UTC; "
        "expires at 2026-11-22 12:00 UTC"
    )
    late_wait = measure(batch, times, minutes=49 * 60)
    assert "should have expired at 2026-11-22 12:00 UTC" in late_wait.describe()


def test_creation_in_the_future_counts_as_now(batch: BatchRow) -> None:
    """A wrong clock makes no negative wait."""
    wait = measure(batch, TIMES, minutes=-60)
    assert (wait.elapsed_s, wait.is_slow) == (0.0, False)


def test_only_ended_batches_that_nobody_cancelled_are_measured(store: Store) -> None:
    """Succeeded and expired batches count, with the API's own time if it is known."""
    ended = {"state": BatchState.INGESTED, "create_sent_at": NOW, "over_at": NOW + timedelta(60)}
    expected_times = [RemoteTimes(1, 5.0, 60 * 86_400.0), RemoteTimes(1, None, 30.0)]
    rows: list[dict[str, object]] = [
        {"remote_word": "BATCH_STATE_SUCCEEDED", "remote_s": 30.0},
        {"remote_word": "JOB_STATE_EXPIRED", "running_at": NOW + timedelta(seconds=5)},
        {"remote_word": "BATCH_STATE_FAILED"},
        {"remote_word": "BATCH_STATE_SUCCEEDED", "cancel_asked_at": NOW},
        {"remote_word": "BATCH_STATE_SUCCEEDED", "state": BatchState.SUBMITTED},
    ]
    with store.write() as tx:
        for number, row in enumerate(rows, start=2):
            batches.add_batch(tx, now=NOW, number=number, **BATCH)
            batches.update_batch_columns(tx, number, **ended | row)
    with store.read() as tx:
        assert batches.list_remote_times(tx, "some") == expected_times
        assert batches.list_remote_times(tx, "another") == []
