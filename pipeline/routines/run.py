"""Do once whatever is due, for a clock that calls again and again: what waits at the API, what came, who is next.

One thing that fails does not keep the rest from being done; its error is told at the end. Two at once do no harm: each
step takes its lease.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline import freshness, piloting, spending
from pipeline.errors import ConfigurationError, FindableError, GateError
from pipeline.live import duties
from pipeline.reporting import Report as Quality
from pipeline.routines import backfill, setbacks
from pipeline.runtime import Runtime
from pipeline.spending import BudgetError
from pipeline.states import BatchState
from pipeline.steps import batch_poll, index, score
from pipeline.store import batches, claims, due
from pipeline.workflows import ingest

UNDER_WAY = (BatchState.SUBMITTING, BatchState.SUBMITTED)


@dataclass
class Report:
    """What was done, in words and as figures for programs, and what went wrong, in the order in which it did."""

    did: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    failures: list[FindableError] = field(default_factory=list)


def run(rt: Runtime, *, confirm: Callable[[float], bool]) -> Report:
    """Poll, ingest, ask again about who is due, submit what is next within the budget, score and index.

    `confirm` is asked with the estimate (USD) of the next batches where it is above CONFIRM_ABOVE.
    """
    report = Report()
    parked = setbacks.parked(rt)
    spending.go_on(rt)
    for duty in (_poll, _ingest, _retry, _score, _submit, _index, _end):
        try:
            duty(rt, report, confirm)
        except FindableError as error:
            report.failures.append(error)
    more = setbacks.parked(rt) - parked
    if more > 0:
        report.facts["parked"] = more
        report.did.append(f"{more:,} parked")
    return report


def _poll(rt: Runtime, report: Report, confirm: Callable[[float], bool]) -> None:  # noqa: ARG001 - one of several
    """Look once at every batch that is at the API."""
    if not _count(rt, *UNDER_WAY):
        return
    polled = batch_poll.run(rt, wait=False)
    report.facts["downloaded"], report.facts["waiting"] = polled.downloaded, polled.waiting
    if polled.downloaded:
        report.did.append(_some(len(polled.downloaded), "batch", "batches") + " downloaded")
    _see_failed(rt, report, polled)
    for number, why in polled.gone.items():
        report.failures.append(_gone(number, why))
    if polled.stopped is not None:
        report.failures.append(polled.stopped)


def _see_failed(rt: Runtime, report: Report, polled: batch_poll.Report) -> None:
    """Keep which batches failed at the API, and why."""
    found = setbacks.failed(rt, polled)
    if found:
        report.facts.setdefault("failed", {}).update({str(number): why for number, why in found.items()})
        report.did.append(_some(len(found), "batch", "batches") + " failed")
    report.failures += [setbacks.told(rt, number, why) for number, why in found.items()]


def _gone(number: int, why: str) -> FindableError:
    """Return the error for a batch that is not to be seen at the API any more; exit code 3."""
    return ConfigurationError(
        f"batch {number}: {why}; it was left as it is, claims kept",
        hint=f"check the key, or give it up: make batch-cancel BATCH={number}",
    )


def _ingest(rt: Runtime, report: Report, confirm: Callable[[float], bool]) -> None:  # noqa: ARG001 - one of several
    """Take in what came."""
    if not _count(rt, BatchState.DOWNLOADED):
        return
    accounts = ingest.run(rt, reported=lambda quality: _judge(report, quality))
    answered = sum(one.batch.answered or 0 for one in accounts)
    report.facts["ingested"] = {str(one.batch.number): one.batch.answered for one in accounts}
    report.did.append(f"{answered:,} {rt.task.words.done} from {_some(len(accounts), 'batch', 'batches')}")


def _judge(report: Report, quality: Quality) -> None:
    """Keep what a report says of the answers; a gate that failed ends the run with its code, once all else is done."""
    report.facts.setdefault("reports", []).append({"report": str(quality.path), "passed": quality.passed})
    try:
        quality.check()
    except GateError as error:
        report.failures.append(error)


def _retry(rt: Runtime, report: Report, confirm: Callable[[float], bool]) -> None:  # noqa: ARG001 - one of several
    """Ask again about who was added while Gemini failed."""
    with rt.store.read() as tx:
        waiting = due.waiting(tx, rt.task.name)
    if not waiting:
        return
    asked = duties.retry(rt, patience_s=duties.PATIENCE_S)
    report.facts["retried"] = {"answered": asked.answered, "failed": asked.failed.total()}
    if asked.answered:
        report.did.append(f"{asked.answered:,} {rt.task.words.done} that were due")
    if asked.stopped is not None:
        report.failures.append(asked.stopped)


def _score(rt: Runtime, report: Report, confirm: Callable[[float], bool]) -> None:  # noqa: ARG001 - one of several
    """Bring scores up to date."""
    if not rt.is_indexed:
        return
    changed = score.run(rt).changed
    report.facts["scored"] = changed
    if changed:
        report.did.append(f"{changed:,} scored")


def _submit(rt: Runtime, report: Report, confirm: Callable[[float], bool]) -> None:
    """Send what waits and, where no pilot stops it, who is next, within the budget."""
    with rt.store.read() as tx:
        askable, cleared = claims.count_askable(tx, rt.task), piloting.is_cleared(rt, tx)
    if askable and not cleared:  # a pilot's own batches go on; who is next waits for a person
        report.facts["left"], report.facts["no_pilot"] = askable, f"no pilot of {rt.extractor} has passed"
        askable = 0
    if _count(rt, BatchState.PREPARED, BatchState.SUBMITTING) or askable:
        _send(rt, report, confirm, limit=None if cleared else 0, askable=askable)


def _send(rt: Runtime, report: Report, confirm: Callable[[float], bool], *, limit: int | None, askable: int) -> None:
    """Send what waits, and at most `limit` of those who are next."""
    try:
        sent, full = setbacks.submit(rt, limit=limit, confirm=lambda plan: confirm(plan.cost), patient=True)
    except BudgetError as error:  # as it was meant to be: the next run sends what there is money for then
        _hold_back(report, askable, error.message)
        return
    report.facts["submitted"] = {str(number): fate.value for number, fate in sent.sent.items()}
    if sent.items:
        report.did.append(f"{sent.items:,} submitted in {_some(len(sent.submitted), 'batch', 'batches')}")
    if full is not None:  # as it is meant to be, too: what is under way makes room
        report.facts["no_room"] = _unsent(rt, limit=limit)
    elif sent.no_room:
        report.facts["no_room"] = sent.no_room
    if sent.held_back:
        _hold_back(report, sent.held_back, f"{sent.budget} has no room for more")


def _unsent(rt: Runtime, *, limit: int | None) -> int:
    """Return how many wait to be sent, in batches that are prepared and, but for a `limit` of 0, in none."""
    with rt.store.read() as tx:
        waiting = batches.in_states(tx, BatchState.PREPARED, task=rt.task.name)
        new = 0 if limit == 0 else claims.count_askable(tx, rt.task)
    return sum(one.requests for one in waiting) + new


def _hold_back(report: Report, left: int, why: str) -> None:
    """Keep that people are left for want of money."""
    report.facts["left"], report.facts["out_of_money"] = left, why


def _index(rt: Runtime, report: Report, confirm: Callable[[float], bool]) -> None:  # noqa: ARG001 - one of several
    """Build the index where it is behind."""
    if not rt.is_indexed:
        return
    with rt.store.read() as tx:
        if not rt.collection.count(tx):
            return
        if rt.builds.current() is not None:
            with rt.builds.open() as current:
                if not freshness.behind(rt, tx, current):
                    return
    built = index.run(rt)
    report.facts["index"] = {"build": built.number, "count": built.count, "embedded": built.embedded}
    report.did.append(f"index of {built.count:,} built")


def _end(rt: Runtime, report: Report, confirm: Callable[[float], bool]) -> None:  # noqa: ARG001 - one of several
    """End a `tag` or a backfill after which nobody is left."""
    spending.close(rt.store, rt.task, at=rt.now())
    backfill.close(rt)


def _count(rt: Runtime, *states: BatchState) -> int:
    """Return how many batches are in these states."""
    with rt.store.read() as tx:
        return len(batches.in_states(tx, *states, task=rt.task.name))


def _some(count: int, one: str, many: str) -> str:
    """Return a count with its word."""
    return f"{count:,} {one if count == 1 else many}"
