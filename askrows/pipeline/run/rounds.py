"""Poll, ingest and submit in rounds until no row is open, or a reason to stop is found.

- A batch is held if its replies seem to belong to other rows. It is ingested only if a person
  accepts it.

The database stores the state of every round. If the process dies, the next command resumes.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from askrows.pipeline.batch import ingest, poll, submit
from askrows.pipeline.batch.batch_plan import Selection
from askrows.pipeline.batch.budget import API_STATES, BudgetError
from askrows.pipeline.batch.held_batches import HeldBatchError
from askrows.pipeline.batch.session import WorkspaceSession
from askrows.pipeline.batch.submit import SubmitReport
from askrows.pipeline.core.command_hint import HintTemplate, OptionHint
from askrows.pipeline.core.errors import AskrowsError, InputError, ThrottledError
from askrows.pipeline.core.progress import ProgressBar
from askrows.pipeline.core.states import (
    OPEN_STATES,
    BatchState,
    Mode,
    RemoteState,
    describe_reason,
    remote_state,
)
from askrows.pipeline.core.text import format_usd, shorten
from askrows.pipeline.quality import evaluate, pilot
from askrows.pipeline.quality.report import delete_partial_reports
from askrows.pipeline.run import live
from askrows.pipeline.run.live_report import LiveReport
from askrows.pipeline.run.tag_report import TagReport, TagStop, TagStopReason
from askrows.pipeline.store import batches, claims, money, runs
from askrows.pipeline.tasks import claiming
from askrows.pipeline.tasks.equal_rows import count_waiting_rows

UNSUCCESSFUL_STATES = (RemoteState.FAILED, RemoteState.EXPIRED, RemoteState.CANCELLED)
# A shorter wait for the API is normal and not shown.
MIN_SHOWN_WAIT_S = 5.0
MAX_SHOWN_REASON_CHARS = 90
# The next quality reports wait this many times as long as the last ones took. The reports at the
# end of the command do not wait.
REPORT_PAUSE_FACTOR = 20
WAIVED_PILOT_NOTE = "Asked without a passed pilot, because a person waived it."
HOPELESS_ANSWERS_REASON = HintTemplate(
    "the answers fail a quality gate by far, so no more rows were sent; {} sends them anyway",
    OptionHint(skip_pilot=True),
)
API_FULL_REASON = "the API accepts no more batches for now"
API_DOWN_REASON = "all batches failed at the API, so no more rows were sent"


def sync_and_recover_task(
    ws: WorkspaceSession,
    *,
    may_be_empty: bool = False,
    should_sync: bool = True,
) -> WorkspaceSession:
    """Sync a task's rows with their source, and clear up after dead and outdated work.

    Replies of live runs whose process died are ingested. Prepared batches are given up, which opens
    their rows again, if the declaration changed since, if the model does not accept their thinking
    level, or if Gemini refuses their model and another is set. It sends nothing.

    Args:
        ws: The workspace.
        may_be_empty: Accept a task without any row. A task with open batches is accepted anyway.
        should_sync: Sync the rows of a user task with their source.

    Returns:
        The synced session.

    Raises:
        InputError: The rows of a user task cannot be read, or the task has no rows.
        ConfigurationError: The declaration changed under its version, or GATES is invalid.
        AskrowsError: The replies of a dead live run could not be ingested.
    """
    if should_sync:
        ws = ws.sync_task()
    # Invalid gates are refused before anything is spent.
    evaluate.read_effective_gates(ws.task, ws.settings, tasks=ws.tasks)
    ingest.recover_dead_runs(ws)
    submit.abandon_outdated_batches(ws)
    open_batches = ws.store.query(batches.batches_in_states, *OPEN_STATES, task=ws.task.name)
    if not (may_be_empty or open_batches):
        ws.check_has_rows()
    return ws


class TagRounds:
    """The rounds of one command and their report.

    Call `complete_report` after the last round.
    """

    def __init__(
        self,
        ws: WorkspaceSession,
        *,
        limit: int | None = None,
        row_ids: Sequence[str] | None = None,
        should_report: bool = True,
    ) -> None:
        """Read the current state of the task: its newest batch and its parked rows.

        Later figures count only batches and parked rows that come after.

        Args:
            ws: The workspace.
            limit: How many new requests may be made, or None for all.
            row_ids: Ask only rows with these ids, or None for all.
            should_report: Write quality reports.
        """
        self._ws = ws
        self._limit = limit
        self.row_ids = row_ids
        self.report = TagReport(ws.version)
        self.should_report = should_report
        # Monotonic time before which no further quality report is written.
        self._next_report_at_s = 0.0
        # Versions with answers since their last quality report; the keys are ordered.
        self._unreported_versions = dict[str, None]()
        self.started_at = ws.now()
        # Batches that failed at the API since rows were sent the last time.
        self._failed_batches = set[int]()
        self._has_successful_batch = False
        with ws.store.read() as tx:
            self._newest_batch_before = batches.next_number(tx) - 1
            self._parked_before = len(
                claims.parked_rows(
                    tx,
                    ws.task.name,
                    prompt_version=ws.task.parked_version,
                ),
            )

    def use_synced_session(self, ws: WorkspaceSession) -> None:
        """Go on with the session that a sync returned."""
        self._ws = ws

    def list_batches(self, *states: BatchState) -> list[batches.BatchRow]:
        """Return the batches of the task in these states, oldest first; without states, all."""
        return self._ws.store.query(batches.batches_in_states, *states, task=self._ws.task.name)

    def count_claimable(self) -> int:
        """Return how many rows are open, of the selected rows if there is a selection.

        Open rows are not empty, claimed, answered or parked. The limit is not applied.
        """
        ws = self._ws
        if self.row_ids is not None:
            return len(ws.store.query(claiming.filter_claimable_ids, ws.task, self.row_ids))
        return ws.store.query(claiming.count_claimable, ws.task)

    def advance(self, *, wait: bool) -> None:
        """Send open rows by batch; with `wait` also poll, ingest and send again until all is done.

        If `wait` is set, batches that are downloaded already are ingested first, and rows that
        failed are sent again after all batches are over. If the API has no room, the next
        submission follows the first batch that ends. The method returns early if a poll did not
        reach the API, or if a batch needs a person: the API does not know it, or it is unclear
        whether it was created.

        If all batches fail at the API, or if the answers miss a quality gate by far, no more rows
        are sent, so that a short outage does not use up the attempts of all rows. The report gets
        the reason. Even then, open batches are waited for with `wait`, and so are they before the
        error of a used-up daily quota is raised.

        Args:
            wait: Wait for batches. Otherwise return after one submission.

        Raises:
            RemoteError, ConfigurationError, InputError: A step failed, such as sending a batch; the
                next command continues.
        """
        if wait and self.list_batches(BatchState.DOWNLOADED):
            self.ingest()

        while self._update_stop_reason():
            try:
                submit_report = self.submit(should_report_full_api=wait)
            except ThrottledError as error:
                if wait and self.list_batches(BatchState.SUBMITTED):
                    self._ws.display.say(f"waiting for the submitted batches: {error.message}")
                    self._collect(stops_with_room=False)
                raise
            ingested_count = self._collect(stops_with_room=True) if wait else 0

            has_unsent_rows = self.count_claimable() or self.list_batches(BatchState.PREPARED)
            has_progress = submit_report.sent or ingested_count
            if not (wait and has_unsent_rows and has_progress) or self.is_stopped:
                break

        # The reason is also recorded if no row is left to send.
        may_submit = self._update_stop_reason()
        if wait and not may_submit:
            self._collect(stops_with_room=False)

    def _collect(self, *, stops_with_room: bool) -> int:
        """Wait for the batches at the API and ingest them; return how many were ingested.

        The loop ends if no batch is at the API, or if polling stopped.

        Args:
            stops_with_room: If the API had no room for all rows, end the loop also after the first
                batch that was ingested.
        """
        ingested_count = 0
        while not self.is_stopped and self.list_batches(*API_STATES):
            self.poll(wait=True)
            ingested_count += self.ingest()
            is_api_full = self.report.stop.reason is TagStopReason.API_FULL
            if stops_with_room and is_api_full and ingested_count:
                break
        return ingested_count

    @property
    def is_stopped(self) -> bool:
        """Return whether the last poll could not go on, or a batch needs a person.

        A poll cannot go on if the API is down for too long or a daily quota is used up. A batch
        needs a person if the API does not know it, or if it is unclear whether the API created it.
        """
        poll_report = self.report.last_poll
        return bool(poll_report.stopped or poll_report.gone or poll_report.unclear)

    def _update_stop_reason(self) -> bool:
        """Return whether more may be sent; if not, record the reason in the report.

        No more may be sent if batches failed at the API since the last submission and none
        succeeded, or if the answers miss a quality gate by far. A batch that succeeded ends an
        outage.
        """
        report = self.report
        if self._failed_batches and not self._has_successful_batch:
            message = report.stop.message if report.is_down else API_DOWN_REASON
            report.stop = TagStop(TagStopReason.BATCHES_FAILED, message)
            return False
        if report.is_down and self._has_successful_batch:
            report.stop = TagStop()
        if report.is_hopeless:
            report.stop = TagStop(TagStopReason.GATE_FAILED, str(HOPELESS_ANSWERS_REASON))
            return False
        return True

    def submit(
        self,
        *,
        is_confirmed: bool = True,
        should_report_full_api: bool,
        batch_number: int | None = None,
    ) -> SubmitReport:
        """Send prepared batches, and prepare and send open rows within budgets and limits.

        The command's report gets the new batches, and the reason if rows are not sent. A used-up
        budget raises nothing: the command's report has its error, and the result is empty. Earlier
        failures are forgotten: only batches that fail after this submission stop the rounds.

        Args:
            is_confirmed: A person confirmed the cost before; otherwise the person is asked.
            should_report_full_api: If the API has no room for another batch, and a batch of this
                task waits at the API already, return with the reason in the report instead of
                raising.
            batch_number: Of the prepared batches, send only this one; new batches are sent anyway.

        Raises:
            RemoteError: The API refused a batch, or it is unclear whether it created one.
            ConfigurationError: There is no usable key, or the price is unknown and nobody can
                confirm it.
            InputError: The cost was not confirmed.
        """
        report = self.report
        self._failed_batches.clear()
        self._has_successful_batch = False
        report.stop = TagStop()

        selection = Selection(self.remaining_rows(), row_ids=self.row_ids)
        try:
            submit_report = submit.submit_batches(
                self._ws,
                selection,
                is_confirmed=is_confirmed,
                should_report_full_api=should_report_full_api,
                number=batch_number,
            )
        except BudgetError as error:
            report.stop = TagStop(TagStopReason.BUDGET, error.message, budget_error=error)
            return SubmitReport()

        created_batches = submit_report.created_batches
        report.submitted += [sent for sent in created_batches if sent not in report.submitted]
        report.equal_rows += submit_report.equal_rows
        report.stop = self._find_submit_stop(submit_report, selection)
        return submit_report

    def _find_submit_stop(
        self,
        submit_report: SubmitReport,
        selection: Selection,
    ) -> TagStop:
        """Return why a submission left rows unsent, with their number; an empty stop if none.

        The reason is an outage, in which one batch is sent, else a full API, else a budget. If the
        API refused a batch as one too many, the number is that of the rows in prepared batches plus
        the open rows. The open rows do not count if the limit of the command is used up.
        """
        if submit_report.outage_message:
            return TagStop(TagStopReason.BATCHES_FAILED, submit_report.outage_message)
        rows_without_room = submit_report.no_room
        if submit_report.full_api_error:
            prepared_batches = self.list_batches(BatchState.PREPARED)
            rows_without_room = sum(batch.requests for batch in prepared_batches)
            if selection.limit != 0:
                rows_without_room += self.count_claimable()
        if submit_report.full_api_error or rows_without_room:
            return TagStop(TagStopReason.API_FULL, API_FULL_REASON, rows_without_room)
        if submit_report.held_back:
            return TagStop(
                TagStopReason.BUDGET,
                f"{submit_report.budget} does not cover the other rows",
                submit_report.held_back,
            )
        return TagStop()

    def ask_live(self, mode: Mode) -> LiveReport:
        """Ask every open row by live calls, up to the remaining limit, and store the answers.

        An error that stops the run (daily quota, budget, service down) is not raised: it is in the
        returned report, and so is an interrupt. The command's report gets the live run and the
        number of unasked rows. Unless the run was interrupted, a quality report is written.

        Args:
            mode: Live, flex or decide.

        Returns:
            The report of the calls; empty if no row is open. Its first failures have the names
            of rows, not ids.

        Raises:
            InputError: The task has no rows, or the mode is flex and the model is not available in
                it.
            ConfigurationError: No key is set, or the model does not exist; nothing was asked.
        """
        ws = self._ws
        report = self.report
        limit = self.remaining_rows()
        askable_count = self.count_claimable()
        selected_count = askable_count if limit is None else min(askable_count, limit)

        report.live = LiveReport()
        if not selected_count:
            ws.check_has_rows()
            return report.live
        if mode is Mode.FLEX and not ws.model.flex:
            message = f"{ws.model.name} is not available in flex; nothing was asked"
            hint = (
                f"{OptionHint(mode='batch')} costs the same; "
                f"or set {OptionHint('model')} to a model with flex"
            )
            raise InputError(message, hint=hint)

        # A missing key or an engine that cannot start raises before anything is written.
        ws.open_client()
        with ws.display.bar("asking", selected_count) as bar:
            live_report = live.ask_rows(
                ws,
                Selection(limit, row_ids=self.row_ids),
                mode=mode,
                on_progress=partial(_show_live_progress, bar),
            )
        report.live = live_report
        finished_count = live_report.answered + live_report.failed.total()
        unfinished_count = max(0, selected_count - finished_count)
        report.unasked = min(unfinished_count, self.count_claimable())

        with ws.store.read() as tx:
            names = ws.task.select_task_rows(tx).read_names(
                tx,
                [row_id for row_id, _ in live_report.first_failures],
            )
        live_report.first_failures = [
            (names.get(row_id, row_id), reason) for row_id, reason in live_report.first_failures
        ]

        if live_report.run is not None and not live_report.interrupted:
            self._unreported_versions[ws.version] = None
            # Report now: the caller may wait for batches, which takes up to a day.
            self._write_quality_reports(is_last=False)
        return live_report

    def stop_asking(self) -> None:
        """Prepare no new row from now on; waiting batches are still sent and collected."""
        self._limit = 0

    def remaining_rows(self) -> int | None:
        """Return how many more requests the limit allows, or None without a limit.

        Requests of all batches of the task since the command started count, also those of other
        processes.
        """
        if self._limit is None:
            return None
        asked_count = sum(
            batch.requests
            for batch in self.list_batches()
            if batch.number > self._newest_batch_before
        )
        return max(0, self._limit - asked_count)

    def poll(
        self,
        *,
        wait: bool,
        batch_number: int | None = None,
    ) -> None:
        """Look at the task's batches at the API, download results, and record failed batches.

        A batch that the API failed, expired or cancelled counts as failed, even if it has a partial
        result. A batch that a person cancelled does not count as failed. The report's last poll is
        replaced by this one, which has the error of an API that could not be reached.

        Args:
            wait: Poll until the first batch ends; otherwise look once.
            batch_number: Poll only this batch.

        Raises:
            KeyRefusedError: The API refuses the key.
        """
        poll_report = poll.poll_batches(
            self._ws,
            should_wait=wait,
            stops_at_first=True,
            number=batch_number,
        )
        self.report.last_poll = poll_report

        failures = dict[int, str]()
        with self._ws.store.read() as tx:
            for ended_number in sorted([*poll_report.failed, *poll_report.downloaded]):
                batch = batches.get_batch(tx, ended_number)
                state = remote_state(batch.remote_word)
                is_failed = batch.number in poll_report.failed or state in UNSUCCESSFUL_STATES
                # A cancelled batch did not fail.
                if is_failed and batch.cancel_asked_at is None:
                    failures[batch.number] = batch.reason or str(state)

        self.report.failed_batches |= failures
        self._failed_batches |= failures.keys()
        if set(poll_report.downloaded) - set(failures):
            self._has_successful_batch = True

    def ingest(self, batch_number: int | None = None) -> int:
        """Ingest downloaded batches, write quality reports, and return how many were ingested.

        Held batches, whose replies seem to belong to other rows, are not ingested: the report gets
        their errors. The report also gets the summaries of the others. Quality reports are written
        also after an error, but a recent report is not replaced.

        Args:
            batch_number: Ingest only this batch; None ingests all.

        Raises:
            InconsistentError, ConfigurationError, RemoteError: A batch could not be ingested; the
                other batches were.
        """
        ingested = self.report.ingested
        count_before = len(ingested)
        try:
            for summary in ingest.ingest_batches(self._ws, number=batch_number):
                ingested.append(summary)
                batch = summary.batch
                for warning in summary.iterate_warnings(self._ws.task.nouns):
                    self._ws.display.warn(f"batch {batch.number}: {warning}")
                self._unreported_versions[batch.version] = None
                if batch.missing == 0 and batch.number in self.report.failed_batches:
                    # The batch failed at the API after every request had a reply.
                    del self.report.failed_batches[batch.number]
                    self._failed_batches.discard(batch.number)
                    self._has_successful_batch = True
        except HeldBatchError:
            # The held batches wait for a person, and the other batches go on.
            pass
        except AskrowsError:
            self._note_held_batches()
            self._write_quality_reports(is_last=False)
            raise

        self._note_held_batches()
        self._write_quality_reports(is_last=False)
        return len(ingested) - count_before

    def _note_held_batches(self) -> None:
        """Set the report's list of held batches, which wait for a person, as they are now."""
        self.report.held_errors = [
            HeldBatchError(batch, self._ws.task.nouns)
            for batch in self.list_batches(BatchState.DOWNLOADED)
            if batch.is_held
        ]

    def _write_quality_reports(self, *, is_last: bool) -> None:
        """Write the quality report of each version with new answers.

        Does nothing if reports are off, or if the previous reports are too recent. A report is
        hopeless if its answers miss a gate (a bound on a quality figure) by far, on enough rows. If
        the task needs pilots, a hopeless report is recorded as a failed pilot, which blocks further
        rows of the version. If that is the version in use, no more rows are sent.

        Args:
            is_last: Write the reports however recent the previous reports are.
        """
        ws = self._ws
        started_at_s = ws.monotonic()
        if not self.should_report or (started_at_s < self._next_report_at_s and not is_last):
            return

        for version in self._unreported_versions:
            newest_pilot = ws.store.query(runs.find_newest_pilot, version, must_be_ended=True)
            has_no_verdict = (
                newest_pilot is None or newest_pilot.verdict is runs.PilotVerdict.WAIVED
            )
            notes = [WAIVED_PILOT_NOTE] if ws.task.needs_pilot and has_no_verdict else []
            quality = evaluate.write_report(
                ws.workspace, ws.task, tasks=ws.tasks, version=version, notes=notes
            )
            if quality is None:
                continue

            is_hopeless = pilot.block_if_hopeless(
                ws.store,
                ws.task,
                data=ws.data,
                quality=quality,
                now=ws.now,
            )
            if is_hopeless and version == ws.version:
                self.report.is_hopeless = True
            self.report.quality_reports[version] = quality

        self._unreported_versions.clear()
        ended_at_s = ws.monotonic()
        self._next_report_at_s = ended_at_s + REPORT_PAUSE_FACTOR * (ended_at_s - started_at_s)

    def complete_report(self) -> TagReport:
        """Complete and return the report; write the last quality reports, and end finished runs.

        Open rows, rows in open batches, rows parked since the start, and the spending since the
        start are counted. Partly written reports of dead processes are deleted. If no row is open,
        claimed or in a batch, the unfinished run of the task is ended in the database.

        A finished run gets a quality report even without new answers: the process that ingested its
        answers may have died before its report.
        """
        ws = self._ws
        report = self.report
        task = ws.task
        self._count_open_rows()
        self._note_held_batches()

        with ws.store.read() as tx:
            unfinished_run = runs.find_unfinished_run(tx, task.name)
            # Counting reads all rows, so it is left out if no run can end.
            is_run_finished = unfinished_run is not None and not (
                batches.batches_in_states(tx, *OPEN_STATES, task=task.name)
                or claims.has_claims(tx, task.name)
                or claiming.count_claimable(tx, task)
            )

        if is_run_finished and report.newest_quality is None:
            self._unreported_versions[ws.version] = None
        self._write_quality_reports(is_last=True)
        delete_partial_reports(ws.data, task.name)

        with ws.store.read() as tx:
            parked_count = len(
                claims.parked_rows(tx, task.name, prompt_version=task.parked_version),
            )
            report.parked = max(0, parked_count - self._parked_before)
            spending = money.sum_spending(tx, sent_since=self.started_at)
            report.spent = spending.known_usd
            report.lost_usd = spending.lost_usd

        # The next command gets a new budget.
        if unfinished_run is not None and is_run_finished:
            with ws.store.write() as tx:
                runs.end_run(tx, unfinished_run.number, reason="nobody is left", now=ws.now())
        return report

    def _count_open_rows(self) -> None:
        """Set the report's numbers of rows that are not answered, and correct its stop reason.

        - `left`: open rows, also those that this command does not ask, for example beyond its limit
        - `under_way`: rows in open batches
        - `waiting`: open rows that get the answer of an equal row in an open batch
        - `unasked`: rows that a live run did not reach, at most `left`

        The rows of the stop reason are at most the open and the prepared rows. If there are
        neither, the stop reason is cleared, unless all batches failed.
        """
        report = self.report
        report.left = self.count_claimable()
        report.under_way = sum(batch.requests for batch in self.list_batches(*OPEN_STATES))
        report.waiting = 0
        if report.left and report.under_way:
            ws = self._ws
            report.waiting = ws.store.query(count_waiting_rows, ws.task, ws.version)
        prepared_count = sum(batch.requests for batch in self.list_batches(BatchState.PREPARED))
        unsent_count = report.left + prepared_count

        report.unasked = min(report.unasked, report.left)
        report.stop = replace(report.stop, rows=min(report.stop.rows, unsent_count))
        if not unsent_count and not report.is_down:
            report.stop = TagStop()


def _show_live_progress(bar: ProgressBar, live_report: LiveReport) -> None:
    """Show the number of replies in a progress bar, with a note about the live run.

    The note has, in this order:

    - the number of calls at the same time
    - a failure of Gemini
    - how long the next call must wait, from MIN_SHOWN_WAIT_S; a wait without a known end is left
      out
    - the number of failures and the newest reason
    - the cost, except 0

    Reasons are cut to MAX_SHOWN_REASON_CHARS.
    """
    notes = [f"{live_report.max_parallel_calls} at once"]
    if live_report.service_failure:
        failure = live_report.service_failure.removeprefix("Gemini failed on the request to ")
        notes.append(f"Gemini fails ({shorten(failure, MAX_SHOWN_REASON_CHARS)})")
    if MIN_SHOWN_WAIT_S <= live_report.pause_s < math.inf:
        notes.append(f"waits {live_report.pause_s:.0f} s for the API")
    if live_report.failed:
        failure = shorten(describe_reason(live_report.newest_failure), MAX_SHOWN_REASON_CHARS)
        notes.append(f"{live_report.failed.total()} failed ({failure})")
    if live_report.cost:
        notes.append(format_usd(live_report.cost))
    bar.show(live_report.replies, note=", ".join(notes))
