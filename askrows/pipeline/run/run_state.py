"""The state of a run while its units are done: the rows that it may still ask, and its result."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from askrows.pipeline.batch.batch_files import make_batch_lock_name
from askrows.pipeline.batch.batch_plan import Selection
from askrows.pipeline.batch.held_batches import HeldBatchError
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult, RunStop, StopReason
from askrows.pipeline.core.errors import AskrowsError
from askrows.pipeline.core.states import OPEN_STATES, BatchState
from askrows.pipeline.quality import evaluate, pilot
from askrows.pipeline.quality.report import delete_abandoned_report_parts
from askrows.pipeline.store import batches, claims, money, runs
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.equal_rows import count_waiting_rows

if TYPE_CHECKING:
    from askrows.pipeline.index.build import IndexReport

# The next quality reports wait this many times as long as the last ones took. The reports at the
# end of the command do not wait.
REPORT_PAUSE_FACTOR = 20
# Reasons that end when all rows are sent.
ENDING_STOPS = (StopReason.GATE_FAILED, StopReason.BUDGET, StopReason.API_FULL)
WAIVED_PILOT_NOTE = "Asked without a passed pilot, because a person waived it."


class RunState:
    """The state that changes while a run is driven.

    Its result counts only batches and parked rows that come after the start.
    """

    def __init__(
        self,
        run: Run,
        *,
        limit: int | None = None,
        row_ids: Sequence[str] | None = None,
        batch_number: int | None = None,
        has_quality_reports: bool = True,
        result: RunResult | None = None,
    ) -> None:
        """Read the current state of the task: its newest batch and its parked rows.

        Args:
            run: The run.
            limit: How many new requests may be made, or None for all.
            row_ids: Ask only rows with these ids, or None for all.
            batch_number: Of the batches that exist at the start, send, poll and ingest only this
                one, or all if None.
            has_quality_reports: Write quality reports.
            result: The result that the units fill; None for a new one.
        """
        self.run = run
        self.row_ids = row_ids
        self.batch_number = batch_number
        self.result = result or RunResult(run.version)
        self.has_quality_reports = has_quality_reports
        # Versions with answers since their last quality report; the keys are ordered.
        self.unreported_versions = dict[str, None]()
        # Monotonic time before which no further report is written.
        self._next_report_at_s = 0.0
        self.started_at = run.workspace.now()
        # Whether the run may submit, whether it did, whether that submission sent a batch, and
        # whether a batch was ingested after it.
        self.may_submit = True
        self.has_submitted = False
        self.has_sent = False
        self.has_ingested = False
        # Batches that failed at the API since rows were sent the last time.
        self.failed_batches = set[int]()
        self.has_successful_batch = False
        # Of a pass of `work`: the errors of its units, and the report of the build of the index.
        self.errors = list[AskrowsError]()
        self.index_report: IndexReport | None = None
        self._limit = limit
        with run.workspace.store.read() as tx:
            self._newest_batch_before = batches.compute_next_batch_number(tx) - 1
            self.parked_before = len(
                claims.list_parked_rows(
                    tx,
                    run.task.name,
                    prompt_version=run.task.parked_version,
                ),
            )

    def list_batches(self, *states: BatchState) -> list[batches.BatchRow]:
        """Return the batches of the task in these states, oldest first; without states, all."""
        return self.run.workspace.store.query(
            batches.list_batches_in_states, *states, task=self.run.task.name
        )

    def list_awaited_batches(self, *states: BatchState) -> list[batches.BatchRow]:
        """Return the batches in these states for which the run waits.

        A run of a single batch waits for that batch. A run of selected rows waits only for batches
        that ask them. While one of its rows is open, it waits for all batches of the task, because
        each may ask about an equal row.
        """
        found_batches = self.list_batches(*states)
        if self.batch_number is not None:
            return [batch for batch in found_batches if batch.number == self.batch_number]
        if self.row_ids is None or not found_batches or self.count_claimable():
            return found_batches
        numbers = self.list_claiming_batches()
        return [batch for batch in found_batches if batch.number in numbers]

    def list_claiming_batches(self) -> set[int]:
        """Return the numbers of the batches that ask the selected rows, of any process."""
        run = self.run
        return run.workspace.store.query(
            claims.find_claiming_batches, run.task.name, self.row_ids or ()
        )

    def list_busy_batches(self) -> list[int]:
        """Return the numbers of the awaited batches that another process prepares, sends or asks.

        A process has the lock of such a batch until it is done or dies.
        """
        locks = self.run.workspace.locks
        unsent_batches = self.list_awaited_batches(
            BatchState.PREPARED, BatchState.SUBMITTING, BatchState.ASKING
        )
        return [
            batch.number
            for batch in unsent_batches
            if not locks.is_free(make_batch_lock_name(batch.number))
        ]

    def count_claimable(self) -> int:
        """Return how many rows are open, of the selected rows if there is a selection.

        Open rows are not empty, claimed, answered or parked. The limit is not applied.
        """
        return Selection(row_ids=self.row_ids).count_claimable_rows(
            self.run.workspace.store, self.run.task
        )

    def stop_asking(self) -> None:
        """Prepare no new row from now on; waiting batches are still sent and collected."""
        self._limit = 0

    def remaining_rows(self) -> int | None:
        """Return how many more requests the limit allows, or None without a limit.

        Requests of all batches of the task since the start count, also those of other processes.
        """
        if self._limit is None:
            return None
        asked_count = sum(
            batch.requests
            for batch in self.list_batches()
            if batch.number > self._newest_batch_before
        )
        return max(0, self._limit - asked_count)

    def select_remaining(self) -> Selection:
        """Return the rows that may still be asked."""
        return Selection(self.remaining_rows(), row_ids=self.row_ids)

    def check_may_send(self) -> bool:
        """Return whether more may be sent; if not, record the reason in the result.

        No more may be sent if batches failed at the API since the last submission and none
        succeeded, or if the answers miss a quality gate by far. A batch that succeeded ends an
        outage.
        """
        result = self.result
        if self.failed_batches and not self.has_successful_batch:
            if not result.is_down:
                result.stop = RunStop(StopReason.BATCHES_FAILED)
            return False
        if result.is_down and self.has_successful_batch:
            result.stop = RunStop()
        if result.is_hopeless:
            result.stop = RunStop(StopReason.GATE_FAILED)
            return False
        return True

    def write_quality_reports(self, *, is_last: bool = False) -> None:
        """Write the quality report of each version with new answers.

        The result gets the reports.

        Does nothing if reports are off, or if the previous reports are too recent. A report is
        hopeless if its answers miss a gate (a bound on a quality figure) by far, on enough rows. If
        the task needs pilots, a hopeless report is recorded as a failed pilot, which blocks further
        rows of the version. If that is the version in use, no more rows are sent.

        Args:
            is_last: Write the reports however recent the previous reports are.
        """
        run = self.run
        started_at_s = run.workspace.monotonic()
        if not self.has_quality_reports or (started_at_s < self._next_report_at_s and not is_last):
            return

        for version in self.unreported_versions:
            newest_pilot = run.workspace.store.query(
                runs.find_newest_pilot, version, must_be_ended=True
            )
            has_no_verdict = (
                newest_pilot is None or newest_pilot.verdict is runs.PilotVerdict.WAIVED
            )
            notes = [WAIVED_PILOT_NOTE] if run.task.needs_pilot and has_no_verdict else []
            quality = evaluate.measure_and_write_report(
                run.workspace, run.task, tasks=run.tasks, version=version, notes=notes
            )
            if quality is None:
                continue

            is_hopeless = pilot.record_failed_pilot_if_hopeless(
                run.workspace.store,
                run.task,
                data=run.workspace.data,
                quality=quality,
                now=run.workspace.now,
            )
            if is_hopeless and version == run.version:
                self.result.is_hopeless = True
            self.result.quality_reports[version] = quality

        self.unreported_versions.clear()
        ended_at_s = run.workspace.monotonic()
        self._next_report_at_s = ended_at_s + REPORT_PAUSE_FACTOR * (ended_at_s - started_at_s)

    def note_held_batches(self, open_batches: Iterable[batches.BatchRow]) -> None:
        """Set the result's list of held batches, which wait for a person, from the open batches."""
        self.result.held_errors = [
            HeldBatchError(batch, self.run.task.nouns) for batch in open_batches if batch.is_held
        ]

    def complete_result_and_end_finished_run(self) -> RunResult:
        """Complete and return the result; write the last quality reports, and end finished runs.

        The result gets these numbers of rows that are not answered:

        - `left`: open rows, only of the selected rows if there is a selection, also those beyond
          the limit
        - `under_way`: rows in open batches
        - `waiting`: open rows that get the answer of an equal row in an open batch
        - `unasked`: rows that the calls did not reach, at most `left`
        - `parked`: rows that were parked since the start

        The rows of the stop reason are at most the open and the prepared rows. If there are
        neither, reasons of ENDING_STOPS are cleared. The result also gets the errors of held
        batches and the spending since the start. Partly written reports of dead processes are
        deleted. If no row is open, claimed or in a batch, the unfinished run of the task is ended
        in the database.

        A finished run gets a quality report even without new answers: the process that ingested its
        answers may have died before its report.
        """
        run = self.run
        result = self.result
        store = run.workspace.store
        task = run.task
        # Open rows are counted first, so that rows that are claimed meanwhile are not missed.
        result.left = self.count_claimable()
        open_batches = self.list_batches(*OPEN_STATES)
        prepared_batches = [batch for batch in open_batches if batch.state is BatchState.PREPARED]
        result.under_way = sum(batch.requests for batch in open_batches)
        result.waiting = 0
        if result.left and result.under_way:
            result.waiting = store.query(count_waiting_rows, task, run.version)
        result.unasked = min(result.unasked, result.left)

        unsent_count = result.left + sum(batch.requests for batch in prepared_batches)
        result.stop = replace(result.stop, rows=min(result.stop.rows, unsent_count))
        if not unsent_count and result.stop.reason in ENDING_STOPS:
            result.stop = RunStop()
        self.note_held_batches(open_batches)

        with store.read() as tx:
            unfinished_run = runs.find_unfinished_tag_run(tx, task.name)
            # Counting reads all rows, so it is left out if no run can end.
            is_run_finished = unfinished_run is not None and not (
                batches.list_batches_in_states(tx, *OPEN_STATES, task=task.name)
                or claims.has_claims(tx, task.name)
                or claiming.count_claimable(tx, task)
            )

        if is_run_finished and result.newest_quality is None:
            self.unreported_versions[run.version] = None
        self.write_quality_reports(is_last=True)
        if self.has_quality_reports:
            delete_abandoned_report_parts(run.workspace.data, task.name)

        with store.read() as tx:
            parked_count = len(
                claims.list_parked_rows(tx, task.name, prompt_version=task.parked_version),
            )
            result.parked = max(0, parked_count - self.parked_before)
            spending = money.sum_spending(tx, sent_since=self.started_at)
            result.spent = spending.known_usd
            result.lost_usd = spending.lost_usd

        # The next command gets a new budget.
        if unfinished_run is not None and is_run_finished:
            with store.write() as tx:
                runs.record_run_end(
                    tx, unfinished_run.number, reason="nobody is left", now=run.workspace.now()
                )
        return result
