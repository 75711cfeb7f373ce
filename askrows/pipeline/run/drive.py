"""The loop of a run: do due units until nothing is left, or a reason to stop is found.

The database stores the state of every unit. If the process dies, the next command resumes.
"""

from askrows.pipeline.core.errors import ThrottledError
from askrows.pipeline.core.states import BatchState
from askrows.pipeline.run import units
from askrows.pipeline.run.run_state import RunState

# Pause before the next look at a batch of another process.
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
    workspace = state.run.workspace
    state.may_submit = should_send
    quota_error: ThrottledError | None = None
    while unit := next(units.list_units(state.run, state), None):
        if unit.name == "ingest":
            units.ingest_batches(state)
        elif unit.name == "poll":
            units.poll_and_download_batches(state, should_wait=True)
        elif unit.name == "wait":
            assert unit.number is not None  # noqa: S101 - it waits for a batch
            workspace.sleep(CLAIM_CHECK_PAUSE_S)
            units.wait_for_other_process(state, unit.number)
        else:
            try:
                units.submit_rows(state)
            except ThrottledError as error:
                if not state.list_batches(BatchState.SUBMITTED):
                    raise
                workspace.display.say(f"waiting for the submitted batches: {error.message}")
                quota_error = error
                state.may_submit = False

    # The reason is also recorded if no row is left to send.
    if should_send:
        state.check_may_send()
    if quota_error is not None:
        raise quota_error
