"""The loop of a run: do due units until nothing is left, or a reason to stop is found.

The database stores the state of every unit. If the process dies, the next command resumes.
"""

from askrows.pipeline.batch.budget import API_STATES
from askrows.pipeline.batch.run_result import StopReason
from askrows.pipeline.core.errors import ThrottledError
from askrows.pipeline.core.states import BatchState
from askrows.pipeline.run import units
from askrows.pipeline.run.run_state import RunState

# Pause before the next check whether another process has sent the rows that it claimed.
CLAIM_CHECK_PAUSE_S = 0.2


def drive(state: RunState, *, should_send: bool = True) -> None:
    """Do the units of a run by batch, until nothing is left to do or it is stopped.

    If a daily quota is used up, the batches at the API are still collected before its error is
    raised.

    Args:
        state: The state of the run.
        should_send: Also send rows. Otherwise batches at the API are only collected.

    Raises:
        RemoteError, ConfigurationError, InputError: A unit failed, such as sending a batch; the
            next command continues.
    """
    quota_error: ThrottledError | None = None
    while unit := choose_unit(state, may_submit=should_send and quota_error is None):
        if unit == "ingest":
            units.ingest_batches(state)
        elif unit == "poll":
            units.poll_and_download_batches(state, should_wait=True)
        elif unit == "wait":
            state.run.workspace.sleep(CLAIM_CHECK_PAUSE_S)
            # The other process may have died; its prepared batches are sent then.
            state.has_submitted = False
        else:
            try:
                units.submit_rows(state)
            except ThrottledError as error:
                if not state.list_batches(BatchState.SUBMITTED):
                    raise
                state.run.workspace.display.say(
                    f"waiting for the submitted batches: {error.message}"
                )
                quota_error = error

    # The reason is also recorded if no row is left to send.
    if should_send:
        state.check_may_send()
    if quota_error is not None:
        raise quota_error


def choose_unit(state: RunState, *, may_submit: bool = True) -> str:
    """Return the next unit of a run that waits for its batches; "" if nothing is left to do.

    The first that applies is returned:

    1. "ingest", if a batch is downloaded and not held.
    2. "", if the newest poll could not go on, or a batch needs a person: the API does not know it,
       or it is unclear whether it was created.
    3. "submit", if nothing was submitted yet, or if rows are not sent and all batches are over. If
       the API had no room, the next submission follows the first batch that ends. If the last
       submission and the batches after it brought nothing, if all batches failed at the API, or if
       the answers miss a quality gate by far, no more rows are sent, so that a short outage does
       not use up the attempts of all rows.
    4. "poll", if a batch is at the API for which the run waits.
    5. "wait", if another process claimed rows of the selection and has not sent them.

    Args:
        state: The state of the run.
        may_submit: The API accepts batches.
    """
    result = state.result
    if any(not batch.is_held for batch in state.list_awaited_batches(BatchState.DOWNLOADED)):
        return "ingest"
    if result.is_poll_stopped:
        return ""

    has_running_batches = bool(state.list_awaited_batches(*API_STATES))
    if may_submit and _is_submission_due(state, has_running_batches=has_running_batches):
        return "submit"
    if has_running_batches:
        return "poll"

    may_wait = result.stop.reason is None and not result.held_errors
    if may_wait and state.list_claiming_batches():
        return "wait"
    return ""


def _is_submission_due(state: RunState, *, has_running_batches: bool) -> bool:
    """Return whether a run that waits for its batches submits rows now.

    It does if it may send and did not submit yet. Later it does if rows are unsent, the run sent or
    stored something before, and no batch is at the API. If the API was full, a stored result is
    enough.

    Args:
        state: The state of the run.
        has_running_batches: A batch of the task is at the API.
    """
    if not state.check_may_send():
        return False
    if not state.has_submitted:
        return True

    has_room = not has_running_batches
    if state.result.stop.reason is StopReason.API_FULL:
        has_room = has_room or state.has_ingested
    has_progress = state.has_sent or state.has_ingested
    has_unsent_rows = state.count_claimable() or state.list_batches(BatchState.PREPARED)
    return has_room and has_progress and bool(has_unsent_rows)
