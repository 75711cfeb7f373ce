"""What a routine meets on the way: batches that failed at the API, items parked by that, and a full queue there."""

from collections.abc import Callable, Mapping

from pipeline.batch import download, poll
from pipeline.batch import submit as batch_submit
from pipeline.batch.create import SendOutcome
from pipeline.batch.prepare import BatchPlan
from pipeline.core.errors import RemoteError, ThrottledError
from pipeline.core.states import BatchState, RemoteState, remote_state
from pipeline.cost.queue_quota import QuotaFullError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import batches, statistics
from pipeline.store.batches import Batch

UNHAPPY = (RemoteState.FAILED, RemoteState.EXPIRED, RemoteState.CANCELLED)
LASTING = 2  # looks in a row that see batches fail and none succeed, after which a command sends nothing more


class BatchTrouble:
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

    def see(self, polled: poll.PollReport, failed: Mapping[int, str]) -> None:
        """Take what a look saw end."""
        if set(polled.downloaded) - set(failed):
            self._in_a_row = 0
        elif failed:
            self._in_a_row += 1


def failed_batches(ws: OpenWorkspace, polled: poll.PollReport) -> dict[int, str]:
    """Return why, by number, of the polled batches that failed at the API, with a part of their results or without any.

    One that a person cancelled is none of them.
    """
    with ws.store.read() as tx:
        over = [batches.get_batch(tx, number) for number in sorted([*polled.failed, *polled.downloaded])]
    return {
        one.number: one.reason or str(remote_state(one.remote_word))
        for one in over
        if not download.is_cancelled_by_hand(one, ws.settings)
        and (one.number in polled.failed or remote_state(one.remote_word) in UNHAPPY)
    }


def batch_error(ws: OpenWorkspace, number: int, why: str) -> RemoteError:
    """Return the error that tells of one of them; exit code 4."""
    words = ws.task.words
    return RemoteError(
        f"batch {number} failed at the API ({why})",
        hint=f"its {words.many} are sent again, but for those that are parked; see `{words.make('parked')}`",
    )


def count_parked_items(ws: OpenWorkspace) -> int:
    """Return how many items are parked, but for text that is not ours."""
    with ws.store.read() as tx:
        return statistics.count_parked(tx, ws.task.name)


def submit_what_fits(
    ws: OpenWorkspace, *, limit: int | None, confirm: Callable[[BatchPlan], bool] | None, patient: bool
) -> tuple[batch_submit.SubmitReport, RemoteError | None]:
    """Submit, and return what was sent; if `patient`, with the refusal where the API takes no more for now.

    Raises:
        ThrottledError, NoRoomError: nothing is under way whose end would make room, or a quota of the day is used up.
        RemoteError, ConfigurationError, InputError: as the step raises them.
    """
    before = {one.number for one in batches_at_api(ws)}
    try:
        return batch_submit.run(ws, limit=limit, dry=False, confirm=confirm), None
    except (ThrottledError, QuotaFullError) as error:
        there = batches_at_api(ws)
        is_daily = isinstance(error, ThrottledError) and error.resets_at is not None
        if not (patient and there) or is_daily:
            raise
        ws.display.say(f"the rest waits for a batch to end: {error.message}")
        new = [one for one in there if one.number not in before]
        sent = {one.number: SendOutcome.CREATED for one in new}
        return batch_submit.SubmitReport(BatchPlan(), sent=sent, items=sum(one.requests for one in new)), error


def batches_at_api(ws: OpenWorkspace) -> list[Batch]:
    """Return the batches of the task that are under way at the API."""
    with ws.store.read() as tx:
        return batches.batches_in_states(tx, BatchState.SUBMITTED, task=ws.task.name)
