"""Summarize runs for the page: an API batch, or all batches of a live run."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import chain, product
from typing import Any

from pipeline.batch.cancel_reasons import CANCEL_REASONS
from pipeline.batch.ingest_report import Anomaly, summarize_batch
from pipeline.batch.report import make_batch_summary
from pipeline.core.states import BatchState, Outcome
from pipeline.engine.task import Task
from pipeline.store import answers, batches, workspace
from pipeline.store.batches import BatchRow
from pipeline.store.claims import PARKED
from pipeline.store.database import Connection

# Outcomes of a request without an answer.
FAILED_OUTCOMES = ("refused", "invalid", "missing")


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
    def is_cancelled(self) -> bool:
        """Whether a person has cancelled the run."""
        return any((part.reason or "").startswith(CANCEL_REASONS) for part in self.parts)

    @property
    def word(self) -> str:
        """Return the state of the run, or "cancelled" or "held"."""
        if self.is_cancelled:
            return "cancelled"
        if self.batch.is_held:
            return "held"
        return str(self.batch.state)

    @property
    def icon(self) -> str:
        """Return the name of the icon: "runs" for an open run, or how the run went.

        A cancelled run is "warn". A run whose batch failed is "bad", and so is a run with failures
        and without any answer. A run with failures and answers is "warn", any other run "ok".
        """
        if self.is_cancelled:
            return "warn"
        if not self.batch.is_finished:
            return "runs"
        if self.batch.state == BatchState.FAILED or (self.failed and not self.answered):
            return "bad"
        if self.failed:
            return "warn"
        return "ok"


def group_runs(batch_rows: Iterable[BatchRow]) -> dict[int, list[BatchRow]]:
    """Return the batches of each run by the run's number, without batches that claim no rows."""
    parts_by_number: dict[int, list[BatchRow]] = {}
    for batch in batch_rows:
        if batch.way.claims_rows:
            parts_by_number.setdefault(batch.run or batch.number, []).append(batch)
    return parts_by_number


def make_run(tx: Connection, parts: Sequence[BatchRow]) -> Run:
    """Return a run of these batches, which are sorted by number and not empty.

    The outcomes of a failed batch are counted from the stored errors, because it has no result
    file. The failed requests are at most those without an answer. The other requests are open.
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
    """Return the run that a batch belongs to; a batch of no live run is a run by itself.

    Raises:
        InputError: There is no batch of this number.
    """
    batch = batches.get_batch(tx, number)
    parts = [batch]
    if batch.run and batch.way.claims_rows:
        rows = batches.batches_in_states(tx, task=batch.task, only_live=True)
        parts = [part for part in rows if (part.run or part.number) == batch.run]
    return make_run(tx, parts)


def describe_commonest_failure(tx: Connection, run: Run) -> str:
    """Return the reason that most failures of a run share, with their number; "" without any.

    Reasons are compared up to their first colon. A held run has the reason of the hold instead.
    """
    if run.batch.is_held:
        return f"held: {run.batch.held}"
    if not run.failed:
        return ""
    reasons = Counter[str]()
    for part in run.parts:
        attempts = answers.attempts_of_batch(tx, part.number)
        reasons.update(
            reason.partition(":")[0]
            for outcome, reason, *_ in attempts
            if outcome in FAILED_OUTCOMES
        )
    if not reasons:
        return ""
    [(reason, count)] = reasons.most_common(1)
    return f"{count:,} of {run.failed:,} failed: {reason}"


def describe_run(tx: Connection, task: Task, run: Run, now: datetime) -> dict[str, Any]:
    """Return a run as JSON members: its summary, state changes and errors.

    The state changes (`moves`) of its first and last batch are sorted by time. The errors
    (`reasons`) are those of all batches, the most frequent first. Other members are `is_over`, the
    names of rows whose answers are `unapplied` or `outdated`, the `other_versions` that answered,
    and the count `left_out_values`.
    """
    accounts = [summarize_batch(tx, task, part.number) for part in run.parts]
    events: list[dict[str, Any]] = []
    for number in sorted({run.parts[0].number, run.parts[-1].number}):
        events += workspace.events_of(tx, "batch", number)
    moves = [{name: event[name] for name in ("at", "old", "new", "why")} for event in events]
    return {
        **make_batch_summary(run.batch, now=now).document,
        "moves": sorted(moves, key=lambda move: move["at"]),
        "is_over": run.batch.is_finished,
        "reasons": [asdict(anomaly) for anomaly in _merge_anomalies(accounts)],
        "unapplied": _chain(account.unapplied for account in accounts),
        "outdated": _chain(account.outdated for account in accounts),
        "other_versions": sorted(set(_chain(account.other_versions for account in accounts))),
        "left_out_values": sum(account.left_out_values for account in accounts),
    }


def _chain(name_lists: Iterable[Sequence[str]]) -> list[str]:
    return list(chain.from_iterable(name_lists))


def _merge_anomalies(accounts: Iterable[Any]) -> list[Anomaly]:
    """Return the anomalies of several batches, the most frequent first.

    Anomalies with the same outcome and reason are merged; the examples of the first stay.
    """
    merged: dict[tuple[str, str], Anomaly] = {}
    for account in accounts:
        for anomaly in account.anomalies:
            key = (anomaly.outcome, anomaly.reason)
            earlier = merged.get(key)
            if earlier is not None:
                anomaly = replace(  # noqa: PLW2901 - the sum of both
                    earlier,
                    count=earlier.count + anomaly.count,
                )
            merged[key] = anomaly
    return sorted(merged.values(), key=lambda anomaly: -anomaly.count)


def list_failed_row_ids(tx: Connection, task: Task, run: Run) -> list[str]:
    """Return the ids of the rows that failed in a run and are now open or parked, in any order.

    Each id is there once, even if the row failed in several batches.
    """
    ids: list[str] = []
    for part, outcome in product(run.parts, FAILED_OUTCOMES):
        ids += answers.list_row_ids_of_batch(tx, part.number, outcome=Outcome(outcome))
    table = task.rows.table(tx)
    open_state, _ = table.states.pending_state
    rows = table.select_by_ids(
        tx,
        list(dict.fromkeys(ids)),
        [table.item_id, table.state_expression],
    )
    return [row_id for row_id, state in rows if state in {open_state, PARKED}]
