"""From when on a list proves that a create left nothing, and which of several batches it left is taken as its own."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from pipeline.batch.reconcile import _due, _usable_and_old
from pipeline.core.states import RemoteState
from pipeline.gemini.operations import RemoteBatch

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def remote(name: str, state: RemoteState, *, minutes: int | None) -> RemoteBatch:
    """Return a remote batch that was made so many minutes after noon."""
    at = None if minutes is None else NOON + timedelta(minutes=minutes)
    return RemoteBatch(name=name, display_name="n-t1", word=None, state=state, created_at=at)


def due_s(*, ended: datetime | None) -> float:
    """Return how long after noon, when the create was sent, a list proves that it left nothing."""
    settings: Any = SimpleNamespace(list_lag=60.0, create_timeout=30.0)
    batch: Any = SimpleNamespace(create_sent_at=NOON, create_ended_at=ended)
    return (_due(batch, settings, now=NOON) - NOON).total_seconds()


def test_the_lag_counts_from_the_end_of_the_create() -> None:
    """Where its end is not known, it may have gone on until its time-out."""
    assert due_s(ended=NOON + timedelta(seconds=2)) == 62
    assert due_s(ended=None) == 90


def test_what_may_give_answers_goes_before_what_is_old() -> None:
    """The oldest comes first, one without a time last, and behind them all that gives no answers any more."""
    right = [
        remote("c", RemoteState.SUCCEEDED, minutes=1),
        remote("b", RemoteState.WAITING, minutes=2),
        remote("a", RemoteState.WAITING, minutes=None),
        remote("e", RemoteState.FAILED, minutes=0),
        remote("d", RemoteState.EXPIRED, minutes=3),
    ]
    mixed = [right[at] for at in (4, 2, 0, 3, 1)]
    assert sorted(mixed, key=_usable_and_old) == right
