"""Run all due units of a task once: for cron, for a scheduler, and for parallel workers.

- A unit is the smallest piece of work that takes its lock and makes guarded state changes: a step
  of a batch, or a step of the whole task.
- A unit does nothing if another process was first. So any number of processes on any number of
  hosts may run units of one workspace at the same time, and die at any moment.
- A unit that fails does not prevent the others.
- A row is due if its last live call failed or was postponed. A due row is asked alone and at once,
  and other open rows are asked by batch.
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

from askrows.pipeline.batch import budget
from askrows.pipeline.batch.batch_plan import Selection
from askrows.pipeline.batch.report import find_waits
from askrows.pipeline.batch.session import WorkspaceSession
from askrows.pipeline.core.errors import AccountError, AskrowsError
from askrows.pipeline.core.report import warn_of_errors
from askrows.pipeline.core.states import OPEN_STATES, BatchState, Mode
from askrows.pipeline.core.text import plural
from askrows.pipeline.index import build
from askrows.pipeline.index.indexed_tasks import is_task_indexed
from askrows.pipeline.run import decisions, live
from askrows.pipeline.run.due_units import (
    find_outage_reason,
    is_pilot_clear,
    repair_link_and_check_index,
)
from askrows.pipeline.run.retry_due import ask_single_rows
from askrows.pipeline.run.rounds import TagRounds, sync_and_recover_task
from askrows.pipeline.tasks import claiming

# Opens the workspace for a task.
WorkspaceOpener = Callable[[str], AbstractContextManager[WorkspaceSession]]


class WorkPass:
    """One pass over the due units of a task, and its results.

    `phrases` has one phrase per finished unit, `figures` the counts and reasons as JSON members,
    and `failures` the errors in the order in which they occurred.
    """

    def __init__(
        self,
        ws: WorkspaceSession,
        units: Collection[str],
        number: int | None,
    ) -> None:
        """Read the current state of the task; nothing is run.

        Quality reports are off if only the units of one batch run.

        Args:
            ws: The workspace.
            units: Run only these units.
            number: Run only the units of this batch, or all if None.
        """
        self.ws = ws
        self.units = units
        self.number = number
        self.tag_rounds = TagRounds(ws, should_report=number is None)
        self.phrases = list[str]()
        self.figures = dict[str, Any]()
        self.failures = list[AskrowsError]()

    @property
    def account_error(self) -> AccountError | None:
        """Return the error of the account that a unit ended with; None without one."""
        account_errors = (error for error in self.failures if isinstance(error, AccountError))
        return next(account_errors, None)

    def attempt(self, *steps: Callable[[], object]) -> bool:
        """Run all steps in order; a step that raises AskrowsError does not prevent the next.

        The errors are added to `failures`. Other errors are raised at once.

        Returns:
            Whether all steps succeeded.
        """
        failures_before = len(self.failures)
        for step in steps:
            try:
                step()
            except AskrowsError as error:
                self.failures.append(error)
        return len(self.failures) == failures_before

    def collect(self) -> None:
        """Poll and ingest the batches, each if its unit is selected.

        If a step fails, the other still runs. Phrases for downloaded, ingested and failed batches
        are added. Errors of polls, failed batches and held batches, whose replies seem to belong to
        other rows, are added to `failures`. A batch of which it is unclear whether the API created
        it is no failure, because the next submission finds out.
        """
        nouns = self.ws.task.nouns
        tag_rounds = self.tag_rounds
        report = tag_rounds.report
        if "poll" in self.units and tag_rounds.list_batches(*budget.API_STATES):
            self.attempt(partial(tag_rounds.poll, wait=False, batch_number=self.number))
        if report.last_poll.downloaded:
            count_text = plural(len(report.last_poll.downloaded), "batch", "batches")
            self.phrases.append(f"{count_text} downloaded")
        # The next step clears up unclear creates.
        self.failures += replace(report.last_poll, unclear=[]).list_errors(nouns)

        if "ingest" in self.units and tag_rounds.list_batches(BatchState.DOWNLOADED):
            self.attempt(partial(tag_rounds.ingest, self.number))
            # If units are about single batches, the last batch writes the quality report.
            tag_rounds.should_report = self.number is None or not tag_rounds.list_batches(
                *OPEN_STATES,
            )
            self.failures += report.held_errors
            count_text = plural(len(report.ingested), "batch", "batches")
            self.phrases.append(f"{report.answered_rows:,} {nouns.answered} in {count_text}")

        # Ingestion removes batches from the failed ones if every request had a reply.
        if report.failed_batches:
            self.phrases.append(f"{plural(len(report.failed_batches), 'batch', 'batches')} failed")
        self.failures += report.list_failures(nouns)

    def sync_and_recover(self) -> None:
        """Sync the rows if the unit "fill" is selected, and clear up after dead processes.

        Later steps use the synced task.

        Raises:
            AskrowsError: The rows cannot be synced, or the replies of a dead live run cannot be
                ingested.
        """
        if "fill" in self.units:
            self.ws = self.ws.sync_task()
            self.tag_rounds.use_synced_session(self.ws)
        sync_and_recover_task(self.ws, may_be_empty=True, should_sync=False)

    def ask_due_rows(self) -> None:
        """Ask about due rows by live calls, and store the answers.

        A row is due if its last live call failed or was postponed, so that it must be asked again.
        Does nothing if the unit "ask" is not selected, or if no row is due. The counts are added to
        the figures and phrases. An error that stops the calls is added to `failures`.

        Raises:
            KeyboardInterrupt: The calls were interrupted.
        """
        if "ask" not in self.units:
            return
        due_ids = self.ws.store.query(claiming.find_due_ids, self.ws.task)
        if not due_ids:
            return

        live_report = ask_single_rows(self.ws, due_ids)
        self.figures["retried"] = {
            "answered": live_report.answered,
            "failed": live_report.failed.total(),
        }
        if live_report.answered:
            self.phrases.append(
                f"{live_report.answered:,} {self.ws.task.nouns.answered} by live calls",
            )
        if live_report.stopped is not None:
            self.failures.append(live_report.stopped)

    def decide_rows(self) -> None:
        """Continue an unfinished `tag` that asks a decision model.

        Does nothing if the unit "ask" is not selected, or if there is no such `tag`. A phrase has
        the number of decided rows. An error that stops the calls is added to `failures`. A used-up
        budget is no failure: it is added to the figures, with the number of open rows.

        Raises:
            KeyboardInterrupt: The live run was interrupted.
        """
        has_decide_run = self.ws.store.query(decisions.is_decide_run_open, self.ws.task)
        if "ask" not in self.units or not has_decide_run:
            return
        live_report = live.ask_rows(
            decisions.make_decision_session(self.ws), Selection(), mode=Mode.DECIDE
        )
        if live_report.answered:
            self.phrases.append(f"{live_report.answered:,} decided")
        if live_report.interrupted:
            raise KeyboardInterrupt
        if isinstance(live_report.stopped, budget.BudgetError):
            self.figures["left"] = self.ws.store.query(claiming.count_claimable, self.ws.task)
            self.figures["out_of_money"] = live_report.stopped.message
        elif live_report.stopped is not None:
            self.failures.append(live_report.stopped)

    def submit(self) -> None:
        """Prepare open rows within the budget, and send prepared batches.

        Does nothing if the unit "submit" is not selected. A pass for a single batch prepares no new
        rows. If a pilot is missing or failed, no new rows are prepared, and the figures have
        the reason. An unfinished `tag` that asks a decision model leaves no new rows to batches. If
        the session has no agreed cost and the price is above CONFIRM_ABOVE, a person at the
        terminal must confirm it, and without a person this is an error. A used-up budget is no
        error: it is in the figures, and the next pass submits what the budget allows. In the pause
        of an outage nothing is sent, and the figures have the reason; only unclear creates are
        resolved.

        Raises:
            AskrowsError: A batch could not be sent, or the price was not confirmed.
        """
        ws = self.ws
        tag_rounds = self.tag_rounds
        if "submit" not in self.units:
            return

        with ws.store.read() as tx:
            askable_count = 0
            if not decisions.is_decide_run_open(tx, ws.task):
                askable_count = claiming.count_claimable(tx, ws.task)
            may_ask = is_pilot_clear(tx, ws.task, version=ws.version)
            outage_reason = find_outage_reason(tx, ws.task, now=ws.now())
        # Batches of the pilot itself go on; new rows wait for a person.
        if askable_count and not may_ask:
            self.figures["left"] = askable_count
            self.figures["no_pilot"] = f"no pilot of {ws.version} has passed its gates"

        has_new_rows = bool(askable_count) and may_ask and self.number is None
        if not has_new_rows:
            tag_rounds.stop_asking()
            if not tag_rounds.list_batches(BatchState.PREPARED, BatchState.SUBMITTING):
                return

        if outage_reason and not tag_rounds.list_batches(BatchState.SUBMITTING):
            prepared_batches = tag_rounds.list_batches(BatchState.PREPARED)
            prepared_count = sum(batch.requests for batch in prepared_batches)
            self.figures["left"] = askable_count + prepared_count
            self.figures["outage"] = outage_reason
            return

        # If no cost is agreed, all rows are counted, to ask a person about the price.
        is_agreed = not has_new_rows or ws.agreed_usd is not None
        submit_report = tag_rounds.submit(
            is_confirmed=is_agreed,
            should_report_full_api=True,
            batch_number=self.number,
        )

        report = tag_rounds.report
        outcomes = submit_report.sent.items()
        self.figures["submitted"] = {str(number): outcome.value for number, outcome in outcomes}
        if submit_report.requests:
            count_text = plural(len(report.submitted), "batch", "batches")
            self.phrases.append(f"{submit_report.requests:,} submitted in {count_text}")
        if report.budget_message:
            self.figures["left"] = report.stop.rows or askable_count
            self.figures["out_of_money"] = report.budget_message

    def update_index(self) -> None:
        """Build the index if it is stale, and add a phrase about it.

        If a process died while it put a new build (a complete index) into service, this is
        completed first. A build may need calls to embed texts. Does nothing if the unit "index" is
        not selected, or if the task has no index.
        """
        if "index" not in self.units or not is_task_indexed(self.ws.workspace, self.ws.task):
            return
        if repair_link_and_check_index(self.ws, exact=True):
            report = build.build_index(self.ws.workspace, self.ws.service, self.ws.task)
            texts = plural(report.embedded, "text")
            self.phrases.append(f"{texts} embedded, index built with {report.count:,} entries")
            if report.refused:
                self.phrases.append(report.describe_refused_texts(self.ws.workspace, self.ws.task))

    def describe_waits(self) -> None:
        """Add a line about each batch that waits unusually long at the API to the figure `slow`.

        If the local engine answers, nothing is added.
        """
        ws = self.ws
        if ws.backend == "local":
            return
        submitted_batches = self.tag_rounds.list_batches(BatchState.SUBMITTED)
        lines = [
            f"batch {number} waits: {wait.describe()}"
            for number, wait in find_waits(submitted_batches, now=ws.now()).items()
            if wait.is_slow
        ]
        if lines:
            self.figures["slow"] = lines

    def add_batch_figures(self) -> None:
        """Add the report of the batches to `figures` and `phrases`, and warn of failed gates.

        `figures` are counts by name, and `phrases` are texts for people. The warning is printed.
        Figures that are 0 or empty are left out. A failed gate that keeps open rows from being sent
        is added to `failures`.
        """
        report = self.tag_rounds.report
        members = report.document()
        candidates = {
            "downloaded": report.last_poll.downloaded,
            "waiting": report.last_poll.waiting,
            "failed": members["failed"],
            "held": members["held"],
            "ingested": members["ingested"],
            "parked": members["parked"],
            "no_room": members["no_room"],
        }
        self.figures |= {name: figure for name, figure in candidates.items() if figure}
        if report.parked:
            self.phrases.append(f"{report.parked:,} parked")
        if report.is_stopped_by_gate:
            self.failures += report.gate_errors
        else:
            warn_of_errors(report.gate_errors, self.ws.display)
