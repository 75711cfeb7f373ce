"""Units, the steps of a task that any process can take: list those that are due, and do one.

- A unit is the next step of a batch ("submit", "poll", "ingest"), or "ask", "submit", "wait",
  "fill" or "index" for the task. `list_units` alone decides what is next.
- It takes its lock and makes guarded state changes, and does nothing if another process was first.
  So any number of processes on any number of hosts may do units of one workspace at the same time,
  and die at any moment.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from askrows.pipeline.batch import budget, ingest, poll, send, submit
from askrows.pipeline.batch.batch_files import make_batch_lock_name
from askrows.pipeline.batch.batch_plan import Selection
from askrows.pipeline.batch.held_batches import HeldBatchError
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult, RunStop, StopReason
from askrows.pipeline.core.errors import AskrowsError
from askrows.pipeline.core.progress import NoProgress
from askrows.pipeline.core.states import OPEN_STATES, BatchState, Mode, parse_remote_state
from askrows.pipeline.core.text import describe_requests
from askrows.pipeline.index.builds import correct_link_and_open_builds, count_stale_entries
from askrows.pipeline.index.indexed_tasks import find_indexed_task
from askrows.pipeline.quality import evaluate, pilot
from askrows.pipeline.run import live
from askrows.pipeline.run.run_state import RunState
from askrows.pipeline.store import batches, runs
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.selection import is_user_task_set
from askrows.pipeline.tasks.task import Task

# If the rate limits allow no call for longer than this, a due row waits for the next command.
RATE_LIMIT_TIMEOUT_S = 60.0
# Our choice: a batch is polled again after this share of its age, so that long batches are polled
# seldom.
POLL_SHARE_OF_AGE = 0.5
# Our choice: `work` sends a batch so long after the last batch of an outage.
OUTAGE_PAUSE_S = 3600.0


class Unit(NamedTuple):
    """A step of a task that a worker can take now or later.

    For example: poll a batch, submit rows, or build the index.
    """

    name: str
    task: str
    # Seconds until it is due.
    in_s: float = 0.0
    # Number of the batch; None for the whole task.
    number: int | None = None

    @property
    def json_members(self) -> dict[str, Any]:
        """Return the members for JSON."""
        members: dict[str, Any] = {"unit": self.name, "task": self.task}
        if self.number is not None:
            members["batch"] = self.number
        return {**members, "in_s": round(self.in_s, 1)}


def list_units(
    run: Run,
    state: RunState | None = None,
    *,
    should_index: bool = True,
) -> Iterator[Unit]:
    """Yield the steps of the task in use that are due now or later, in the order of their turn.

    Only this function decides what is next. The order is:

    1. "ingest", for each downloaded batch; a held batch waits until a person decides
    2. "ask" (live calls only): a live call about a row failed and is due again, or an unfinished
       `tag` asks a decision model
    3. "submit" (prepare and send batches): batches are not sent, or other rows are open and no
       pilot blocks them
    4. "poll", for each batch at the API
    5. "wait": another process prepares, sends or asks rows of the run
    6. "fill" (sync the rows of a user task), always due after `poll_most`
    7. "index" (embed new texts and build), unless a batch is downloaded and not ingested

    Without a state, the database alone decides. Each unit has the seconds until it is due. If the
    quota or a budget has no room, or in the pause of an outage, "submit" is due only after
    `poll_most`, and so is the "ask" of a decision model without room in a budget.

    With a state, the run waits for its batches. Then all units are due, because a poll lasts until
    a batch ends. The units are only those of its rows and batches, without "ask", "fill" and
    "index". If the newest poll could not go on, or if a batch needs a person (the API does not know
    it, or it is unclear whether it was created), only "ingest" is left.

    Args:
        run: The run.
        state: The state of a run that waits for its batches; None for `work`.
        should_index: Include the index, of which all entries may be read.
    """
    task_name = run.task.subject
    open_states = (*budget.QUEUED_STATES, BatchState.DOWNLOADED)
    if state is None:
        open_batches = run.workspace.store.query(
            batches.list_batches_in_states, *open_states, task=run.task.name
        )
    else:
        open_batches = state.list_awaited_batches(*open_states)

    downloaded_batches = [
        batch
        for batch in open_batches
        if batch.state is BatchState.DOWNLOADED and not batch.is_held
    ]
    for batch in downloaded_batches:
        yield Unit("ingest", task_name, number=batch.number)

    if state is not None:
        yield from _list_units_of_waiting_run(state, open_batches)
        return

    yield from _list_asking_units(run, open_batches)
    for batch in open_batches:
        if batch.state is BatchState.SUBMITTED:
            yield Unit("poll", task_name, _find_poll_delay_s(run, batch), batch.number)
    if is_user_task_set(run.workspace.settings):
        yield Unit("fill", task_name, run.workspace.settings.poll_most)
    # The answers of a downloaded batch are embedded together with the others.
    if (
        should_index
        and not downloaded_batches
        and restore_index_link_and_detect_stale(run, exact=False)
    ):
        yield Unit("index", task_name)


def _list_units_of_waiting_run(
    state: RunState, open_batches: Iterable[batches.BatchRow]
) -> Iterator[Unit]:
    """Yield the steps after "ingest" of a run that waits for its batches; all are due.

    Args:
        state: The state of the run.
        open_batches: The open batches for which it waits.
    """
    result = state.result
    if result.is_poll_stopped:
        return

    task_name = state.run.task.subject
    batches_at_api = [batch for batch in open_batches if batch.state in budget.API_STATES]
    if _is_submission_due(state, is_api_busy=bool(batches_at_api)):
        yield Unit("submit", task_name)
    for batch in batches_at_api:
        yield Unit("poll", task_name, number=batch.number)

    if result.stop.reason is not None or result.held_errors:
        return
    awaited_numbers = {*state.list_claiming_batches(), *state.list_busy_batches()}
    if awaited_numbers:
        yield Unit("wait", task_name, number=min(awaited_numbers))


def _list_asking_units(run: Run, open_batches: Iterable[batches.BatchRow]) -> Iterator[Unit]:
    """Yield the steps of `work` that ask rows or send batches: "ask" and "submit".

    Batches that are not sent have a unit each, and all open rows together have one.

    Args:
        run: The run.
        open_batches: The open batches of the task.
    """
    task = run.task
    settings = run.workspace.settings
    max_pause_s = settings.poll_most
    with run.workspace.store.read() as tx:
        new_count = claiming.count_claimable(tx, task)
        is_deciding = bool(new_count) and is_decide_run_open(tx, task)
        # Without new rows no budget is read.
        has_budget = (
            not new_count or budget.make_current_budgets(run).compute_remaining_usd(tx) != 0
        )
        is_outage = bool(find_outage_reason(tx, run))

        if claiming.find_due_ids(tx, task):
            yield Unit("ask", task.subject)
        elif is_deciding:
            yield Unit("ask", task.subject, 0.0 if has_budget else max_pause_s)

        for batch in open_batches:
            # An unclear create is resolved at any time.
            if batch.state is BatchState.SUBMITTING:
                yield Unit("submit", task.subject, number=batch.number)
            elif batch.state is BatchState.PREPARED:
                must_wait = is_outage or budget.find_quota_refusal_reason(tx, batch, settings)
                yield Unit("submit", task.subject, max_pause_s if must_wait else 0.0, batch.number)

        if new_count and not is_deciding and is_pilot_clear(tx, run):
            has_quota = budget.compute_remaining_queue_tokens(tx, run.model, settings) != 0
            can_send = has_quota and has_budget and not is_outage
            yield Unit("submit", task.subject, 0.0 if can_send else max_pause_s)


def _is_submission_due(state: RunState, *, is_api_busy: bool) -> bool:
    """Return whether a run that waits for its batches submits rows now.

    It does if it may send and did not submit yet. Later it does if rows are unsent, the run sent or
    stored something before, and no batch is at the API. If the API was full, a stored result is
    enough. If the last submission and the batches after it brought nothing, if all batches failed
    at the API, or if the answers miss a quality gate by far, no more rows are sent, so that a short
    outage does not use up the attempts of all rows.

    Args:
        state: The state of the run.
        is_api_busy: A batch for which the run waits is at the API.
    """
    if not state.may_submit or not state.check_may_send():
        return False
    if not state.has_submitted:
        return True

    has_room = not is_api_busy
    if state.result.stop.reason is StopReason.API_FULL:
        has_room = has_room or state.has_ingested
    has_progress = state.has_sent or state.has_ingested
    has_unsent_rows = state.count_claimable() or state.list_batches(BatchState.PREPARED)
    return has_room and has_progress and bool(has_unsent_rows)


def _find_poll_delay_s(run: Run, batch: batches.BatchRow) -> float:
    """Return in how many seconds `work` polls a submitted batch.

    - If the database has a final state of the API: now. If it also has the time of that state
      (`over_at`), an earlier poll found no result yet: then after `poll_most`.
    - Otherwise after POLL_SHARE_OF_AGE of its age, between `poll_first` and `poll_most`.
    """
    settings = run.workspace.settings
    if parse_remote_state(batch.remote_word).is_final:
        return settings.poll_most if batch.over_at else 0.0

    now = run.workspace.now()
    age_s = (now - (batch.submitted_at or now)).total_seconds()
    poll_pause_s = max(settings.poll_first, POLL_SHARE_OF_AGE * age_s)
    return min(settings.poll_most, poll_pause_s)


def is_decide_run_open(tx: Connection, task: Task) -> bool:
    """Return whether a task has an unfinished `tag` that asks the decision model.

    Only a `tag` under the task's present version counts.
    """
    unfinished_run = runs.find_unfinished_tag_run(tx, task.name)
    return unfinished_run is not None and unfinished_run.version == task.decision_version


def find_outage_reason(tx: Connection, run: Run) -> str:
    """Return why no batch of the task is sent now because of an outage; "" if it may be sent.

    After the last batch of an outage there is a pause. No batch is sent either while another batch
    of the task is at the API, because that batch shows whether the outage has ended.
    """
    task_name = run.task.name
    last_batch = batches.find_last_batch_if_outage(tx, task_name)
    if last_batch is None:
        return ""

    now = run.workspace.now()
    elapsed_s = (now - (last_batch.over_at or now)).total_seconds()
    # A negative time was stored by a wrong clock, and the pause must not last until then.
    is_paused = 0 <= elapsed_s < OUTAGE_PAUSE_S
    if not is_paused and not batches.list_batches_in_states(
        tx, BatchState.SUBMITTED, task=task_name
    ):
        return ""
    return f"{submit.describe_outage(last_batch)}, so one batch is sent per hour"


def is_pilot_clear(tx: Connection, run: Run) -> bool:
    """Return whether no pilot blocks the open rows of the version in use.

    A pilot is a random sample that is asked first. It blocks if it failed or is unfinished. If the
    task needs pilots, a missing pilot blocks, too.
    """
    return not pilot.describe_blocking_pilot(tx, run.version, is_required=run.task.needs_pilot)


def restore_index_link_and_detect_stale(run: Run, *, exact: bool) -> bool:
    """Return whether the index needs a build, after completing an interrupted change of its link.

    False if the task has no index. A build is a complete index. If a process died while it put a
    new build into service, the link on the disk is set to this new build.

    The index needs a build if there is no build in service, or if an entry was added, changed or
    deleted since the build in service. The result is always false if the database has no entries,
    because an empty index cannot be built.

    Args:
        run: The run.
        exact: Always compare all entries, which finds changes by other programs. Otherwise they are
            compared only if a command changed rows since the build.
    """
    indexed_task = find_indexed_task(run.workspace, run.task)
    if indexed_task is None:
        return False
    builds = correct_link_and_open_builds(run.workspace, run.task)
    with run.workspace.store.read() as tx:
        entry_count = indexed_task.count_entries(tx)
        if not entry_count or builds.read_current_manifest() is None:
            return entry_count > 0
        with builds.open_current() as current_build:
            return bool(count_stale_entries(indexed_task, tx, current_build, must_compare=exact))


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
        batches.list_batches_in_states, *OPEN_STATES, task=run.task.name
    )
    if not open_batches:
        run.check_has_rows()
    return run


def recover_task(run: Run) -> None:
    """Clear up after dead and outdated work of a task; send nothing.

    Replies of live runs whose process died are ingested. Prepared batches are given up, which opens
    their rows again, if the declaration changed since, or if the provider refuses their model and
    another is set.

    Raises:
        ConfigurationError: GATES is invalid.
        AskrowsError: The replies of a dead live run could not be ingested.
    """
    # Invalid gates are refused before anything is spent.
    if run.task.record.gates or run.workspace.settings.gates:
        evaluate.read_effective_gates(run.task, run.workspace.settings, tasks=run.tasks)
    ingest.ingest_live_batches_of_dead_processes(run)
    submit.fail_outdated_batches(run)


def submit_rows(
    state: RunState,
    *,
    is_confirmed: bool = True,
    should_report_full_api: bool = True,
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

    Raises:
        RemoteError: The API refused a batch, or it is unclear whether it created the batch.
        ConfigurationError: There is no usable key, or the provider has no batches.
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
            number=state.batch_number,
        )
    except budget.BudgetError as error:
        state.result.stop = RunStop(StopReason.BUDGET, error=error)
    else:
        state.has_sent = any(
            outcome is not send.SendOutcome.TAKEN_BY_OTHER_PROCESS for outcome in outcomes.values()
        )


def wait_for_other_process(state: RunState, number: int) -> None:
    """Wait until no other process works on a batch; its holder is printed.

    The other process may have died, so the batch may be sent by this run then.
    """
    workspace = state.run.workspace
    with workspace.locks.wait_for_lock(
        make_batch_lock_name(number), announce=workspace.display.say, sleep=workspace.sleep
    ):
        state.has_submitted = False


def poll_and_download_batches(state: RunState, *, should_wait: bool) -> None:
    """Look at the run's batches at the API, download results, and record failed batches.

    The members of the result about the newest poll are replaced; they have the error of an API that
    could not be reached.

    Args:
        state: The state of the run.
        should_wait: Poll until the first batch ends; otherwise look once.

    Raises:
        KeyRefusedError: The API refuses the key.
    """
    result = state.result
    poll.poll_and_download_batches(
        state.run,
        result,
        should_wait=should_wait,
        stops_at_first=True,
        number=state.batch_number,
    )
    ended_batches = {*result.failed_polls, *result.downloaded}
    state.failed_batches |= ended_batches & result.failed_batches.keys()
    if set(result.downloaded) - result.failed_batches.keys():
        state.has_successful_batch = True


def ingest_batches(state: RunState) -> None:
    """Ingest downloaded batches, and write quality reports.

    Held batches, whose replies seem to belong to other rows, are not ingested: the result gets
    their errors. The result also gets the summaries of the others, and their warnings are printed.
    A batch that failed at the API no longer counts as failed if every request had a reply. Quality
    reports are written also after an error, but a recent report is not replaced.

    Raises:
        InconsistentError, ConfigurationError, RemoteError: A batch could not be ingested; the
            other batches were.
    """
    run = state.run
    result = state.result
    failure: AskrowsError | None = None
    try:
        for summary in ingest.ingest_batches(run, number=state.batch_number):
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

    state.note_held_batches(state.list_batches(BatchState.DOWNLOADED))
    state.write_quality_reports()
    if failure is not None:
        raise failure


def ask_open_rows_by_calls(state: RunState, mode: Mode) -> None:
    """Ask every open row by calls, up to the remaining limit, and store the answers.

    An error that stops the calls (daily quota, budget, service down) is not raised: it is the
    reason in the result, and so is an interrupt. The first failures in the result have the names of
    rows, not ids. If a batch was ingested and the calls were not interrupted, a quality report is
    written.

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
    selected_count = selection.count_claimable_rows(run.workspace.store, run.task)
    result.has_calls = True
    if not selected_count:
        run.check_has_rows()
        return
    asking_run = run.copy_with_mode(mode)
    # A missing key or an engine that cannot start raises before anything is written.
    run.open_client()
    # Rows with equal inputs share a request.
    request_count = result.expected.requests or selected_count
    label = f"asking {describe_requests(request_count, selected_count)}"
    with run.workspace.display.bar(label, request_count) as bar:
        live.ask_rows(asking_run, selection, result, bar)
    finished_count = result.answered_by_calls + result.failed.total()
    unfinished_count = max(0, selected_count - finished_count)
    result.unasked = min(unfinished_count, state.count_claimable())

    with run.workspace.store.read() as tx:
        names = run.task.rows.read_names(
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
        ingest.ingest_live_batches_of_dead_processes(run)
        row_ids = run.workspace.store.query(claiming.find_due_ids, run.task)
        if not row_ids:
            return

    single_run = replace(
        run.copy_with_mode(Mode.LIVE),
        is_single_batch=True,
        patience_s=patience_s,
        deadline_s=deadline_s,
        stops_without_connection=True,
    )
    live.ask_rows(single_run, Selection(row_ids=row_ids), result, NoProgress())
    if result.is_interrupted:
        raise KeyboardInterrupt
