"""Which of several remote batches that one create left behind is taken as its own."""

from datetime import UTC, datetime, timedelta

from pipeline.batch.reconcile import _usable_and_old
from pipeline.core.states import RemoteState
from pipeline.gemini.operations import RemoteBatch

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def remote(name: str, state: RemoteState, *, minutes: int | None) -> RemoteBatch:
    """Return a remote batch that was made so many minutes after noon."""
    at = None if minutes is None else NOON + timedelta(minutes=minutes)
    return RemoteBatch(name=name, display_name="n-t1", word=None, state=state, created_at=at)


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
