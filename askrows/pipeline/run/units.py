"""Find the next unit of a run that waits for its batches, and the units of tasks, now or later.

A unit is a step that a worker can take: the next step of a batch ("submit", "poll", "ingest"), or
"ask", "submit", "fill" or "index" for the task.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from askrows.pipeline.batch import budget
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import StopReason
from askrows.pipeline.batch.submit import describe_outage
from askrows.pipeline.core.states import BatchState, remote_state
from askrows.pipeline.index.builds import count_stale, open_synced_builds
from askrows.pipeline.index.indexed_tasks import is_task_indexed, require_indexed_task
from askrows.pipeline.quality import pilot
from askrows.pipeline.run.modes import is_decide_run_open
from askrows.pipeline.run.run_state import RunState
from askrows.pipeline.store import batches
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.selection import is_user_task_set

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

    has_running_batches = bool(state.list_awaited_batches(*budget.API_STATES))
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


def list_due_units(run: Run, *, should_index: bool = True) -> Iterator[Unit]:
    """Yield the steps of the task in use that are due now or later, as the database shows them.

    The order is:

    - the next step of each open batch; a held batch waits until a person decides
    - "ask" (live calls only): a live call about a row failed and is due again, or an unfinished
      `tag` asks a decision model
    - "submit" (prepare and send batches): other rows are open and no pilot blocks them
    - "fill" (sync the rows of a user task), always due after `poll_most`
    - "index" (embed new texts and build), unless a batch is downloaded and not ingested

    Each unit has the seconds until it is due. If the quota or a budget has no room, or in the
    pause of an outage, "submit" is due only after `poll_most`, and so is the "ask" of a decision
    model without room in a budget.

    Args:
        run: The run.
        should_index: Include the index, of which all entries may be read.
    """
    task = run.task
    settings = run.workspace.settings
    max_pause_s = settings.poll_most
    with run.workspace.store.read() as tx:
        states = (*budget.QUEUED_STATES, BatchState.DOWNLOADED)
        open_batches = [
            batch
            for batch in batches.batches_in_states(tx, *states, task=task.name)
            if not batch.is_held
        ]
        for batch in open_batches:
            yield _choose_batch_unit(tx, run, batch)

        new_count = claiming.count_claimable(tx, task)
        is_deciding = bool(new_count) and is_decide_run_open(tx, task)
        if claiming.find_due_ids(tx, task):
            yield Unit("ask", task.subject)
        elif is_deciding:
            has_room = budget.read_current_budgets(run).remaining_usd(tx) != 0
            yield Unit("ask", task.subject, 0.0 if has_room else max_pause_s)
        if new_count and not is_deciding and is_pilot_clear(tx, run):
            must_wait = (
                budget.count_remaining_quota_tokens(tx, run.model, settings) == 0
                or budget.read_current_budgets(run).remaining_usd(tx) == 0
                or find_outage_reason(tx, run)
            )
            yield Unit("submit", task.subject, max_pause_s if must_wait else 0.0)

    if is_user_task_set(settings):
        yield Unit("fill", task.subject, max_pause_s)

    # The answers of a downloaded batch are embedded together with the others.
    has_downloaded = any(batch.state is BatchState.DOWNLOADED for batch in open_batches)
    may_index = should_index and is_task_indexed(run.workspace, task) and not has_downloaded
    if may_index and repair_link_and_check_index(run, exact=False):
        yield Unit("index", task.subject)


def _choose_batch_unit(tx: Connection, run: Run, batch: batches.BatchRow) -> Unit:
    """Return the next step of an open batch: ingest, submit or poll.

    - downloaded: ingest now.
    - prepared or submitting: submit now, but a prepared batch after `poll_most` if the quota is
      full, or in the pause of an outage.
    - submitted, and the database has a final state of the API: poll now. If it also has the time of
      that state (`over_at`), an earlier poll found no result yet: then poll after `poll_most`.
    - submitted, otherwise: poll after POLL_SHARE_OF_AGE of its age, between `poll_first` and
      `poll_most`.
    """
    task_name = run.task.subject
    settings = run.workspace.settings
    max_pause_s = settings.poll_most
    if batch.state is BatchState.DOWNLOADED:
        return Unit("ingest", task_name, number=batch.number)

    if batch.state is not BatchState.SUBMITTED:
        must_wait = batch.state is BatchState.PREPARED and (
            budget.find_quota_refusal(tx, batch, settings) or find_outage_reason(tx, run)
        )
        return Unit("submit", task_name, max_pause_s if must_wait else 0.0, batch.number)

    if remote_state(batch.remote_word).is_final:
        # A batch that was over at an earlier poll has no result file yet.
        return Unit("poll", task_name, max_pause_s if batch.over_at else 0.0, batch.number)

    now = run.workspace.now()
    age_s = (now - (batch.submitted_at or now)).total_seconds()
    poll_pause_s = max(settings.poll_first, POLL_SHARE_OF_AGE * age_s)
    return Unit("poll", task_name, min(max_pause_s, poll_pause_s), batch.number)


def find_outage_reason(tx: Connection, run: Run) -> str:
    """Return why no batch of the task is sent now because of an outage; "" if it may be sent.

    After the last batch of an outage there is a pause. No batch is sent either while another batch
    of the task is at the API, because that batch shows whether the outage has ended.
    """
    task_name = run.task.name
    last_batch = batches.find_outage(tx, task_name)
    if last_batch is None:
        return ""

    now = run.workspace.now()
    elapsed_s = (now - (last_batch.over_at or now)).total_seconds()
    # A negative time was stored by a wrong clock, and the pause must not last until then.
    is_paused = 0 <= elapsed_s < OUTAGE_PAUSE_S
    if not is_paused and not batches.batches_in_states(tx, BatchState.SUBMITTED, task=task_name):
        return ""
    return f"{describe_outage(last_batch)}, so one batch is sent per hour"


def is_pilot_clear(tx: Connection, run: Run) -> bool:
    """Return whether no pilot blocks the open rows of the version in use.

    A pilot is a random sample that is asked first. It blocks if it failed or is unfinished. If the
    task needs pilots, a missing pilot blocks, too.
    """
    return not pilot.find_blocking_reason(tx, run.version, is_required=run.task.needs_pilot)


def repair_link_and_check_index(run: Run, *, exact: bool) -> bool:
    """Complete an interrupted change of the build in service; return if the index needs a build.

    A build is a complete index. If a process died while it put a new build into service, the link
    on the disk is set to this new build.

    The index needs a build if there is no build in service, or if an entry was added, changed or
    deleted since the build in service. The result is always false if the database has no entries,
    because an empty index cannot be built.

    Args:
        run: The run.
        exact: Always compare all entries, which finds changes by other programs. Otherwise they are
            compared only if a command changed rows since the build.
    """
    indexed_task = require_indexed_task(run.workspace, run.task)
    builds = open_synced_builds(run.workspace, run.task)
    with run.workspace.store.read() as tx:
        entry_count = indexed_task.count_entries(tx)
        if not entry_count or builds.read_current_manifest() is None:
            return entry_count > 0
        with builds.open_current() as current_build:
            return bool(count_stale(indexed_task, tx, current_build, exact=exact))
