"""What a routine meets on the way: batches that failed at the API, items parked by that, and a full queue there."""

from collections.abc import Callable, Mapping

from pipeline import collecting
from pipeline.creating import Sent
from pipeline.errors import RemoteError, ThrottledError
from pipeline.preparing import Plan
from pipeline.runtime import Runtime
from pipeline.states import BatchState, RemoteState, remote_state
from pipeline.steps import batch_poll, batch_submit
from pipeline.store import batches, outcomes
from pipeline.store.batches import Batch
from pipeline.window import NoRoomError

UNHAPPY = (RemoteState.FAILED, RemoteState.EXPIRED, RemoteState.CANCELLED)
LASTING = 2  # looks in a row that see batches fail and none succeed, after which a command sends nothing more


class Trouble:
    """Tells a batch that failed from an API that is down: there nothing more is sent, or everybody would be parked.

    A command begins with one look on its account, so that it goes on after a failure only where something succeeded.
    """

    def __init__(self) -> None:
        """Begin with nothing seen."""
        self._in_a_row = LASTING - 1

    @property
    def is_lasting(self) -> bool:
        """Return whether nothing more should be sent."""
        return self._in_a_row >= LASTING

    def see(self, polled: batch_poll.Report, failed: Mapping[int, str]) -> None:
        """Take what a look saw end."""
        if set(polled.downloaded) - set(failed):
            self._in_a_row = 0
        elif failed:
            self._in_a_row += 1


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
    words = rt.task.words
    return RemoteError(
        f"batch {number} failed at the API ({why})",
        hint=f"its {words.many} are sent again, but for those that are parked; see `{words.make('parked')}`",
    )


def parked(rt: Runtime) -> int:
    """Return how many items are parked, but for text that is not ours."""
    with rt.store.read() as tx:
        return outcomes.parked_items(tx, rt.task.name)


def submit(
    rt: Runtime, *, limit: int | None, confirm: Callable[[Plan], bool] | None, patient: bool
) -> tuple[batch_submit.Report, RemoteError | None]:
    """Submit, and return what was sent; if `patient`, with the refusal where the API takes no more for now.

    Raises:
        ThrottledError, NoRoomError: nothing is under way whose end would make room, or a quota of the day is used up.
        RemoteError, ConfigurationError, InputError: as the step raises them.
    """
    before = {one.number for one in at_api(rt)}
    try:
        return batch_submit.run(rt, limit=limit, dry=False, confirm=confirm), None
    except (ThrottledError, NoRoomError) as error:
        there = at_api(rt)
        is_daily = isinstance(error, ThrottledError) and error.resets_at is not None
        if not (patient and there) or is_daily:
            raise
        rt.display.say(f"the rest waits for a batch to end: {error.message}")
        new = [one for one in there if one.number not in before]
        sent = {one.number: Sent.CREATED for one in new}
        return batch_submit.Report(Plan(), sent=sent, items=sum(one.requests for one in new)), error


def at_api(rt: Runtime) -> list[Batch]:
    """Return the batches of the task that are under way at the API."""
    with rt.store.read() as tx:
        return batches.in_states(tx, BatchState.SUBMITTED, task=rt.task.name)
