"""The batches of a live run: prepare, sync, seal and ingest them.

All functions block, so the event loop of the run calls them in threads. The replies of a batch are
synced to disk once a second. They are sealed and ingested when each request of the batch has a
reply.

A run with `is_single_batch` has one batch at most, and asks no row again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from askrows.pipeline.batch import budget, ingest
from askrows.pipeline.batch.batch_files import (
    CALLS_SUFFIX,
    OpenLiveBatch,
    live_replies_path,
    seal_live_result_and_record_downloaded,
    store_trial_totals_and_delete_files,
)
from askrows.pipeline.batch.batch_plan import DraftEnd, Selection
from askrows.pipeline.batch.ingest import RowOutcome
from askrows.pipeline.batch.prepare import Preparation, PreparedBatch
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import INTERRUPTED_REASON, RunResult
from askrows.pipeline.core.progress import NoProgress
from askrows.pipeline.provider.rate_limiter import WINDOW_S
from askrows.pipeline.run.live_throttle import LiveProgress
from askrows.pipeline.store import batches
from askrows.pipeline.tasks.request_builder import PlannedRequest

# How long an interrupted run waits for another writer; the next command does the rest.
INTERRUPTED_WRITE_TIMEOUT_S = 1.0

NOT_ASKED_REASON = "not asked"


class LiveBatches:
    """The batches of a live run.

    The run prepares batch after batch of the selected rows. Rows whose answer was invalid are asked
    again first.
    """

    def __init__(self, run: Run, selection: Selection, result: RunResult) -> None:
        """Prepare nothing yet.

        Args:
            selection: The rows to ask about. Rows that the run is finished with are excluded later.
            result: Gets the counts of ingested rows.
        """
        self.run = run
        self.result = result
        self.progress = LiveProgress(provider=run.workspace.provider.name)
        # Batches whose requests need calls, by number.
        self.open: dict[int, OpenLiveBatch] = {}
        # Why no batch of new rows can be prepared now; None if one may be possible.
        self.end_of_rows: DraftEnd | None = None
        # Rows whose answer was invalid and that are asked once more.
        self._retry_ids = list[str]()
        # Rows that this run is finished with; `_preparation` excludes them too.
        self._ended_ids = set(selection.excluded_ids)
        self._preparation = Preparation(
            run,
            replace(selection, excluded_ids=self._ended_ids),
            NoProgress(),
            mode=run.live_mode,
        )

    @property
    def equal_rows(self) -> int:
        """Return how many rows got the answer of an equal row and were not asked."""
        return self._preparation.equal_rows

    @property
    def may_have_rows(self) -> bool:
        """Return whether another batch may be possible."""
        return self.end_of_rows is None or bool(self._retry_ids)

    def open_next(self) -> tuple[OpenLiveBatch, Sequence[PlannedRequest]] | None:
        """Prepare the next batch and return it with its requests, or None if no batch is possible.

        Its rows are claimed, and this process has its lock. If none is possible, `end_of_rows` has
        the reason. The end of a batch clears the reason, because then failed rows may be open
        again, and budgets may have money again.

        If the run may have a single batch only, the reason is also the result's `idle_reason`, and
        no second batch is possible.
        """
        is_single_batch = self.run.is_single_batch
        prepared = self._prepare_next()
        if not isinstance(prepared, PreparedBatch):
            self.end_of_rows = prepared
            self.result.idle_reason = prepared.value if is_single_batch else ""
            return None

        assert prepared.lock is not None  # noqa: S101 - a live batch has a lock
        open_batch = OpenLiveBatch(
            prepared.number,
            len(prepared.requests),
            prepared.lock,
            live_replies_path(self.run.workspace.data, prepared.number),
        )
        self.open[prepared.number] = open_batch
        self.end_of_rows = DraftEnd.NO_ROWS_LEFT if is_single_batch else None
        return open_batch, prepared.requests

    def _prepare_next(self) -> PreparedBatch | DraftEnd:
        """Prepare a batch of rows that are to be asked again, or else a batch of new rows.

        The list of rows to ask again is emptied, even if no batch of them is possible. The number
        of the first batch becomes the run's number.

        Returns:
            The batch, whose rows are claimed and whose lock is held, or the reason why no batch of
            new rows is possible.
        """
        preparation = self._preparation
        prepared: PreparedBatch | DraftEnd | None = None
        # Retries go first, so that no row with the same input is asked in their place.
        if self._retry_ids:
            selection = Selection(row_ids=self._retry_ids)
            self._retry_ids = []
            retry_preparation = Preparation(
                self.run,
                selection,
                NoProgress(),
                mode=self.run.live_mode,
                run_number=preparation.run_number,
            )
            prepared = retry_preparation.prepare_next()
        if not isinstance(prepared, PreparedBatch):
            prepared = preparation.prepare_next()
        if isinstance(prepared, PreparedBatch):
            preparation.run_number = preparation.run_number or prepared.number
        return prepared

    def check_budget(self) -> None:
        """Raise the error of a budget if it ended the run; a single batch raises nothing."""
        if self.end_of_rows is DraftEnd.BUDGET and not self.run.is_single_batch:
            with self.run.workspace.store.read() as tx:
                raise budget.make_current_budgets(self.run).make_no_room_error(tx)

    def pop_complete(self) -> list[OpenLiveBatch]:
        """Return the open batches whose requests need no more calls; they are not open any more."""
        complete_numbers = [
            number for number, open_batch in self.open.items() if not open_batch.open_requests
        ]
        return [self.open.pop(number) for number in complete_numbers]

    def seal_ingest_and_unlock(self, open_batch: OpenLiveBatch) -> None:
        """Seal and ingest the replies of a batch, count its outcomes, and release its lock.

        A row without a reply gets a reason. It is the first of these that there is: the reason that
        its call gave, INTERRUPTED_REASON after an interrupt, the message of the error that stopped
        the run, NOT_ASKED_REASON. A trial, which tests a prompt, stores only its outcome counts
        and cost, and its files are deleted.

        The calls are added to the result and stored, and the calls file is deleted.

        After this call the run will look for open rows again, unless it may have a single batch
        only: `end_of_rows` becomes None. An interrupted run waits INTERRUPTED_WRITE_TIMEOUT_S at
        most for another writer of the database. The lock is released after an error, too.

        Raises:
            AskrowsError: The batch could not be sealed or ingested.
        """
        try:
            open_batch.close()
            self.result.calls += open_batch.calls
            self._record_calls(open_batch)
            open_batch.path.with_suffix(CALLS_SUFFIX).unlink(missing_ok=True)
            if self.run.is_trial:
                store_trial_totals_and_delete_files(
                    self.run,
                    open_batch.number,
                    max_write_wait_s=self._write_timeout_s,
                )
            else:
                self._seal_and_ingest_replies(open_batch)
        finally:
            open_batch.lock.release()
        if not self.run.is_single_batch:
            # Failed rows may be asked again now, and their money may be free.
            self.end_of_rows = None

    @property
    def _write_timeout_s(self) -> float | None:
        """Return the longest wait for another writer, or None for the default of all commands."""
        return INTERRUPTED_WRITE_TIMEOUT_S if self.result.is_interrupted else None

    def _seal_and_ingest_replies(self, open_batch: OpenLiveBatch) -> None:
        """Seal and ingest the replies of a batch, and count its outcomes in the result.

        `seal_ingest_and_unlock` calls this, and releases the lock. A row without a reply and
        without a reason of its own gets the reason why the run stopped. The lowest number of an
        ingested batch becomes the result's `first_calls_batch`.
        """
        run = self.run
        result = self.result
        default_reason = NOT_ASKED_REASON
        if result.is_interrupted:
            default_reason = INTERRUPTED_REASON
        elif result.stop.reason:
            default_reason = result.stop.message

        seal_live_result_and_record_downloaded(
            run.workspace.data,
            run.workspace.store,
            run.workspace.now,
            open_batch.number,
            max_write_wait_s=self._write_timeout_s,
        )
        outcomes = ingest.ingest_live_batch(
            run,
            open_batch.number,
            open_batch.failure_reasons,
            default_reason=default_reason,
            max_write_wait_s=self._write_timeout_s,
        )
        self._count_outcomes_and_queue_retries(outcomes)
        first_number = result.first_calls_batch or open_batch.number
        result.first_calls_batch = min(open_batch.number, first_number)

    def _count_outcomes_and_queue_retries(self, outcomes: list[RowOutcome]) -> None:
        """Count answered and failed rows in the result; queue the rows that may be asked again.

        All rows without an applied answer are excluded from later batches of new rows. A row is
        queued if it may be asked again, unless the run has a single batch. For a queued row that
        was called, the `replies` of the progress are reduced by 1, because its next reply counts
        instead. A row that is not queued counts as failed if it was called, and not at all
        otherwise.
        """
        for outcome in outcomes:
            if not outcome.reason:
                self.result.answered_by_calls += 1
                continue

            self._ended_ids.add(outcome.row_id)
            if outcome.may_retry and not self.run.is_single_batch:
                self._retry_ids.append(outcome.row_id)
                # The next reply of this row counts instead, so progress never exceeds its total.
                self.progress.replies -= outcome.was_called
            elif outcome.was_called:
                self.progress.newest_failure = outcome.reason
                self.result.count_failed_row(outcome.row_id, outcome.reason)

    def release(self) -> None:
        """Close the files of all open batches and release their locks."""
        for open_batch in self.open.values():
            open_batch.close()
            open_batch.lock.release()

    # Replies on disk, and counts of calls

    def sync(self) -> None:
        """Sync new replies to disk and store the number of calls.

        Only open batches that made calls since the last sync are synced and stored.
        """
        for open_batch in list(self.open.values()):
            if open_batch.calls != open_batch.recorded_calls:
                open_batch.sync_to_disk()
                self._record_calls(open_batch)

    def _record_calls(self, open_batch: OpenLiveBatch) -> None:
        """Store in a batch's row how many calls it made and the sum of their durations.

        Does nothing if the number of calls is stored already. The calls count for today's quota. An
        interrupted run waits INTERRUPTED_WRITE_TIMEOUT_S at most for another writer of the
        database.
        """
        if open_batch.calls == open_batch.recorded_calls:
            return

        calls = open_batch.calls
        quota_day = self.run.workspace.provider.quota_day(self.run.workspace.now()).isoformat()
        with self.run.workspace.store.write(max_write_wait_s=self._write_timeout_s) as tx:
            batches.update_batch_columns(
                tx,
                open_batch.number,
                day=quota_day,
                calls=calls,
                seconds=open_batch.seconds,
            )
        open_batch.recorded_calls = calls

    def read_recent_calls_and_count_today(self) -> tuple[list[tuple[float, int]], int]:
        """Return the recent calls of batches that are not open here, and count today's calls.

        These are the calls of all processes to this run's model, because they share its rate
        limits. If there are no rate limits, nothing is read, and the result is [] and 0.

        Returns:
            First, for each call in the last minute of a batch that is not open in this run, its
            estimated monotonic time and its prompt tokens. Second, the number of all calls of this
            day, with those of the open batches, also if they are not recorded yet.
        """
        run = self.run
        if all(limit is None for limit in run.rate_limits):
            return [], 0

        now = run.workspace.now()
        monotonic_now = run.workspace.monotonic()
        window_start = now - timedelta(seconds=WINDOW_S)
        with run.workspace.store.read() as tx:
            recent_batches = batches.list_recent_live_batches(
                tx,
                run.model.name,
                ended_after=window_start,
                excluded_batches=list(self.open),
            )
            calls_today = batches.count_live_calls_of_day(
                tx,
                run.model.name,
                day=run.workspace.provider.quota_day(now).isoformat(),
            )

        other_calls = list[tuple[float, int]]()
        for batch in recent_batches:
            tokens_per_call = batch.estimated_in // batch.requests
            for called_at in _estimate_call_times(batch, window_start, now):
                monotonic_time = monotonic_now - (now - called_at).total_seconds()
                other_calls.append((min(monotonic_now, monotonic_time), tokens_per_call))
        unrecorded_calls = sum(
            open_batch.calls - open_batch.recorded_calls for open_batch in list(self.open.values())
        )
        return other_calls, calls_today + unrecorded_calls


def _estimate_call_times(
    batch: batches.BatchRow, window_start: datetime, now: datetime
) -> Iterator[datetime]:
    """Yield the assumed times of a live batch's calls since `window_start`, ascending.

    The calls are spread evenly from the start to the end of the batch, or to `now` if it is
    running. Times up to one minute after `now` are yielded, too. Later times come from a wrong
    clock and are left out.

    Args:
        window_start: One minute before `now`; earlier times are left out.
    """
    started_at = batch.submitted_at or batch.created_at
    interval = ((batch.over_at or now) - started_at) / batch.calls
    # A call further in the future was recorded by a wrong clock, and would fill each minute anew.
    latest = now + timedelta(seconds=WINDOW_S)
    for number in range(1, batch.calls + 1):
        called_at = started_at + interval * number
        if window_start <= called_at <= latest:
            yield called_at
