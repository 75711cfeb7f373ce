"""Report on runs: an API batch, or all batches of a live run, with the outcomes of its requests.

A live run is one command that makes single calls; it stores them in several batches. A trial is a
live batch whose answers are not stored. A batch is held if its replies belong to other requests.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from askrows.pipeline.batch.ingest_report import IngestSummary, summarize_batches
from askrows.pipeline.batch.report import make_batch_summary
from askrows.pipeline.core.states import BatchState, Outcome, describe_reason
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.store import answer_counts, answers, batches, claims, workspace
from askrows.pipeline.store.batches import CANCEL_REASONS, BatchRow
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks.task import Task

# Outcomes of a request without an answer.
FAILED_OUTCOMES = (Outcome.REFUSED, Outcome.INVALID, Outcome.MISSING)
CANCELLED_WORD = "cancelled"
# Members of a state change in the JSON document.
MOVE_MEMBERS = ("at", "old", "new", "why")
# Members of a run in the JSON document: attributes of the summary of its batches.
SUMMARY_FIELD_NAMES = ("unapplied", "rejected", "outdated", "other_versions")


@dataclass(frozen=True)
class RunReport:
    """A run with the outcomes of its requests."""

    # The batch, or the sums of all batches of a live run.
    batch: BatchRow
    # The numbers of its batches, in ascending order.
    numbers: Sequence[int]
    # Requests by outcome, of FAILED_OUTCOMES.
    failures: Mapping[str, int]

    @property
    def outcome_counts(self) -> dict[str, int]:
        """Return the numbers of answered, failed and waiting requests, which are all requests."""
        answered_count = self.batch.answered or 0
        other_count = self.batch.requests - answered_count
        failed_count = min(sum(self.failures.values()), other_count)
        return {
            "answered": answered_count,
            "failed": failed_count,
            "waiting": other_count - failed_count,
        }

    @property
    def state_word(self) -> str:
        """Return the state of the run, or CANCELLED_WORD if a person cancelled it, or "held"."""
        if (self.batch.reason or "").startswith(CANCEL_REASONS):
            return CANCELLED_WORD
        if self.batch.is_held:
            return "held"
        return str(self.batch.state)

    def summarize(self, tx: Connection, task: Task) -> IngestSummary:
        """Return the problems of the run by reason."""
        return summarize_batches(tx, task, self.numbers)

    def describe_hold_or_commonest_failure(self, tx: Connection, task: Task) -> str:
        """Return "12 of 30 failed: REASON" with the most frequent reason of the failed requests.

        The text is "" if no request failed. If the run is held, the text is "held: REASON".
        """
        if self.batch.is_held:
            return f"held: {self.batch.held}"
        failed_count = self.outcome_counts["failed"]
        if not failed_count:
            return ""
        for anomaly in self.summarize(tx, task).anomalies:
            if anomaly.outcome in FAILED_OUTCOMES:
                reason = describe_reason(anomaly.reason)
                return f"{anomaly.count:,} of {failed_count:,} failed: {reason}"
        return ""

    def make_document(self, tx: Connection, task: Task, now: datetime) -> dict[str, Any]:
        """Return the run as JSON members: its summary, state changes and errors.

        - The members of `BatchSummary.document`.
        - `moves`: the state changes of its first and last batch, sorted by time.
        - `reasons`: the errors of all batches.
        - `is_over`: whether the run has ended.
        - `unapplied`: names of rows whose answers were not written to the row.
        - `rejected`: those of them whose input did not change.
        - `outdated`: names of rows that changed after they were asked.
        - `other_versions`: models that answered although another model was asked.
        """
        summary = self.summarize(tx, task)
        moves = list[dict[str, Any]]()
        for number in sorted({self.numbers[0], self.numbers[-1]}):
            for event in workspace.list_events(tx, "batch", number):
                moves.append({name: event[name] for name in MOVE_MEMBERS})
        return {
            **make_batch_summary(self.batch, now=now).document,
            "moves": sorted(moves, key=lambda move: move["at"]),
            "is_over": self.batch.is_finished,
            "reasons": [asdict(anomaly) for anomaly in summary.anomalies],
            **{name: getattr(summary, name) for name in SUMMARY_FIELD_NAMES},
        }

    def list_row_ids(self, tx: Connection) -> list[str]:
        """Return the id of each row that the run asked, once; shorter ids come first."""
        ended_ids = answers.list_ended_row_ids(tx, self.numbers)
        row_ids = {*ended_ids, *claims.list_claimed_row_ids(tx, self.numbers)}
        return sorted(row_ids, key=lambda row_id: (len(row_id), row_id))

    def list_failed_row_ids_to_ask(self, tx: Connection, task: Task) -> list[str]:
        """Return the id of each row that failed and is open, stale or parked now.

        Shorter ids come first.
        """
        attempts = answers.iterate_failed_attempts(tx, self.numbers)
        failed_ids = dict.fromkeys(attempt.row_id for attempt in attempts)
        table = task.rows
        states_to_ask = (RowState.OPEN, RowState.STALE, RowState.PARKED)
        words_to_ask = {table.find_state_word(state) for state in states_to_ask}
        rows = table.read_by_ids(tx, list(failed_ids), [table.row_id, table.state_expression])
        ids_to_ask = {row_id for row_id, word in rows if word in words_to_ask}
        return [row_id for row_id in failed_ids if row_id in ids_to_ask]


def make_run_report(tx: Connection, parts: Sequence[BatchRow]) -> RunReport:
    """Return the report on the run that consists of these batches.

    The failures of a batch that failed at the API are counted from the stored errors, because it
    has no result file.

    Args:
        parts: The batches of one run, or a single batch, sorted by number; at least one.
    """
    failures = Counter[str](dict.fromkeys(FAILED_OUTCOMES, 0))
    for part in parts:
        counts: Mapping[str, int] = vars(part)
        if part.state is BatchState.FAILED:
            counts = answer_counts.count_requests_by_batch_and_outcome(tx, part.number).get(
                part.number, {}
            )
        failures.update({outcome: counts.get(outcome) or 0 for outcome in FAILED_OUTCOMES})
    return RunReport(batches.combine_batches(parts), [part.number for part in parts], failures)


def read_run_report(tx: Connection, batch_number: int) -> RunReport:
    """Return the run of a batch: all batches of its live run, or the batch alone.

    Raises:
        InputError: There is no batch of this number.
    """
    batch = batches.get_batch(tx, batch_number)
    task_batches = batches.list_batches_in_states(tx, task=batch.task)
    for parts in batches.group_batches_by_run(task_batches):
        if batch in parts:
            return make_run_report(tx, parts)
    return make_run_report(tx, [batch])


def list_newest_run_reports(tx: Connection, *, limit: int) -> list[RunReport]:
    """Return the newest runs of all tasks except trials, the newest first."""
    all_batches = batches.list_batches_in_states(tx)
    runs = batches.group_batches_by_run(all_batches)
    newest_runs = runs[: -limit - 1 : -1]
    return [make_run_report(tx, parts) for parts in newest_runs]
