"""Do the units of a run: sync the rows, submit, poll, ingest and ask by calls.

A unit is the smallest piece of work that takes its lock and makes guarded state changes. It does
nothing if another process was first. So any number of processes on any number of hosts may do
units of one workspace at the same time, and die at any moment.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from askrows.pipeline.batch import ingest, poll, submit
from askrows.pipeline.batch.batch_plan import Selection
from askrows.pipeline.batch.budget import BudgetError
from askrows.pipeline.batch.held_batches import HeldBatchError
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult, RunStop, StopReason
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import AskrowsError, InputError
from askrows.pipeline.core.progress import NoProgress
from askrows.pipeline.core.states import OPEN_STATES, BatchState, Mode
from askrows.pipeline.core.text import describe_requests
from askrows.pipeline.quality import evaluate
from askrows.pipeline.run import live
from askrows.pipeline.run.modes import choose_mode
from askrows.pipeline.run.run_state import RunState
from askrows.pipeline.store import batches
from askrows.pipeline.tasks import claiming

# If the rate limits allow no call for longer than this, a due row waits for the next command.
RATE_LIMIT_TIMEOUT_S = 60.0


def sync_and_recover_task(run: Run) -> Run:
    """Sync a task's rows with their source, and clear up after dead and outdated work.

    See `recover_task`.

    Returns:
        The synced run.

    Raises:
        InputError: The rows of a user task cannot be read, or the task has neither a row nor an
            open batch.
        ConfigurationError: The declaration changed under its version, or GATES is invalid.
        AskrowsError: The replies of a dead live run could not be ingested.
    """
    run = run.sync_task()
    recover_task(run)
    open_batches = run.workspace.store.query(
        batches.batches_in_states, *OPEN_STATES, task=run.task.name
    )
    if not open_batches:
        run.check_has_rows()
    return run


def recover_task(run: Run) -> None:
    """Clear up after dead and outdated work of a task; send nothing.

    Replies of live runs whose process died are ingested. Prepared batches are given up, which opens
    their rows again, if the declaration changed since, if the model does not accept their thinking
    level, or if Gemini refuses their model and another is set.

    Raises:
        ConfigurationError: GATES is invalid.
        AskrowsError: The replies of a dead live run could not be ingested.
    """
    # Invalid gates are refused before anything is spent.
    if run.task.gates or run.workspace.settings.gates:
        evaluate.read_effective_gates(run.task, run.workspace.settings, tasks=run.tasks)
    ingest.recover_dead_runs(run)
    submit.abandon_outdated_batches(run)


def submit_rows(
    state: RunState,
    *,
    is_confirmed: bool = True,
    should_report_full_api: bool = True,
    batch_number: int | None = None,
) -> None:
    """Send prepared batches, and prepare and send open rows within budgets and limits.

    The result gets the new batches, and the reason if rows are not sent. A used-up budget raises
    nothing: it is the reason, with its error. Earlier failures are forgotten: only batches that
    fail after this submission stop the run.

    Args:
        state: The state of the run.
        is_confirmed: A person confirmed the cost before; otherwise the person is asked.
        should_report_full_api: If the API has no room for another batch, and a batch of this task
            waits at the API already, return with the reason in the result instead of raising.
        batch_number: Send only this prepared batch; new batches are sent anyway.

    Raises:
        RemoteError: The API refused a batch, or it is unclear whether it created the batch.
        ConfigurationError: There is no usable key, or the price is unknown and nobody can
            confirm it.
        InputError: The cost was not confirmed.
    """
    state.failed_batches.clear()
    state.has_successful_batch = False
    state.has_submitted = True
    state.has_sent = False
    state.has_ingested = False
    try:
        outcomes = submit.submit_batches(
            state.run,
            state.select_remaining(),
            state.result,
            is_confirmed=is_confirmed,
            should_report_full_api=should_report_full_api,
            number=batch_number,
        )
    except BudgetError as error:
        state.result.stop = RunStop(StopReason.BUDGET, error=error)
    else:
        state.has_sent = bool(outcomes)


def poll_batches(state: RunState, *, wait: bool, batch_number: int | None = None) -> None:
    """Look at the task's batches at the API, download results, and record failed batches.

    The members of the result about the newest poll are replaced; they have the error of an API that
    could not be reached.

    Args:
        state: The state of the run.
        wait: Poll until the first batch ends; otherwise look once.
        batch_number: Poll only this batch.

    Raises:
        KeyRefusedError: The API refuses the key.
    """
    result = state.result
    poll.poll_batches(state.run, result, should_wait=wait, stops_at_first=True, number=batch_number)
    ended_batches = {*result.failed_polls, *result.downloaded}
    state.failed_batches |= ended_batches & result.failed_batches.keys()
    if set(result.downloaded) - result.failed_batches.keys():
        state.has_successful_batch = True


def ingest_batches(state: RunState, batch_number: int | None = None) -> None:
    """Ingest downloaded batches, and write quality reports.

    Held batches, whose replies seem to belong to other rows, are not ingested: the result gets
    their errors. The result also gets the summaries of the others. Quality reports are written also
    after an error, but a recent report is not replaced.

    Args:
        state: The state of the run.
        batch_number: Ingest only this batch, or all if None.

    Raises:
        InconsistentError, ConfigurationError, RemoteError: A batch could not be ingested; the
            other batches were.
    """
    run = state.run
    result = state.result
    failure: AskrowsError | None = None
    try:
        for summary in ingest.ingest_batches(run, number=batch_number):
            result.ingested.append(summary)
            state.has_ingested = True
            batch = summary.batch
            for warning in summary.iterate_warnings(run.task.nouns):
                run.workspace.display.warn(f"batch {batch.number}: {warning}")
            state.unreported_versions[batch.version] = None
            if batch.missing == 0 and batch.number in result.failed_batches:
                # The batch failed at the API after every request had a reply.
                del result.failed_batches[batch.number]
                state.failed_batches.discard(batch.number)
                state.has_successful_batch = True
    except HeldBatchError:
        # The held batches wait for a person, and the other batches go on.
        pass
    except AskrowsError as error:
        failure = error

    note_held_batches(state)
    state.write_quality_reports()
    if failure is not None:
        raise failure


def note_held_batches(state: RunState) -> None:
    """Set the result's list of held batches, which wait for a person, as they are now."""
    state.result.held_errors = [
        HeldBatchError(batch, state.run.task.nouns)
        for batch in state.list_batches(BatchState.DOWNLOADED)
        if batch.is_held
    ]


def ask_open_rows(state: RunState, mode: Mode) -> None:
    """Ask every open row by calls, up to the remaining limit, and store the answers.

    An error that stops the calls (daily quota, budget, service down) is not raised: it is the
    reason in the result, and so is an interrupt. The first failures in the result have the names of
    rows, not ids. Unless the calls were interrupted, a quality report is written.

    Args:
        state: The state of the run.
        mode: Live, flex or decide.

    Raises:
        InputError: The task has no rows, or the mode is flex and the model is not available in it.
        ConfigurationError: No key is set, or the model does not exist; nothing was asked.
    """
    run = state.run
    result = state.result
    selection = state.select_remaining()
    selected_count = selection.count_rows(run.workspace.store, run.task)
    result.has_calls = True
    if not selected_count:
        run.check_has_rows()
        return
    run.service.check_mode(mode)
    if mode is Mode.FLEX and not run.model.flex:
        message = f"{run.model.name} is not available in flex; nothing was asked"
        hint = (
            f"{OptionHint(mode='batch')} costs the same; "
            f"or set {OptionHint('model')} to a model with flex"
        )
        raise InputError(message, hint=hint)

    # A missing key or an engine that cannot start raises before anything is written.
    run.open_client()
    # Rows with equal inputs share a request.
    request_count = result.expected.requests or selected_count
    label = f"asking {describe_requests(request_count, selected_count)}"
    with run.workspace.display.bar(label, request_count) as bar:
        live.ask_rows(choose_mode(run, mode), selection, result, bar)
    finished_count = result.answered_by_calls + result.failed.total()
    unfinished_count = max(0, selected_count - finished_count)
    result.unasked = min(unfinished_count, state.count_claimable())

    with run.workspace.store.read() as tx:
        names = run.task.select_task_rows(tx).read_names(
            tx,
            [row_id for row_id, _ in result.first_failures],
        )
    result.first_failures = [
        (names.get(row_id, row_id), reason) for row_id, reason in result.first_failures
    ]

    if result.first_calls_batch is not None and not result.is_interrupted:
        state.unreported_versions[run.version] = None
        # Report now: the caller may wait for batches, which takes up to a day.
        state.write_quality_reports()


def ask_single_rows(
    run: Run,
    result: RunResult,
    row_ids: Sequence[str] | None = None,
    *,
    patience_s: float = RATE_LIMIT_TIMEOUT_S,
    deadline_s: float = math.inf,
) -> None:
    """Ask about single rows in live calls outside of a run.

    Without `row_ids`, dead live runs are ended first, and the rows are all due rows of the task.
    Due are open rows that were asked alone before and got no reply, or whose first attempt was
    postponed.

    A row that gets no reply is not asked again by this command. It becomes or stays due, with its
    new reason. Errors of the calls are in the result.

    Args:
        run: The run.
        result: Gets the figures; none if no row is due.
        row_ids: The open rows among these are asked, or all due rows if None.
        patience_s: Stop if a rate limit makes a call wait longer than this.
        deadline_s: Stop this many seconds after the start, without waiting for running calls.

    Raises:
        KeyboardInterrupt: The run was interrupted.
        AskrowsError: A batch of a dead run could not be ingested, or there is no usable key.
    """
    if row_ids is None:
        ingest.recover_dead_runs(run)
        row_ids = run.workspace.store.query(claiming.find_due_ids, run.task)
        if not row_ids:
            return

    single_run = replace(
        choose_mode(run, Mode.LIVE),
        is_single_batch=True,
        patience_s=patience_s,
        deadline_s=deadline_s,
        stops_without_connection=True,
    )
    live.ask_rows(single_run, Selection(row_ids=row_ids), result, NoProgress())
    if result.is_interrupted:
        raise KeyboardInterrupt
