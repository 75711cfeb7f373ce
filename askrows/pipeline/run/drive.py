"""The loop of a run: do due units until nothing is left, or a reason to stop is found.

The database stores the state of every unit. If the process dies, the next command resumes.
"""

from dataclasses import replace

from askrows.pipeline.batch.run_result import RunResult, RunStop, StopReason
from askrows.pipeline.core.errors import ThrottledError
from askrows.pipeline.core.states import OPEN_STATES, BatchState
from askrows.pipeline.quality.report import delete_partial_reports
from askrows.pipeline.run import run_units
from askrows.pipeline.run.run_state import RunState
from askrows.pipeline.run.units import choose_unit
from askrows.pipeline.store import batches, claims, money, runs
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.equal_rows import count_waiting_rows

# Pause before the next check whether another process has sent the rows that it claimed.
CLAIM_CHECK_PAUSE_S = 0.2
# Reasons that end when all rows are sent.
ENDING_STOPS = (StopReason.GATE_FAILED, StopReason.BUDGET, StopReason.API_FULL)


def drive(state: RunState) -> None:
    """Do the units of a run by batch, until nothing is left to do or it is stopped.

    If a daily quota is used up, the batches at the API are still collected before its error is
    raised.

    Raises:
        RemoteError, ConfigurationError, InputError: A unit failed, such as sending a batch; the
            next command continues.
    """
    quota_error: ThrottledError | None = None
    while unit := choose_unit(state, may_submit=quota_error is None):
        if unit == "ingest":
            run_units.ingest_batches(state)
        elif unit == "poll":
            run_units.poll_batches(state, wait=True)
        elif unit == "wait":
            state.run.workspace.sleep(CLAIM_CHECK_PAUSE_S)
            # The other process may have died; its prepared batches are sent then.
            state.has_submitted = False
        else:
            try:
                run_units.submit_rows(state)
            except ThrottledError as error:
                if not state.list_batches(BatchState.SUBMITTED):
                    raise
                state.run.workspace.display.say(
                    f"waiting for the submitted batches: {error.message}"
                )
                quota_error = error

    # The reason is also recorded if no row is left to send.
    state.check_may_send()
    if quota_error is not None:
        raise quota_error


def complete_result(state: RunState) -> RunResult:
    """Complete and return the result; write the last quality reports, and end finished runs.

    Open rows, rows in open batches, rows parked since the start, and the spending since the start
    are counted. Partly written reports of dead processes are deleted. If no row is open, claimed or
    in a batch, the unfinished run of the task is ended in the database.

    A finished run gets a quality report even without new answers: the process that ingested its
    answers may have died before its report.
    """
    run = state.run
    result = state.result
    store = run.workspace.store
    task = run.task
    _count_open_rows(state)
    run_units.note_held_batches(state)

    with store.read() as tx:
        unfinished_run = runs.find_unfinished_run(tx, task.name)
        # Counting reads all rows, so it is left out if no run can end.
        is_run_finished = unfinished_run is not None and not (
            batches.batches_in_states(tx, *OPEN_STATES, task=task.name)
            or claims.has_claims(tx, task.name)
            or claiming.count_claimable(tx, task)
        )

    if is_run_finished and result.newest_quality is None:
        state.unreported_versions[run.version] = None
    state.write_quality_reports(is_last=True)
    delete_partial_reports(run.workspace.data, task.name)

    with store.read() as tx:
        parked_count = len(
            claims.parked_rows(tx, task.name, prompt_version=task.parked_version),
        )
        result.parked = max(0, parked_count - state.parked_before)
        spending = money.sum_spending(tx, sent_since=state.started_at)
        result.spent = spending.known_usd
        result.lost_usd = spending.lost_usd

    # The next command gets a new budget.
    if unfinished_run is not None and is_run_finished:
        with store.write() as tx:
            runs.end_run(
                tx, unfinished_run.number, reason="nobody is left", now=run.workspace.now()
            )
    return result


def _count_open_rows(state: RunState) -> None:
    """Set the result's numbers of rows that are not answered, and correct its stop reason.

    - `left`: open rows, also those that this command does not ask, for example beyond its limit
    - `under_way`: rows in open batches
    - `waiting`: open rows that get the answer of an equal row in an open batch
    - `unasked`: rows that the calls did not reach, at most `left`

    The rows of the stop reason are at most the open and the prepared rows. If there are neither,
    reasons of ENDING_STOPS are cleared.
    """
    run = state.run
    result = state.result
    result.left = state.count_claimable()
    result.under_way = sum(batch.requests for batch in state.list_batches(*OPEN_STATES))
    result.waiting = 0
    if result.left and result.under_way:
        result.waiting = run.workspace.store.query(count_waiting_rows, run.task, run.version)
    result.unasked = min(result.unasked, result.left)

    prepared = state.list_batches(BatchState.PREPARED)
    unsent_count = result.left + sum(batch.requests for batch in prepared)
    result.stop = replace(result.stop, rows=min(result.stop.rows, unsent_count))
    if not unsent_count and result.stop.reason in ENDING_STOPS:
        result.stop = RunStop()
