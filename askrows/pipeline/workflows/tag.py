"""Ask about all open rows, live or by batch: estimate, confirm, then ask within a budget.

- A killed command resumes: its run in `askrows_runs` has the budget, the version and the start
  time. The run stays unfinished until no row is open or the budget is used up.
- A pilot asks about a small random sample, whose answers are checked against the gates before the
  other rows are asked. A killed pilot resumes.
- The mode decide asks a decision model about the fields, which all have a fixed choice.
- A row is marked if a person asked for it again; see `store.again`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from askrows.pipeline.batch import ingest
from askrows.pipeline.batch.batch_plan import BatchPlan
from askrows.pipeline.batch.budget import (
    check_budget_amount,
    copy_with_unfinished_tag_budget,
    reset_future_tag_start,
)
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult, TagReport
from askrows.pipeline.batch.submit import sum_stored_batches
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.report import Report
from askrows.pipeline.core.row_listing import RowFilter
from askrows.pipeline.core.settings import Budget
from askrows.pipeline.core.states import OPEN_STATES, Mode
from askrows.pipeline.core.text import format_usd, plural
from askrows.pipeline.ops import status
from askrows.pipeline.quality import pilot
from askrows.pipeline.run import preflight
from askrows.pipeline.run.drive import drive
from askrows.pipeline.run.pilot_run import run_pilot_if_blocked
from askrows.pipeline.run.run_state import RunState
from askrows.pipeline.run.units import (
    ask_open_rows_by_calls,
    is_decide_run_open,
    submit_rows,
    sync_and_recover_task,
)
from askrows.pipeline.store import answers, runs
from askrows.pipeline.store.task_record import belongs_to_version
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.task_values import AskedRows

MODES = ("auto", *(mode.value for mode in Mode if mode.facts.claims_rows))


@dataclass(frozen=True)
class TagOptions:
    """The options of the command `tag`."""

    # One of MODES.
    mode: str = "auto"
    # Ask at most this many rows, or None for all.
    limit: int | None = None
    # Most that the run may spend, in USD.
    budget: float | None = None
    deadline_s: float | None = None
    # Wait for batches. The batches of a pilot are waited for in any case.
    wait: bool | None = None
    # Ask and judge this many rows before the rest.
    pilot: int | None = None
    # Waive a pilot that would stop the rest.
    skip_pilot: bool = False
    # Ask only the rows of this condition, and only the row with this key.
    where: str = ""
    row_key: str | None = None
    # True marks answered rows first, so that they are asked again. False takes marks back.
    again: bool | None = None
    # Who marks the rows.
    who: str = ""
    # Also ask answered rows whose input changed.
    refresh: bool = False
    # If the task needs a pilot, one must have passed. The cost is always confirmed.
    needs_pilot: bool = False

    def __post_init__(self) -> None:
        """Raise for invalid options, which would otherwise ask about all rows or about none.

        Raises:
            InputError: The mode does not exist, the limit is below 1, a pilot is combined with the
                mode decide, or the budget is negative or NaN.
        """
        if self.mode not in MODES:
            raise InputError(
                f"there is no mode {self.mode!r}; nothing was asked",
                hint=f"modes: {', '.join(MODES)}",
            )
        if self.limit is not None and self.limit < 1:
            raise InputError(
                f"limit is {self.limit}, but must be 1 or more; nothing was asked",
                hint=f"without {OptionHint('limit')} all rows are asked",
            )
        if self.mode == Mode.DECIDE and self.pilot is not None:
            raise InputError(
                "a pilot has no decisions; nothing was asked",
                hint=f"{OptionHint(limit=20)} asks about a few rows",
            )
        if self.budget is not None:
            check_budget_amount(self.budget)


def tag_rows(run: Run, options: TagOptions) -> TagReport:
    """Ask about every open row; print estimate, mode and reason before anything is spent.

    The steps are: sync the rows, take over the budget of an unfinished `tag`, check or run the
    pilot, estimate, confirm, record the run, and ask in the chosen mode. With `where`, only the
    rows of the condition are asked; with `refresh`, changed rows, too. An unfinished run in the
    mode decide continues in this mode, unless the options have a mode.

    If there is no open row, no open batch and no unfinished pilot to continue, no run is recorded
    and nothing is asked. A recorded run is ended if no row can be asked any more, or if its limit
    or budget is used up. Errors of live calls and of polls are not raised: they are in the report.
    Errors of the other steps, such as sending a batch, are.

    Raises:
        InputError: The task has no rows, or the estimate was not confirmed; nothing was started.
        GateError: A pilot failed, is not over, or is required and missing; answers are stored.
        RemoteError, ConfigurationError: Another step failed; finished steps are kept.
    """
    open_work = status.describe_continuable_runs(run.workspace, run.task, run.tasks)
    run = run.copy_with_asked_rows(AskedRows(has_changed=options.refresh))
    run = sync_and_recover_task(run)
    run.announce_placeholders()
    if options.mode == "auto" and run.workspace.store.query(is_decide_run_open, run.task):
        run.workspace.display.say("continuing with decisions, as the run began")
        options = replace(options, mode=Mode.DECIDE.value)

    run = select_rows(run, options)
    asking_run = _check_mode_and_marks(run, options)
    return _tag_open_rows(asking_run, options, open_work)


def _check_mode_and_marks(run: Run, options: TagOptions) -> Run:
    """Return the run that asks in the mode of the options; announce rows to be marked.

    Raises:
        InputError: The task cannot be asked in this mode, or no row can be asked again.
    """
    if options.again:
        _check_and_print_rows_to_mark(run)
    if options.mode == Mode.DECIDE:
        return run.copy_with_mode(Mode.DECIDE)
    return run


def select_rows(run: Run, options: TagOptions) -> Run:
    """Return a run that asks only the rows of the options: by condition, by key, and if changed.

    Nothing is asked or written here.

    Raises:
        InputError: The condition is invalid, no row has the key, or `again` has neither.
    """
    with run.workspace.store.read() as tx:
        row_filter = RowFilter(where=options.where)
        if options.row_key is not None:
            row_filter = RowFilter(
                where=options.where, ids=[run.task.require_row_id(tx, options.row_key)]
            )
        # An invalid condition is refused before anything is written.
        grid = run.task.make_grid(tx)
        grid.make_row_conditions(tx, row_filter)
    if options.again and row_filter == RowFilter():
        raise InputError(
            f"{OptionHint(again=True)} needs {OptionHint('where')} or {OptionHint('row')}; "
            "nothing was asked",
            hint=f"{OptionHint(where='…')} names the rows to ask again",
        )
    return run.copy_with_asked_rows(AskedRows(row_filter, has_changed=options.refresh))


def estimate_rows(run: Run, options: TagOptions) -> preflight.Preflight:
    """Sync the rows, and return the estimates of all modes; ask and mark nothing.

    Before the estimate, the replies of live runs whose process died are ingested. If the local
    engine would answer, the result also has the estimate for Gemini's model as `with_key`. If that
    estimate cannot be made, a warning is printed instead.

    Raises:
        InputError: The task has no rows, a request cannot be sent, or the options are invalid; see
            `select_rows`.
    """
    run = run.copy_with_asked_rows(AskedRows(has_changed=options.refresh)).sync_task()
    run = select_rows(run, options)
    ingest.ingest_live_batches_of_dead_processes(run)
    # A dry run ends with the errors of the real run.
    _check_mode_and_marks(run, options)
    run = run.copy_with_asked_rows(replace(run.task.asked_rows, will_mark=bool(options.again)))
    estimate_open = partial(
        preflight.estimate_rows, limit=options.limit, deadline_s=options.deadline_s
    )
    estimate = estimate_open(run)
    if not estimate.plan.rows:
        run.check_has_rows()
        return estimate
    return preflight.add_gemini_estimate(run, estimate, estimate_open)


def take_marks_back(run: Run, options: TagOptions) -> Report:
    """Take back the marks of rows that were not asked yet, and report their number.

    Raises:
        InputError: The condition is invalid, or no row has the key.
    """
    run = select_rows(run, options)
    with run.workspace.store.write() as tx:
        count = claiming.unmark_rows(tx, run.task, run.task.asked_rows.row_filter)
    rows = plural(count, run.task.nouns.singular, run.task.nouns.plural)
    return Report({"marks": count}, f"{rows} will not be asked again")


def _check_and_print_rows_to_mark(run: Run) -> None:
    """Print how many rows will be marked, and warn if their new answers will not be shown.

    Raises:
        InputError: No row can be asked again.
    """
    row_filter = run.task.asked_rows.row_filter
    report = run.workspace.store.query(
        claiming.count_rows_by_effect_of_asking_again, run.task, row_filter
    )
    if not (report.markable or report.already_marked or report.asked_already):
        raise InputError(
            f"no row can be asked again: {report.describe()}; nothing was asked",
            hint=f"`{run.task.nouns.command('items', where=row_filter.where or None)}` lists rows",
        )
    run.workspace.display.say(report.describe())
    first_version = next(iter(run.task.preferred_versions), run.task.prompt_version)
    if not belongs_to_version(run.version, first_version):
        run.workspace.display.warn(
            f"{OptionHint('prefer_versions')} puts {first_version} first: if it has an answer to a "
            f"row, the new answer of {run.version} is stored and not shown"
        )


def _tag_open_rows(
    run: Run,
    options: TagOptions,
    open_work: Sequence[str],
) -> TagReport:
    """Ask about the open rows of a task that is synced already, as a run.

    The budget of an unfinished `tag` is taken over, the pilot checked, the estimate printed and
    confirmed, and the run recorded. Then the rows are asked in the mode of the options, and the run
    is ended in the database if it is over (see `_is_run_over`). If there is nothing to ask, no open
    batch and no unfinished pilot to continue, only the report is returned.

    Args:
        run: The run.
        options: The options of the command.
        open_work: Descriptions of the batches and runs that were open when the command started.

    Raises:
        AskrowsError: The cost was not confirmed, a pilot blocks the rows, or a step failed.
    """
    run, started_at = _choose_budget_and_correct_start(run, options)
    store = run.workspace.store
    report = TagReport(run.version)
    state = RunState(run, limit=options.limit, result=report)
    state.started_at = started_at
    if options.pilot is None and not options.skip_pilot:
        store.query(
            pilot.check_pilot_allows_open_rows,
            run.task,
            run.version,
            is_required=options.needs_pilot and run.task.needs_pilot,
        )

    # A held batch waits for a person, so it does not choose the mode of other rows.
    open_batches = [batch for batch in state.list_batches(*OPEN_STATES) if not batch.is_held]
    # Rows are marked after the confirmation, but the estimate contains them.
    asked_rows = replace(run.task.asked_rows, will_mark=bool(options.again))
    estimate = preflight.estimate_rows(
        run.copy_with_asked_rows(asked_rows),
        limit=options.limit,
        deadline_s=options.deadline_s,
        is_pilot_waived=options.skip_pilot,
    )
    report.asked = estimate.plan.rows
    is_pilot_begun = options.pilot is not None and store.query(
        pilot.is_newest_pilot_unfinished, run.version
    )
    if not (report.asked or open_batches or is_pilot_begun):
        state.complete_result_and_end_finished_run()
        return report

    report.mode, report.reason = _choose_mode(
        estimate, options, has_open_batches=bool(open_batches)
    )
    report.expected = estimate.plan
    if report.mode == Mode.BATCH:
        report.expected += sum_stored_batches(open_batches)
    _print_tag_estimate(run, options, estimate, report, open_work)

    # A person is asked in any case about all rows of a task that needs a pilot, about asking
    # answered rows again, and if the mode was chosen automatically and is not the cheapest mode.
    is_dear = options.mode == "auto" and estimate.is_dear
    run.confirm_cost(
        estimate.sent_cost(report.mode),
        unchanged_text="nothing was started",
        always_ask=(
            is_dear or bool(options.again) or (options.needs_pilot and estimate.plan.rows > 0)
        ),
        hint_suffix=f", and so does {OptionHint(mode='live')}" if is_dear else "",
    )
    if options.skip_pilot:
        pilot.waive_pilot_if_needed(
            store,
            run.task,
            version=run.version,
            now=run.workspace.now,
        )
    run_number = _begin_or_continue_run(run, options, estimate.plan, started_at=started_at)

    _ask_in_chosen_mode(state, options, report)
    state.complete_result_and_end_finished_run()
    if _is_run_over(report, options):
        reason = report.budget_message or "nobody is left"
        with store.write() as tx:
            runs.record_run_end(
                tx,
                run_number,
                reason=reason,
                now=run.workspace.now(),
            )
    return report


def _print_tag_estimate(
    run: Run,
    options: TagOptions,
    estimate: preflight.Preflight,
    report: TagReport,
    open_work: Sequence[str],
) -> None:
    """Print resumed work, the rows to send with mode and cost, and answered rows.

    If nothing is to be sent, the line about the rows is left out. Then warnings are printed. The
    last line has the number of rows that the version in use answered before, and their past cost.
    It is left out if answered rows are asked again.

    Args:
        run: The run.
        options: The options of the command.
        estimate: The estimate of the open rows.
        report: The report, with mode and reason.
        open_work: Descriptions of the batches and runs that were open when the command started.
    """
    display = run.workspace.display
    for description in open_work:
        display.say(f"continuing {description}")

    plan = estimate.sent_plan
    if plan.rows:
        cost_text = f"estimated {format_usd(estimate.sent_cost(report.mode))}"
        rows_text = plan.describe_rows(run.task.nouns)
        plan_text = f"{rows_text}, {report.mode} mode, {cost_text}; {report.reason}"
        if not plan.requests:
            plan_text = f"{rows_text}; the answers of equal {run.task.nouns.plural} are copied"
        display.say(f"{run.model.name}: {plan_text}")
    for warning in estimate.mode_estimates[report.mode].warnings:
        display.warn(warning)

    if options.again:
        return
    with run.workspace.store.read() as tx:
        table = run.task.rows
        has_version = answers.is_answered(run.task.name, table.row_id, run.version)
        answered_count = table.count_rows_by_state(tx, has_version).answered
        if answered_count:
            paid_usd = answers.sum_cost_of_version(tx, run.task.name, run.version)
            display.say(
                f"{answered_count:,} answered before, not asked again ({format_usd(paid_usd)})",
            )


def _choose_mode(
    estimate: preflight.Preflight, options: TagOptions, *, has_open_batches: bool
) -> tuple[str, str]:
    """Return the mode of a run, and the reason for it.

    The first rule that applies decides:

    1. A requested mode is used.
    2. If no row is open, it is batch, which collects the open batches.
    3. If batches are open, it is batch if no request can be sent: the open rows get answers of
       equal rows, or no mode is recommended, because a person must decide first.
    4. If a mode is recommended, it is that mode.
    5. It is batch.

    Args:
        estimate: The estimate of the open rows.
        options: The options of the command.
        has_open_batches: Batches of the task are open; held batches do not count.
    """
    if options.mode != "auto":
        return options.mode, f"{OptionHint(mode=options.mode)}"
    has_no_sendable_request = estimate.recommended is None or not estimate.plan.requests
    if not estimate.plan.rows or (has_open_batches and has_no_sendable_request):
        return "batch", "open batches are continued"
    return estimate.recommended or "batch", estimate.reason


def _choose_budget_and_correct_start(run: Run, options: TagOptions) -> tuple[Run, datetime]:
    """Return a run with the run's budget, and the time since which its spending counts.

    The budget is that of the options, else that of the unfinished `tag` run, which is printed. If
    there is neither, the run keeps its budget. The time is the start of the unfinished run, or
    now without one. If its start is in the future, it is corrected in the database.

    Args:
        run: The run.
        options: The options of the command.
    """
    reset_future_tag_start(run.workspace.store, run.task, now=run.workspace.now)
    unfinished_run = run.workspace.store.query(runs.find_unfinished_tag_run, run.task.name)
    started_at = run.workspace.now() if unfinished_run is None else unfinished_run.started_at
    if options.budget is not None:
        return replace(run, budget=Budget(options.budget, started_at, "BUDGET")), started_at
    if unfinished_run is not None and unfinished_run.budget is not None:
        hint = OptionHint(budget=f"{unfinished_run.budget:g}")
        run.workspace.display.say(
            f"continuing the run of {started_at:%Y-%m-%d %H:%M} UTC with {hint}"
        )
    return copy_with_unfinished_tag_budget(run), started_at


def _begin_or_continue_run(
    run: Run, options: TagOptions, plan: BatchPlan, *, started_at: datetime
) -> int:
    """Record a new run, or continue the unfinished run of the task; return the run's number.

    A continued run keeps its number and start. It gets the version in use, the skipped versions,
    the counts of the plan, and the budget of the options if they have one. With `again`, the rows
    are marked in the same transaction.

    Args:
        run: The run.
        options: The options of the command.
        plan: The requests that the command will make, and the rows that they cover.
        started_at: The time since which the spending of a new run counts.
    """
    skipped_versions = run.task.skipped_versions
    columns: dict[str, Any] = {
        "version": run.version,
        "requests": plan.requests,
        "rows": plan.rows,
        "skips": None if skipped_versions is None else json.dumps(list(skipped_versions)),
    }
    if options.budget is not None:
        columns["budget"] = options.budget
    with run.workspace.store.write() as tx:
        if options.again:
            row_filter = run.task.asked_rows.row_filter
            claiming.mark_to_ask_again(
                tx,
                run.task,
                row_filter,
                who=options.who,
                now=run.workspace.now(),
            )
        unfinished_run = runs.find_unfinished_tag_run(tx, run.task.name)
        if unfinished_run is not None:
            runs.update_run_columns(tx, unfinished_run.number, **columns)
            return unfinished_run.number
        return runs.insert_run(tx, started_at=started_at, task=run.task.name, **columns)


def _ask_in_chosen_mode(state: RunState, options: TagOptions, report: TagReport) -> None:
    """Ask the open rows in the mode of the report; the state's result gets the figures.

    A pilot runs before, if `options.pilot` has a size. In mode batch the rows are submitted; with
    `wait` the batches are polled and ingested until the end. In other modes the rows are asked by
    calls; with `wait` the open batches are collected then, unless the calls were interrupted. The
    reason for which the calls stopped stays that of the report, unless the API is down then.

    Raises:
        GateError: The pilot failed.
        RemoteError, ConfigurationError, InputError: Another step failed, such as sending a batch.
    """
    if options.pilot is not None:
        report.pilot = run_pilot_if_blocked(state.run, size=options.pilot, limit=options.limit)
        if report.pilot is not None:
            report.ingested += report.pilot.ingested
            report.polled |= report.pilot.polled

    if report.mode != Mode.BATCH:
        ask_open_rows_by_calls(state, Mode(report.mode))
        open_batches = state.list_batches(*OPEN_STATES)
        if options.wait and open_batches and not report.is_interrupted:
            # The loop resets the reason for which the calls stopped.
            calls_stop = report.stop
            state.stop_asking()
            report.expected = sum_stored_batches(open_batches)
            drive(state)
            if calls_stop.reason and not report.is_down:
                report.stop = calls_stop
    elif options.wait:
        drive(state)
    else:
        submit_rows(state, should_report_full_api=False)


def _is_run_over(result: RunResult, options: TagOptions) -> bool:
    """Return whether nothing is left to do for a `tag` run, so that it ends in the database.

    The first rule that applies decides:

    1. It goes on if rows are in batches, if rows wait for room at the API, or if calls left rows
       for another reason than the budget.
    2. It ends if no row is open, if the budget is used up, or if the command had a limit: all rows
       up to the limit were asked then.
    """
    is_cut_off = result.unasked and not result.budget_message
    if result.under_way or result.rows_waiting_for_api or is_cut_off:
        return False
    return bool(result.budget_message) or options.limit is not None or not result.left
