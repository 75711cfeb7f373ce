"""What a routine meets on the way: batches that failed at the API, and items that were parked."""

from pipeline import collecting
from pipeline.errors import RemoteError
from pipeline.runtime import Runtime
from pipeline.states import RemoteState, remote_state
from pipeline.steps import batch_poll
from pipeline.store import batches, outcomes

UNHAPPY = (RemoteState.FAILED, RemoteState.EXPIRED, RemoteState.CANCELLED)


def failed(rt: Runtime, polled: batch_poll.Report) -> dict[int, str]:
    """Return why, by number, of the polled batches that failed at the API, with a part of their results or without any.

    One that a person cancelled is none of them.
    """
    with rt.store.read() as tx:
        over = [batches.get(tx, number) for number in sorted([*polled.failed, *polled.downloaded])]
    return {
        one.number: one.reason or str(remote_state(one.remote_word))
        for one in over
        if not collecting.is_by_hand(rt, one)
        and (one.number in polled.failed or remote_state(one.remote_word) in UNHAPPY)
    }


def told(rt: Runtime, number: int, why: str) -> RemoteError:
    """Return the error that tells of one of them; exit code 4."""
    return RemoteError(
        f"batch {number} failed at the API ({why})",
        hint=f"its {rt.task.words.many} are sent again, but for those that are parked; see `findable parked`",
    )


def parked(rt: Runtime) -> int:
    """Return how many items are parked, but for text that is not ours."""
    with rt.store.read() as tx:
        return outcomes.parked_items(tx, rt.task.name)
