"""List the units of a task that are due now or later."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from pipeline.batch import budget
from pipeline.batch.move import list_ended_moves
from pipeline.core.settings import Settings
from pipeline.core.states import BatchState, remote_state
from pipeline.engine import claiming
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task import Task
from pipeline.engine.task_selection import names_user_task
from pipeline.index import vectors
from pipeline.index.builds import count_stale, open_synced_builds
from pipeline.quality import pilot
from pipeline.store import batches
from pipeline.store.batches import BatchRow
from pipeline.store.database import Connection
from pipeline.workflows.decisions import is_decide_run_open

# Our choice: a batch is polled again after this share of its age, so that long batches are polled
# seldom.
POLL_SHARE_OF_AGE = 0.5


class DueUnit(NamedTuple):
    """A unit of a task that is due now or later."""

    unit: str
    task: str
    # Seconds until it is due.
    in_s: float = 0.0
    # Number of the batch; for "embed" of the block of texts; or None for the whole task.
    number: int | None = None

    @property
    def json_members(self) -> dict[str, Any]:
        """Return unit, task and number as JSON members."""
        members: dict[str, Any] = {"unit": self.unit, "task": self.task}
        if self.number is not None:
            number_name = "block" if self.unit == "embed" else "batch"
            members[number_name] = self.number
        return members


def list_due_units(ws: WorkspaceSession, *, indexes: bool = True) -> Iterator[DueUnit]:
    """Yield the units of the task in use that are due now or later, as the database shows them.

    The order is:

    - the next unit of each open batch; held batches are left out
    - "ask": rows are due, a moved batch left rows open, or a run of decisions is unfinished
    - "prepare": other rows are open and no pilot blocks them
    - "fill", later: the rows of a user task are synced
    - units of the index, unless a batch is downloaded and not ingested

    If quota or budget has no room, "prepare" is due only later; so is the "ask" of decisions
    without room in a budget.

    Args:
        ws: The workspace.
        indexes: Include embedding and building, which reads all entries of the index.
    """
    name = ws.task.subject
    max_pause_s = ws.settings.poll_most
    with ws.store.read() as tx:
        open_batches = batches.batches_in_states(
            tx,
            *budget.QUEUED_STATES,
            BatchState.DOWNLOADED,
            task=ws.task.name,
        )
        # A held batch waits for a person.
        open_batches = [batch for batch in open_batches if not batch.is_held]
        batch_units = [
            _choose_batch_unit(tx, batch, task=ws.task, settings=ws.settings, now=ws.now)
            for batch in open_batches
        ]
        yield from batch_units

        has_ended_moves = bool(list_ended_moves(tx, ws.task, ws.extractor))
        new_count = claiming.count_claimable(tx, ws.task)
        undecided_count = 0
        if new_count and is_decide_run_open(tx, ws.task):
            # Rows of a run of decisions are prepared when their closed fields are decided.
            partly_answered = claiming.count_partly_answered(tx, ws.task)
            undecided_count = new_count - partly_answered
            new_count = partly_answered
        if claiming.find_due_ids(tx, ws.task) or has_ended_moves:
            yield DueUnit("ask", name)
        elif undecided_count:
            has_room = budget.read_current_budgets(ws).remaining_usd(tx, estimate_error=0.0) != 0
            yield DueUnit("ask", name, 0.0 if has_room else max_pause_s)
        if new_count and is_pilot_clear(tx, ws.task, extractor=ws.extractor):
            is_quota_full = (
                budget.count_remaining_quota_tokens(tx, ws.model, ws.settings, now=ws.now()) == 0
            )
            has_no_room = (
                is_quota_full
                or budget.read_current_budgets(ws).remaining_usd(tx, estimate_error=0.0) == 0
            )
            yield DueUnit("prepare", name, max_pause_s if has_no_room else 0.0)

    if names_user_task(ws.settings):
        yield DueUnit("fill", name, max_pause_s)

    # The answers of a downloaded batch are embedded together with the others.
    has_downloaded = any(batch.state is BatchState.DOWNLOADED for batch in open_batches)
    if indexes and not has_downloaded:
        yield from _iterate_index_units(ws)


def _iterate_index_units(ws: WorkspaceSession) -> Iterator[DueUnit]:
    """Yield a unit for each block of texts to embed; if there is none, a unit to build the index.

    Nothing is yielded if the task has no index or the index is up to date. With Gemini only the
    first block is yielded.
    """
    if not ws.is_indexed or not is_index_stale(ws, exact=False):
        return

    name = ws.task.subject
    block_numbers = vectors.find_missing_blocks(ws)
    if not block_numbers:
        yield DueUnit("build", name)
        return
    # A single process already reaches the rate limits of Gemini.
    if ws.backend != "local":
        block_numbers = block_numbers[:1]
    for block_number in block_numbers:
        yield DueUnit("embed", name, number=block_number)


def _choose_batch_unit(
    tx: Connection, batch: BatchRow, *, task: Task, settings: Settings, now: Callable[[], datetime]
) -> DueUnit:
    """Return the next unit of an open batch: ingest, send, download or look (a poll).

    - downloaded: ingest now.
    - prepared or submitting: send now, or after `poll_most` if the quota is full.
    - submitted and over: download now, or after `poll_most` if it has no result yet.
    - submitted and running: look after a share of its age, between `poll_first` and `poll_most`.
    """
    name = task.subject
    number = batch.number
    max_pause_s = settings.poll_most
    if batch.state is BatchState.DOWNLOADED:
        return DueUnit("ingest", name, number=number)

    if batch.state is not BatchState.SUBMITTED:
        is_prepared = batch.state is BatchState.PREPARED
        has_no_quota = is_prepared and budget.find_quota_refusal(tx, batch, settings, now=now())
        return DueUnit("send", name, max_pause_s if has_no_quota else 0.0, number)

    if remote_state(batch.remote_word).is_final:
        # A batch that was over at an earlier poll has no result file yet.
        return DueUnit("download", name, max_pause_s if batch.over_at else 0.0, number)

    current_time = now()
    age_s = (current_time - (batch.submitted_at or current_time)).total_seconds()
    poll_pause_s = max(settings.poll_first, POLL_SHARE_OF_AGE * age_s)
    return DueUnit("look", name, min(max_pause_s, poll_pause_s), number)


def is_pilot_clear(tx: Connection, task: Task, *, extractor: str) -> bool:
    """Return whether no pilot stops open rows. A task that needs pilots needs a passed pilot."""
    return not pilot.find_blocking_reason(tx, extractor, compulsory=task.needs_pilot)


def is_index_stale(ws: WorkspaceSession, *, exact: bool) -> bool:
    """Return whether the index needs a build: entries differ from the build in service.

    If there are no entries, the result is false, even if a build has deleted entries. If there are
    entries and no build, it is true. This may write: if a process died while it promoted a build,
    the promotion is completed first.

    Args:
        exact: As in `count_stale`.
    """
    builds = open_synced_builds(ws)
    with ws.store.read() as tx:
        entry_count = ws.indexed_task.count_entries(tx)
        if not entry_count or builds.read_current_manifest() is None:
            return entry_count > 0
        with builds.open_current() as current_build:
            return bool(count_stale(ws.indexed_task, tx, current_build, exact=exact))
