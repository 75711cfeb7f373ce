"""List the units of a task that are due now or later.

A unit is one step that a worker can take: the next step of a batch ("submit", "poll", "ingest"), or
"ask", "submit", "fill" or "index" for the task.
"""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from askrows.pipeline.batch import budget
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.submit import describe_outage
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.core.states import BatchState, remote_state
from askrows.pipeline.index.builds import count_stale, open_synced_builds
from askrows.pipeline.index.indexed_tasks import is_task_indexed, require_indexed_task
from askrows.pipeline.quality import pilot
from askrows.pipeline.run.modes import is_decide_run_open
from askrows.pipeline.store import batches
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.selection import is_user_task_set
from askrows.pipeline.tasks.task import Task

# Our choice: a batch is polled again after this share of its age, so that long batches are polled
# seldom.
POLL_SHARE_OF_AGE = 0.5
# Our choice: `work` sends a batch so long after the last batch of an outage.
OUTAGE_PAUSE_S = 3600.0


class DueUnit(NamedTuple):
    """A step of a task that a worker can take now or later.

    For example: poll a batch, submit rows, or build the index.
    """

    unit: str
    task: str
    # Seconds until it is due.
    in_s: float = 0.0
    # Number of the batch; None for the whole task.
    number: int | None = None

    @property
    def json_members(self) -> dict[str, Any]:
        """Return unit, task and number as JSON members."""
        members: dict[str, Any] = {"unit": self.unit, "task": self.task}
        if self.number is not None:
            members["batch"] = self.number
        return members


def list_due_units(run: Run, *, should_index: bool = True) -> Iterator[DueUnit]:
    """Yield the steps of the task in use that are due now or later, as the database shows them.

    The order is:

    - the next step of each open batch, except that batches that are held until a person decides are
      left out
    - "ask" (live calls only): a live call about a row failed and is due again, or an unfinished
      `tag` asks a decision model
    - "submit" (prepare and send batches): other rows are open and no pilot blocks them
    - "fill" (sync the rows of a user task), always due after `poll_most`
    - "index" (embed new texts and build), unless a batch is downloaded and not ingested

    Each unit has the seconds until it is due. Without room in the quota or a budget, or in the
    pause of an outage, "submit" is due only after `poll_most`, and so is the "ask" of a decision
    model without room in a budget.

    Args:
        run: The run.
        should_index: Include the index, of which all entries may be read.
    """
    name = run.task.subject
    max_pause_s = run.workspace.settings.poll_most
    with run.workspace.store.read() as tx:
        open_batches = batches.batches_in_states(
            tx,
            *budget.QUEUED_STATES,
            BatchState.DOWNLOADED,
            task=run.task.name,
        )
        # A held batch waits for a person.
        open_batches = [batch for batch in open_batches if not batch.is_held]
        batch_units = [
            _choose_batch_unit(
                tx, batch, task=run.task, settings=run.workspace.settings, now=run.workspace.now
            )
            for batch in open_batches
        ]
        yield from batch_units

        new_count = claiming.count_claimable(tx, run.task)
        is_deciding = bool(new_count) and is_decide_run_open(tx, run.task)
        if claiming.find_due_ids(tx, run.task):
            yield DueUnit("ask", name)
        elif is_deciding:
            has_room = budget.read_current_budgets(run).remaining_usd(tx) != 0
            yield DueUnit("ask", name, 0.0 if has_room else max_pause_s)
        if new_count and not is_deciding and is_pilot_clear(tx, run.task, version=run.version):
            is_quota_full = (
                budget.count_remaining_quota_tokens(tx, run.model, run.workspace.settings) == 0
            )
            has_no_room = is_quota_full or budget.read_current_budgets(run).remaining_usd(tx) == 0
            must_wait = has_no_room or find_outage_reason(tx, run.task, now=run.workspace.now())
            yield DueUnit("submit", name, max_pause_s if must_wait else 0.0)

    if is_user_task_set(run.workspace.settings):
        yield DueUnit("fill", name, max_pause_s)

    # The answers of a downloaded batch are embedded together with the others.
    has_downloaded = any(batch.state is BatchState.DOWNLOADED for batch in open_batches)
    may_index = should_index and is_task_indexed(run.workspace, run.task) and not has_downloaded
    if may_index and repair_link_and_check_index(run, exact=False):
        yield DueUnit("index", name)


def _choose_batch_unit(
    tx: Connection,
    batch: batches.BatchRow,
    *,
    task: Task,
    settings: Settings,
    now: Callable[[], datetime],
) -> DueUnit:
    """Return the next step of an open batch: ingest, submit or poll.

    - downloaded: ingest now.
    - prepared or submitting: submit now, but a prepared batch after `poll_most` if the quota is
      full, or in the pause of an outage.
    - submitted, and the database has a final state of the API: poll now. If it also has the time of
      that state (`over_at`), an earlier poll found no result yet: then poll after `poll_most`.
    - submitted, otherwise: poll after POLL_SHARE_OF_AGE of its age, between `poll_first` and
      `poll_most`.
    """
    name = task.subject
    number = batch.number
    max_pause_s = settings.poll_most
    if batch.state is BatchState.DOWNLOADED:
        return DueUnit("ingest", name, number=number)

    if batch.state is not BatchState.SUBMITTED:
        is_prepared = batch.state is BatchState.PREPARED
        must_wait = is_prepared and (
            budget.find_quota_refusal(tx, batch, settings)
            or find_outage_reason(tx, task, now=now())
        )
        return DueUnit("submit", name, max_pause_s if must_wait else 0.0, number)

    if remote_state(batch.remote_word).is_final:
        # A batch that was over at an earlier poll has no result file yet.
        return DueUnit("poll", name, max_pause_s if batch.over_at else 0.0, number)

    current_time = now()
    age_s = (current_time - (batch.submitted_at or current_time)).total_seconds()
    poll_pause_s = max(settings.poll_first, POLL_SHARE_OF_AGE * age_s)
    return DueUnit("poll", name, min(max_pause_s, poll_pause_s), number)


def find_outage_reason(tx: Connection, task: Task, *, now: datetime) -> str:
    """Return why no batch of a task is sent now because of an outage; "" if one may be sent.

    After the last batch of an outage there is a pause. No batch is sent either while another batch
    of the task is at the API, because that batch shows whether the outage has ended.
    """
    last_batch = batches.find_outage(tx, task.name)
    if last_batch is None:
        return ""

    elapsed_s = (now - (last_batch.over_at or now)).total_seconds()
    # A negative time was stored by a wrong clock, and the pause must not last until then.
    is_paused = 0 <= elapsed_s < OUTAGE_PAUSE_S
    if not is_paused and not batches.batches_in_states(tx, BatchState.SUBMITTED, task=task.name):
        return ""
    return f"{describe_outage(last_batch)}, so one batch is sent per hour"


def is_pilot_clear(tx: Connection, task: Task, *, version: str) -> bool:
    """Return whether no pilot blocks the open rows of the version in use.

    A pilot, which is a random sample that is asked first, blocks if it failed or is unfinished. If
    the task needs pilots, a missing pilot blocks, too.
    """
    return not pilot.find_blocking_reason(tx, version, is_required=task.needs_pilot)


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
