"""Do the due units of tasks, once or until a signal: for cron, for a scheduler, for machines.

- Any number of processes on any number of hosts may do units of one workspace at the same time, and
  die at any moment.
- A unit that fails does not prevent the others.
- A row is due if its last live call failed or was postponed. A due row is asked alone and at once,
  and other open rows are asked by batch.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, NoReturn

from askrows.pipeline.batch import budget
from askrows.pipeline.batch.batch_plan import Selection
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunStop, StopReason
from askrows.pipeline.core.errors import AccountError, AskrowsError
from askrows.pipeline.core.progress import NoProgress
from askrows.pipeline.core.report import Report, warn_of_errors
from askrows.pipeline.core.states import OPEN_STATES, BatchState, Mode
from askrows.pipeline.core.text import plural
from askrows.pipeline.index import build
from askrows.pipeline.run import live, units
from askrows.pipeline.run.run_state import RunState
from askrows.pipeline.run.snapshot import read_snapshot
from askrows.pipeline.store.workspace import read_workspace
from askrows.pipeline.tasks import claiming

# Names of the units, in the order in which they run.
UNIT_NAMES = (
    "poll",
    "ingest",
    "fill",
    "ask",
    "submit",
    "index",
)
ASKING_UNITS = frozenset({"fill", "submit", "ask"})
# Bounds of the pause between two passes of one process.
MIN_PASS_PAUSE_S = 1.0
MAX_PASS_PAUSE_S = 60.0
# JSON members for the reasons for which a pass leaves rows open.
STOP_MEMBERS = {
    StopReason.BUDGET: "out_of_money",
    StopReason.NO_PILOT: "no_pilot",
    StopReason.OUTAGE: "outage",
}

# Opens the workspace for a task.
WorkspaceOpener = Callable[[str], AbstractContextManager[Run]]


def do_due_units(
    run: Run,
    unit_names: Collection[str] = UNIT_NAMES,
    *,
    number: int | None = None,
) -> RunState:
    """Do the due units of the task in use once, within budgets and the agreed cost.

    The order is:

    1. Poll and ingest batches.
    2. Sync the rows and clear up after dead processes. If this fails, or if requests failed because
       of the account, nothing is asked or sent.
    3. Ask due rows by live calls, or else continue an unfinished `tag` in the mode decide; submit
       batches.
    4. Build a stale index, and complete the result.

    Errors of units are not raised: they are in the state. Errors of failed gates are added to them
    only if the gates stop open rows; otherwise they are printed. The budget is that of the task's
    unfinished `tag`. If this `tag` has a start in the future, the start is corrected in the
    database.

    Args:
        run: The run.
        unit_names: Do only these units.
        number: Do only units of this batch, or all if None. If it is set, the result is completed
            only for "ingest", and quality reports are written only with the last open batch.
    """
    budget.reset_future_tag_start(run.workspace.store, run.task, now=run.workspace.now)
    state = RunState(
        budget.copy_with_unfinished_tag_budget(run),
        batch_number=number,
        has_quality_reports=number is None,
    )

    if "poll" in unit_names and state.list_batches(*budget.API_STATES):
        with _keep_error(state):
            units.poll_and_download_batches(state, should_wait=False)
        # The next submission clears up unclear creates.
        state.result.unclear_batches = []
        state.errors += state.result.list_poll_errors(run.task.nouns)
    if "ingest" in unit_names and state.list_batches(BatchState.DOWNLOADED):
        with _keep_error(state):
            units.ingest_batches(state)
        # If units are about single batches, the last batch writes the quality report.
        state.has_quality_reports = number is None or not state.list_batches(*OPEN_STATES)
        state.errors += state.result.held_errors
    state.errors += state.result.list_batch_errors(run.task.nouns)

    if ASKING_UNITS & set(unit_names) and _sync_and_recover(
        state, should_sync="fill" in unit_names
    ):
        if "ask" in unit_names:
            with _keep_error(state):
                _ask_due_rows(state)
        if "submit" in unit_names:
            with _keep_error(state):
                _submit_open_rows(state)
    if "index" in unit_names:
        with _keep_error(state):
            # A build may need calls to embed texts.
            synced = state.run
            if units.restore_index_link_and_detect_stale(synced, exact=True):
                state.index_report = build.build_index(
                    synced.workspace, synced.service, synced.task
                )

    if number is None or "ingest" in unit_names:
        with _keep_error(state):
            state.complete_result_and_end_finished_run()
    if state.result.is_stopped_by_gate:
        state.errors += state.result.gate_errors
    else:
        warn_of_errors(state.result.gate_errors, run.workspace.display)
    return state


@contextlib.contextmanager
def _keep_error(state: RunState) -> Iterator[None]:
    """Add an AskrowsError of a `with` block to the errors of the pass, instead of raising it."""
    try:
        yield
    except AskrowsError as error:
        state.errors.append(error)


def _sync_and_recover(state: RunState, *, should_sync: bool) -> bool:
    """Sync the rows if asked for, and clear up after dead processes in any case.

    An error is kept in the state, not raised.

    Returns:
        Whether rows may be asked: not after such an error, or after an error of the account.
    """
    with _keep_error(state):
        if should_sync:
            state.run = state.run.sync_task()
            state.result.version = state.run.version
        units.recover_task(state.run)
        return not any(isinstance(error, AccountError) for error in state.errors)
    return False


def _ask_due_rows(state: RunState) -> None:
    """Ask due rows by live calls; if no row is due, continue an unfinished `tag` of decisions.

    A row is due if its last live call failed or was postponed, so that it must be asked again.
    Does nothing if there is neither. An error that stops the calls is added to the errors. A
    used-up budget is no error: it is the reason in the result, with the number of open rows.

    Raises:
        KeyboardInterrupt: The calls were interrupted.
    """
    run = state.run
    result = state.result
    store = run.workspace.store
    due_ids = store.query(claiming.find_due_ids, run.task)
    if due_ids:
        result.has_calls = True
        units.ask_single_rows(run, result, due_ids)
    elif store.query(units.is_decide_run_open, run.task):
        live.ask_rows(run.copy_with_mode(Mode.DECIDE), Selection(), result, NoProgress())
        if result.is_interrupted:
            raise KeyboardInterrupt
        if result.budget_message:
            open_count = store.query(claiming.count_claimable, run.task)
            result.stop = RunStop(StopReason.BUDGET, result.budget_message, open_count)
    if result.calls_error is not None:
        state.errors.append(result.calls_error)


def _submit_open_rows(state: RunState) -> None:
    """Prepare open rows within the budget, and send prepared batches.

    A pass for a single batch prepares no new rows. If a pilot is missing or failed, no new rows are
    prepared, and the result has the reason. An unfinished `tag` that asks a decision model leaves
    no new rows to batches. If the run has no agreed cost and the price is above CONFIRM_ABOVE,
    a person at the terminal must confirm it, and without a person this is an error. A used-up
    budget is no error: it is the reason in the result, and the next pass submits what the budget
    allows. In the pause of an outage nothing is sent, and the result has the reason; only unclear
    creates are resolved.

    Raises:
        AskrowsError: A batch could not be sent, or the price was not confirmed.
    """
    run = state.run
    result = state.result
    with run.workspace.store.read() as tx:
        askable_count = 0
        if not units.is_decide_run_open(tx, run.task):
            askable_count = claiming.count_claimable(tx, run.task)
        may_ask = units.is_pilot_clear(tx, run)
        outage_reason = units.find_outage_reason(tx, run)

    # Batches of the pilot itself go on; new rows wait for a person.
    pilot_stop = RunStop()
    if askable_count and not may_ask:
        message = f"no pilot of {run.version} has passed its gates"
        pilot_stop = RunStop(StopReason.NO_PILOT, message, askable_count)
        result.stop = pilot_stop
    has_new_rows = bool(askable_count) and may_ask and state.batch_number is None
    if not has_new_rows:
        state.stop_asking()
        if not state.list_batches(BatchState.PREPARED, BatchState.SUBMITTING):
            return

    if outage_reason and not state.list_batches(BatchState.SUBMITTING):
        prepared_batches = state.list_batches(BatchState.PREPARED)
        prepared_count = sum(batch.requests for batch in prepared_batches)
        waiting_count = askable_count + prepared_count
        result.stop = RunStop(StopReason.OUTAGE, outage_reason, waiting_count)
        return

    # If no cost is agreed, all rows are counted, to ask a person about the price.
    is_agreed = not has_new_rows or run.agreed_usd is not None
    units.submit_rows(state, is_confirmed=is_agreed)
    if result.stop.reason is None:
        result.stop = pilot_stop
    elif not result.stop.rows:
        result.stop = replace(result.stop, rows=askable_count)


def make_report(state: RunState) -> Report:
    """Return the report of a pass: the line of its task, its figures with `did`, and its errors.

    The line is empty only if nothing was done and nothing waits. Figures that are 0 or empty are
    left out, except `did` and, after a submission, `submitted`.
    """
    result = state.result
    did = _describe_units(state)
    phrases = list(did)
    if result.stop.rows and result.stop.reason is StopReason.API_FULL:
        phrases.append(f"{result.stop.rows:,} wait until the API accepts more")
    elif result.stop.rows and result.stop.reason in STOP_MEMBERS:
        phrases.append(f"{result.stop.rows:,} not asked: {result.stop.message}")

    members: dict[str, Any] = {
        "downloaded": result.downloaded,
        "waiting": result.waiting_batches,
        **result.shared_members,
    }
    if result.has_calls:
        members["retried"] = {
            "answered": result.answered_by_calls,
            "failed": result.failed.total(),
        }
    if result.stop.reason in STOP_MEMBERS:
        members["left"] = result.stop.rows
        members[STOP_MEMBERS[result.stop.reason]] = result.stop.message
    figures = {name: figure for name, figure in members.items() if figure}
    if state.has_submitted:
        outcomes = result.sent.items()
        figures["submitted"] = {str(number): outcome.value for number, outcome in outcomes}

    line = "; ".join(phrases)
    title = f"{state.run.task.subject}: {line}" if line else ""
    return Report({"did": did, **figures}, title, errors=state.errors)


def _describe_units(state: RunState) -> list[str]:
    """Return a phrase about each effect of the units of a pass; effects of 0 are left out."""
    nouns = state.run.task.nouns
    result = state.result

    def count_batches(numbers: Collection[object]) -> str:
        return plural(len(numbers), "batch", "batches")

    answered_in_batches = sum(summary.answered_rows for summary in result.ingested)
    effects = (
        (result.downloaded, f"{count_batches(result.downloaded)} downloaded"),
        (
            result.ingested,
            f"{answered_in_batches:,} {nouns.answered} in {count_batches(result.ingested)}",
        ),
        (result.failed_batches, f"{count_batches(result.failed_batches)} failed"),
        (result.answered_by_calls, f"{result.answered_by_calls:,} {nouns.answered} by calls"),
        (
            result.sent_requests,
            f"{result.sent_requests:,} submitted in {count_batches(result.created_batches)}",
        ),
        (result.parked, f"{result.parked:,} parked"),
    )
    phrases = [phrase for effect, phrase in effects if effect]
    index_report = state.index_report
    if index_report is not None:
        texts = plural(index_report.embedded, "text")
        entries = plural(index_report.count, "entry", "entries")
        phrases.append(f"{texts} embedded, index built with {entries}")
        if index_report.refused:
            phrases.append(index_report.describe_refused_texts(state.run.workspace, state.run.task))
    return phrases


def _list_slow_batches(state: RunState) -> list[str]:
    """Return a line about each batch that waits unusually long at the API; none of the engine."""
    run = state.run
    with read_snapshot(run.workspace, run.task, run.tasks) as snapshot:
        return [
            f"batch {progress.number} waits: {note}"
            for progress in snapshot.task_runs
            if (note := progress.describe_slow_wait())
        ]


def do_pass(
    open_workspace: WorkspaceOpener,
    names: Sequence[str],
    unit_names: Collection[str],
) -> tuple[Report, float]:
    """Do the due units of each task once; if a task cannot be opened, the others are still done.

    A unit is a step such as "ask", "poll" batches or build the "index"; see `units`. It is due if
    the database shows that it has something to do now. Errors of askrows (AskrowsError) are not
    raised: they are in the report.

    Args:
        open_workspace: Opens the workspace for a task.
        names: Names of the tasks.
        unit_names: Do only these units.

    Returns:
        The report, with all effects, errors and batches that wait long at the API, and the seconds
        until the next of these units is due, at most MAX_PASS_PAUSE_S. A task of which a unit
        failed is left out of these seconds, so that the failed unit is not repeated at once.
    """
    total = start_report()
    pause_s = MAX_PASS_PAUSE_S
    for name in names:
        try:
            with open_workspace(name) as run:
                state = do_due_units(run, unit_names)
                next_units = list(units.list_units(state.run))
                slow_notes = _list_slow_batches(state)
        except AskrowsError as error:
            add_report(total, Report({"did": []}, errors=[error]))
            continue

        report = make_report(state)
        if slow_notes:
            report.figures["slow"] = slow_notes
            slow_lines = [f"{name}: {note}" for note in slow_notes]
            report.title = "; ".join(filter(None, (report.title, *slow_lines)))
        add_report(total, report, task=name)
        total.figures["next"] += [unit.json_members for unit in next_units]
        # After a failure the next pass waits as long as possible.
        if not state.errors:
            pauses_s = [unit.in_s for unit in next_units if unit.name in unit_names]
            pause_s = min([pause_s, *pauses_s])
    return total, pause_s


def describe_location(run: Run) -> dict[str, str]:
    """Return the JSON members that name the workspace of a run."""
    store = run.workspace.store
    return {
        "workspace": str(run.workspace.data.absolute()),
        "database": store.display_name,
        "workspace_id": store.query(read_workspace).workspace_id,
    }


def start_report() -> Report:
    """Return the report of work that has done nothing yet."""
    return Report({"did": [], "failures": [], "tasks": {}, "next": []})


def add_report(total: Report, report: Report, *, task: str = "") -> None:
    """Add the report of units, or of an error, to the report of all work.

    Args:
        total: The report of all work.
        report: The report to add. Its member `did` is removed.
        task: The task of the units; "" if it could not be opened.
    """
    figures = report.figures
    total.figures["did"] += figures.pop("did")
    total.figures["failures"] += [str(error) for error in report.errors]
    if task:
        total.figures["tasks"].setdefault(task, {}).update(figures)
    total.title = "; ".join(filter(None, (total.title, report.title)))
    total.errors = [*total.errors, *report.errors]


def repeat_passes_until_account_error(
    open_workspace: WorkspaceOpener,
    names: Sequence[str],
    unit_names: Collection[str],
    on_report: Callable[[Report], object],
) -> NoReturn:
    """Do passes until an error of the account, each at the time at which the next unit is due.

    The pause after a pass is the one that `do_pass` returns, but at least MIN_PASS_PAUSE_S seconds.

    Args:
        open_workspace: Opens the workspace for a task.
        names: Names of the tasks.
        unit_names: Do only these units.
        on_report: Called with the report of each pass, also before an error is raised.

    Raises:
        AccountError: Requests failed because of the account, so that others would fail, too.
    """
    while True:
        report, pause_s = do_pass(open_workspace, names, unit_names)
        on_report(report)
        for error in report.errors:
            if isinstance(error, AccountError):
                raise error
        time.sleep(max(MIN_PASS_PAUSE_S, pause_s))
