"""Summarize runs for the page: an API batch, or all batches of a live run.

A live run is one command that makes single calls; it stores them in several batches. A trial is a
live batch whose answers are not stored. A batch is held if its replies belong to other requests.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import chain, product
from typing import Any

from pipeline.batch.ingest_report import Anomaly, IngestSummary, summarize_batch
from pipeline.batch.report import make_batch_summary
from pipeline.core.states import BatchState, Outcome
from pipeline.engine.task import Task
from pipeline.store import answers, batches, workspace
from pipeline.store.batches import CANCEL_REASONS, BatchRow
from pipeline.store.claims import PARKED
from pipeline.store.database import Connection
from pipeline.tables.row_table import STALE_STATE

# Outcomes of a request without an answer.
FAILED_OUTCOMES = ("refused", "invalid", "missing")
CANCELLED_WORD = "cancelled"


@dataclass(frozen=True)
class Run:
    """A run with the outcomes of its requests."""

    # The batch, or the sums of all batches of a live run.
    batch: BatchRow
    # Its batches, by ascending number.
    parts: tuple[BatchRow, ...]
    # Numbers of requests; together they are all requests.
    answered: int
    failed: int
    open: int
    # Requests by outcome, of FAILED_OUTCOMES.
    failures: Mapping[str, int]

    @property
    def word(self) -> str:
        """Return the state of the run, or CANCELLED_WORD if a person cancelled it, or "held"."""
        if any((part.reason or "").startswith(CANCEL_REASONS) for part in self.parts):
            return CANCELLED_WORD
        if self.batch.is_held:
            return "held"
        return str(self.batch.state)


def group_runs(batch_rows: Iterable[BatchRow]) -> dict[int, list[BatchRow]]:
    """Return the batches of each run by the run's number, without trials.

    The latter claim no rows. A batch that belongs to no live run is a run by itself.
    """
    parts_by_number: dict[int, list[BatchRow]] = {}
    for batch in batch_rows:
        if batch.mode.claims_rows:
            parts_by_number.setdefault(batch.run or batch.number, []).append(batch)
    return parts_by_number


def make_run(tx: Connection, parts: Sequence[BatchRow]) -> Run:
    """Return the run that consists of these batches, with the sums of their outcomes.

    Each request of the run is answered, failed or open; all requests that are neither answered nor
    failed count as open. The failures of a batch that failed at the API are counted from the stored
    errors, because it has no result file.

    Args:
        parts: The batches of one run (live batches with the same run number, or a single batch),
            sorted by number; at least one.
    """
    # Trials are not combined.
    batch = next(iter(batches.combine_runs(parts)), parts[0])
    failures = Counter(dict.fromkeys(FAILED_OUTCOMES, 0))
    for part in parts:
        if part.state == BatchState.FAILED:
            outcomes = (attempt[0] for attempt in answers.attempts_of_batch(tx, part.number))
            failures.update(outcome for outcome in outcomes if outcome in FAILED_OUTCOMES)
        else:
            failures.update({name: getattr(part, name) or 0 for name in FAILED_OUTCOMES})

    answered = sum(part.answered or 0 for part in parts)
    failed = min(failures.total(), batch.requests - answered)
    return Run(
        batch,
        tuple(parts),
        answered,
        failed,
        batch.requests - answered - failed,
        dict(failures),
    )


def read_run(tx: Connection, number: int) -> Run:
    """Return the run of a batch: all batches of its live run, or only this batch without one.

    Raises:
        InputError: There is no batch of this number.
    """
    batch = batches.get_batch(tx, number)
    runs = group_runs(batches.batches_in_states(tx, task=batch.task))
    return make_run(tx, runs.get(batch.run or batch.number, [batch]))


def describe_commonest_failure(tx: Connection, task: Task, run: Run) -> str:
    """Return "12 of 30 failed: REASON" with the most frequent reason of a run's failed rows.

    The text is "" if no row failed. If a batch of the run is held (its answers are not stored,
    because its replies seem to belong to other requests), the text is "held: " and the reason for
    it.
    """
    if run.batch.is_held:
        return f"held: {run.batch.held}"
    if not run.failed:
        return ""
    summaries = [summarize_batch(tx, task, part.number) for part in run.parts]
    for anomaly in _merge_anomalies(summaries):
        if anomaly.outcome in FAILED_OUTCOMES:
            return f"{anomaly.count:,} of {run.failed:,} failed: {anomaly.reason}"
    return ""


def describe_run(tx: Connection, task: Task, run: Run, now: datetime) -> dict[str, Any]:
    """Return a run as JSON members: its summary, state changes and errors.

    - The members of `BatchSummary.document`.
    - `moves`: the state changes of its first and last batch, sorted by time.
    - `reasons`: the errors of all batches, the most frequent first.
    - `is_over`: whether the run has ended.
    - `unapplied`: names of rows whose answers were not written to the row.
    - `rejected`: those of them whose input did not change.
    - `outdated`: names of rows that changed after they were asked.
    - `other_versions`: models that answered although another model was asked.
    """
    summaries = [summarize_batch(tx, task, part.number) for part in run.parts]
    events = chain.from_iterable(
        workspace.events_of(tx, "batch", number)
        for number in sorted({run.parts[0].number, run.parts[-1].number})
    )
    moves = [{name: event[name] for name in ("at", "old", "new", "why")} for event in events]
    return {
        **make_batch_summary(run.batch, now=now).document,
        "moves": sorted(moves, key=lambda move: move["at"]),
        "is_over": run.batch.is_finished,
        "reasons": [asdict(anomaly) for anomaly in _merge_anomalies(summaries)],
        "unapplied": _chain(summary.unapplied for summary in summaries),
        "rejected": _chain(summary.rejected for summary in summaries),
        "outdated": _chain(summary.outdated for summary in summaries),
        "other_versions": sorted(set(_chain(summary.other_versions for summary in summaries))),
    }


def _chain(name_lists: Iterable[Sequence[str]]) -> list[str]:
    return list(chain.from_iterable(name_lists))


def _merge_anomalies(summaries: Iterable[IngestSummary]) -> list[Anomaly]:
    """Return the anomalies (errors with outcome and reason) of several batches.

    The most frequent anomaly is first. If two have the same outcome and reason, they are merged:
    the counts are added, and the examples are those of the earlier batch.
    """
    merged: dict[tuple[str, str], Anomaly] = {}
    for summary in summaries:
        for anomaly in summary.anomalies:
            key = (anomaly.outcome, anomaly.reason)
            if key in merged:
                earlier = merged[key]
                merged[key] = replace(earlier, count=earlier.count + anomaly.count)
            else:
                merged[key] = anomaly
    return sorted(merged.values(), key=lambda anomaly: -anomaly.count)


def list_failed_row_ids(tx: Connection, task: Task, run: Run) -> list[str]:
    """Return the ids of the rows that failed in a run and are open, stale or parked now.

    The ids are in no order. Each is there once, even if the row failed in several batches.
    """
    ids = chain.from_iterable(
        answers.list_row_ids_of_batch(tx, part.number, outcome=Outcome(outcome))
        for part, outcome in product(run.parts, FAILED_OUTCOMES)
    )
    table = task.make_row_table(tx)
    open_states = {table.open_state, STALE_STATE, PARKED}
    rows = table.select_by_ids(
        tx,
        list(dict.fromkeys(ids)),
        [table.row_id, table.state_expression],
    )
    return [row_id for row_id, state in rows if state in open_states]
