"""Take the single steps of a batch, and report each: submit, poll, ingest, cancel and move.

- A pilot is a small random sample that is asked and judged before the other rows.
- A gate is a bound on a quality figure of the answers.
- A batch is held if its replies provably belong to other requests. It is not stored until a
  person downloads it again, gives it up or accepts it.
"""

from dataclasses import replace
from functools import partial

from askrows.pipeline.batch import budget, cancel, held_batches, poll, submit
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult, make_failure_tables
from askrows.pipeline.core.report import (
    Report,
    format_members_as_line,
    make_table,
    run_check_and_list_error,
)
from askrows.pipeline.core.settings import Budget
from askrows.pipeline.core.states import BatchState, Mode
from askrows.pipeline.core.text import plural
from askrows.pipeline.ops.next_command import read_next_command
from askrows.pipeline.quality.pilot import check_pilot_allows_open_rows, waive_pilot_if_needed
from askrows.pipeline.run import preflight, units
from askrows.pipeline.run.drive import drive
from askrows.pipeline.run.pilot_run import run_pilot_if_blocked
from askrows.pipeline.run.run_state import RunState
from askrows.pipeline.run.units import sync_and_recover_task
from askrows.pipeline.store import batches

# Columns of ingested batches, and fields of a planned move; see `make_table`.
INGEST_COLUMNS = (
    "batch requests answered refused invalid missing equal_rows "
    "controls=control_requests tokens_in tokens_out cost"
)
MOVE_FIELDS = (
    "batch to rows=requests cancelled_batch_at_most=cancelled_usd "
    "other_mode_at_most=other_mode_usd refusal"
)


def sync_and_submit_rows(
    run: Run,
    *,
    limit: int | None,
    pilot: int | None,
    skip_pilot: bool,
) -> Report:
    """Sync the rows, and send all open rows in batches; wait for no result.

    The cost is confirmed first. Rows that equal an answered row get its answer without a request.

    Args:
        run: The run.
        limit: Ask at most this many rows, those of the pilot included.
        pilot: Run a pilot of this many rows first, and wait for it.
        skip_pilot: Record that a person waived the pilot.

    Raises:
        GateError: A pilot failed or blocks the rows.
        BudgetError: A budget has no room for any request.
        AskrowsError: The cost was not confirmed, or a batch could not be sent.
    """
    run = sync_and_recover_task(run)
    state = RunState(run, limit=limit, has_quality_reports=False)
    store = run.workspace.store
    if skip_pilot:
        waive_pilot_if_needed(store, run.task, version=run.version, now=run.workspace.now)
    pilot_report = None
    if pilot is None:
        store.query(check_pilot_allows_open_rows, run.task, run.version)
    else:
        pilot_report = run_pilot_if_blocked(run, size=pilot, limit=limit, is_confirmed=False)
    remaining_limit = state.remaining_rows()
    units.submit_rows(state, is_confirmed=False, should_report_full_api=False)
    result = state.complete_result_and_end_finished_run()
    if result.stop.error is not None:
        raise result.stop.error

    report = _report_submit(run, result)
    if pilot_report is not None:
        report.notes.append(pilot_report.pilot_line)
    # The pilot may have asked all rows of the limit.
    if remaining_limit == 0:
        report.title = "the pilot asked all rows of the limit"
    return report


def sync_and_report_submit_plan(run: Run, limit: int | None) -> Report:
    """Sync the rows of the task, and report what `sync_and_submit_rows` would send.

    No batch is written or sent. If no row is open, the message says why.

    Raises:
        InputError: The task has no rows at all.
    """
    run = run.sync_task()
    estimate = preflight.estimate_rows(run, limit=limit)
    plan = estimate.sent_plan
    report = _report_submit(run, RunResult(plan=plan), dry=True)
    if plan.rows:
        description = submit.describe_plan(run, plan)
        report.title = f"would submit {description}; no batch was written or sent"
    else:
        run.check_has_rows()
    return report


def _report_submit(run: Run, result: RunResult, *, dry: bool = False) -> Report:
    """Report which batches were sent, or why no batch was sent.

    Args:
        run: The run.
        result: The result of the submission, with its plan.
        dry: Nothing was sent; the report is about batches that would be.
    """
    nouns = run.task.nouns
    plan = result.plan
    # The outcome of each batch, and the rows that are in no batch.
    parts = [", ".join(f"batch {number} {outcome}" for number, outcome in result.sent.items())]
    if result.equal_rows:
        parts.append(f"{plural(result.equal_rows, 'row')} got the answer of an equal row")
    if result.stop.rows:
        parts.append(f"{plural(result.stop.rows, 'row')} not sent: {result.stop.message}")
    elif result.stop.reason:
        parts.append(result.stop.message)
    summary = "; ".join(part for part in parts if part)

    if result.sent:
        rows = plural(result.sent_requests, nouns.singular, nouns.plural)
        title = f"submitted {rows}: {summary}"
    elif plan.rows:
        title = f"nothing was submitted: {summary or 'these requests are under way already'}"
    else:
        title = f"nothing to submit: {nouns.none_open_message}"
    figures = {
        "dry": dry,
        "model": run.model.name,
        "priced_on": run.model.priced_on.isoformat(),
        "rows": plan.rows,
        "requests": plan.requests,
        "batches": plan.batches,
        "tokens_in": plan.usage.prompt,
        "tokens_out": plan.usage.answer + plan.usage.thoughts,
        "estimated_cost": plan.cost,
        "control_requests": plan.control_requests,
        "control_cost": plan.control_cost,
        "equal_rows": result.equal_rows,
        "held_back": result.stop.rows if result.budget_message else 0,
        "no_room": result.rows_waiting_for_api,
        "sent": {str(number): outcome.value for number, outcome in result.sent.items()},
    }
    return Report(figures, title)


def poll_and_download_batches(run: Run, *, should_wait: bool) -> Report:
    """Download the results of batches that are over, and report failed and open batches.

    Nothing is ingested. Errors are in the report and not raised, except a refused key.

    Args:
        run: The run.
        should_wait: Poll until all submitted batches of the task are over, instead of once.
    """
    nouns = run.task.nouns
    result = RunResult()
    poll.poll_and_download_batches(run, result, should_wait=should_wait)
    figures = {
        "downloaded": result.downloaded,
        "failed": result.failed_polls,
        "waiting": result.waiting_batches,
        "gone": result.unknown_batches,
        "unclear": result.unclear_batches,
        "stopped": result.poll_error.message if result.poll_error else None,
    }
    report = Report(
        figures,
        "no batch was downloaded",
        [
            f"batch {number} failed ({reason}), its {nouns.plural} can be asked again"
            for number, reason in result.failed_polls.items()
        ],
        errors=result.list_poll_errors(nouns),
    )
    if result.downloaded or result.waiting_batches:
        downloaded = plural(len(result.downloaded), "batch", "batches")
        report.title = f"{downloaded} downloaded, {len(result.waiting_batches):,} not over yet"
    return report


def replace_held_result_if_changed(run: Run, number: int) -> Report:
    """Download the result of a held batch again, and report whether its bytes differ now.

    A different result replaces the old result. An equal result stays held.

    Args:
        run: The run.
        number: The number of the batch, of any task.
    """
    run = cancel.copy_with_task_of_batch(run, number)
    message = "the API sent another result, which replaced the old result"
    if not held_batches.replace_held_result_if_changed(run, number):
        hold_hint = held_batches.make_hold_hint(number, run.task.nouns)
        message = f"the API sent the same bytes again, so it is still held; {hold_hint}"
    return _report_batch(run, number, message)


def ingest_batches(run: Run, *, accepted_number: int | None, strict: bool) -> Report:
    """Store the answers of downloaded batches, and report each batch and its failed requests.

    The report also has the quality gates. Errors of the ingestion are in the report and not raised.

    Args:
        run: The run.
        accepted_number: Also store the replies of this held batch; its task is used.
        strict: A failed gate is an error.

    Raises:
        InputError: There is no such batch, or it is not held.
    """
    if accepted_number is not None:
        run = cancel.copy_with_task_of_batch(run, accepted_number)
        held_batches.record_held_batch_accepted(run, accepted_number)
    state = RunState(run)
    failures = run_check_and_list_error(partial(units.ingest_batches, state))
    result = state.complete_result_and_end_finished_run()
    documents = [summary.document for summary in result.ingested]
    errors = [*failures, *result.list_errors(run.task.nouns, strict=strict)]
    report = Report(
        documents,
        warnings=result.list_warnings(run.task.nouns, strict=strict),
        errors=errors,
    )
    report.notes += [
        f"quality: {quality.gates_text} ({quality.path})"
        for quality in result.quality_reports.values()
        if any(gate.passed is not None for gate in quality.gates)
    ]
    if documents:
        report.parts.append(make_table(documents, INGEST_COLUMNS))
    elif not errors:
        report.title = "nothing to ingest: no batch is downloaded"
    report.parts += make_failure_tables(result.ingested)
    return report


def cancel_batch(run: Run, number: int) -> Report:
    """Cancel a batch at the provider, or release its rows if it was never created."""
    return _report_batch(run, number, cancel.cancel_batch(run, number=number))


def _report_batch(run: Run, number: int, message: str) -> Report:
    """Report what happened to a single batch."""
    next_step = read_next_command(run.workspace, run.task, run.tasks)
    figures = {"batch": number, "said": message, "next": str(next_step or "")}
    return Report(figures, f"batch {number}: {message}", next_step=next_step)


def report_move_costs(
    run: Run,
    number: int,
    mode: Mode,
    *,
    budget_usd: float | None,
) -> Report:
    """Report the costs of moving a batch to a mode; nothing is written.

    The costs are that of the cancelled batch and that of asking its rows again in the mode. A
    budget without room does not raise: its message is the figure `refusal`, which is "" otherwise.

    Args:
        run: The run.
        number: The number of the batch, of any task.
        mode: The mode of the calls that would ask the rows again.
        budget_usd: The most that the move may spend; if None, the budget of the task's unfinished
            `tag` command.

    Raises:
        InputError: The batch does not exist, is not sent or is over, consists of live calls, or
            asked for another version than the version in use; or the budget is negative or NaN.
    """
    run = cancel.copy_with_task_of_batch(run, number)
    batch = run.workspace.store.query(batches.get_batch, number)
    cancel.check_movable(batch, nouns=run.task.nouns, version=run.version)
    run = _choose_budget(run, budget_usd)
    other_mode_usd = cancel.calculate_cost_in_mode(
        batch,
        mode,
        model=run.model,
        now=run.workspace.now(),
    )
    figures = {
        "batch": number,
        "to": mode.value,
        "requests": batch.requests,
        "cancelled_usd": batch.estimated_cost,
        "other_mode_usd": other_mode_usd,
        "refusal": cancel.find_budget_refusal_reason(run, other_mode_usd),
    }
    return Report(figures, format_members_as_line(figures, MOVE_FIELDS))


def _choose_budget(run: Run, budget_usd: float | None) -> Run:
    """Return a run with a budget: the given amount, else that of the task's unfinished `tag`.

    A given amount counts the spending from now on, that of a `tag` the spending since its start. If
    there is neither, the run keeps its budget.

    Args:
        run: The run.
        budget_usd: The given amount, or None.

    Raises:
        InputError: The amount is negative or NaN.
    """
    if budget_usd is None:
        return budget.copy_with_unfinished_tag_budget(run)
    budget.check_budget_amount(budget_usd)
    return replace(run, budget=Budget(budget_usd, run.workspace.now(), "BUDGET"))


def move_batch(
    run: Run,
    number: int,
    mode: Mode,
    *,
    budget_usd: float | None,
) -> Report:
    """Cancel a batch, wait until it is over, and ask its unanswered rows in a mode.

    Answers that the batch has when it is over are stored. Before anything is changed, the costs of
    the cancelled batch and of asking its rows again are printed and confirmed. The rows are not
    synced with their source. If this command was stopped, the same command continues. If no row of
    the batch is open, only the report is returned.

    Args:
        run: The run.
        number: The number of the batch, of any task.
        mode: The mode of the calls that ask the rows again.
        budget_usd: The most that this command may spend; if None, the budget of the task's
            unfinished `tag` command.

    Raises:
        InputError: The batch cannot be moved, or nobody confirmed; nothing was changed.
        BudgetError: A budget has no room for the other mode; nothing was changed.
        MissingError: The API does not know the batch; it was not changed.
        AskrowsError: A step was stopped; the same command continues.
    """
    run = cancel.copy_with_task_of_batch(run, number)
    units.recover_task(run)
    run = _choose_budget(run, budget_usd)
    store = run.workspace.store
    batch = store.query(batches.get_batch, number)
    cancel.check_movable(batch, nouns=run.task.nouns, version=run.version)

    state = RunState(run, batch_number=number)
    if batch.state is BatchState.SUBMITTED:
        cancel.confirm_and_cancel_for_move(run, batch, mode)
    drive(state, should_send=False)
    poll_errors = state.result.list_poll_errors(run.task.nouns)
    if poll_errors:
        raise poll_errors[0]
    row_ids = store.query(cancel.list_open_row_ids_of_batch, run.task, number)
    if row_ids:
        run.workspace.display.say(
            f"batch {number}: asking its other {plural(len(row_ids), 'row')} by {mode}"
        )
        if batch.state is not BatchState.SUBMITTED:
            cancel.check_budget_and_confirm_move(run, batch, mode)
        state.row_ids = row_ids
        state.batch_number = None
        if mode is Mode.BATCH:
            units.submit_rows(state)
        else:
            units.ask_open_rows_by_calls(state, mode)

    result = state.complete_result_and_end_finished_run()
    with store.read() as tx:
        batch = batches.get_batch(tx, number)
        open_count = len(cancel.list_open_row_ids_of_batch(tx, run.task, number))
    figures = {
        "batch": number,
        "to": mode.value,
        "state": batch.state.value,
        "remote_state": batch.remote_word,
        "requests": batch.requests,
        "kept": batch.answered or 0,
        "answered": result.answered_by_calls,
        "submitted": result.created_batches,
        "left": open_count,
        "spent": result.spent,
    }
    fields = format_members_as_line(
        figures,
        f"batch state rows=requests answered=kept answered_by_{mode}=answered "
        "asked_in_batches=submitted still_open=left",
    )
    errors = result.list_errors(run.task.nouns)
    if result.budget_message and result.stop.error is not None:
        errors.append(result.stop.error)
    warnings = result.list_warnings(run.task.nouns)
    return Report(
        figures,
        f"batch is over: {fields}",
        warnings=warnings,
        errors=errors,
    )
