"""Do once whatever is due, for a clock that calls again and again: what waits at the API, what came, who is next.

One thing that fails does not keep the rest from being done; its error is told at the end. Two at once do no harm: each
step takes its lease.

The user's own command, run when a command of ours ends: told what was done as JSON on its standard input.
"""

import contextlib
import json
import shlex
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.batch import poll
from pipeline.core.errors import ConfigurationError, FindableError, GateError
from pipeline.core.states import BatchState
from pipeline.cost import budget
from pipeline.cost.budget import BudgetError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import build, staleness
from pipeline.index.builds import Builds
from pipeline.live import retry_queue
from pipeline.quality import pilot
from pipeline.quality.evaluate import QualityReport as Quality
from pipeline.store import batches, claims, retries
from pipeline.workflows import backfill, failures, ingest

STANDARD_ERROR = 2  # standard output is ours, and may hold one JSON document


@contextlib.contextmanager
def run_hooks(
    *, on_done: str, on_fail: str, code_of: Callable[[BaseException], int], warn: Callable[[str], None]
) -> Iterator[dict[str, Any]]:
    """Give a summary to fill; at the end of the block `on_done` gets it, or `on_fail` with the error in it.

    Each is a line for `sh`, run where we run, with our environment; what it prints goes to standard error. An empty
    one is not run. `code_of` says with which exit code an error ends the command. Where `on_fail` fails as well, `warn`
    is told, and the error stays what it was.

    Raises:
        ConfigurationError: `on_done` did not end with 0; what was done is kept.
    """
    summary: dict[str, Any] = {}
    try:
        yield summary
    except BaseException as error:
        summary |= {"ok": False, "error": _said(error), "exit_code": code_of(error)}
        try:
            _run(on_fail, "ON_FAIL", summary)
        except ConfigurationError as another:
            warn(another.message)
        raise
    summary["ok"] = True
    _run(on_done, "ON_DONE", summary)


def _said(error: BaseException) -> str:
    """Return an error in its own words where it is one of ours; nobody's data goes out with another one."""
    return error.message if isinstance(error, FindableError) else type(error).__name__


def _run(command: str, name: str, summary: dict[str, Any]) -> None:
    """Run a command with the summary on its standard input; one that does not read it all is not to blame."""
    if not command.strip():
        return
    document = json.dumps(summary, default=str).encode()
    shell = ["/bin/sh", "-c", command]
    done = subprocess.run(shell, input=document, stdout=STANDARD_ERROR, check=False)  # noqa: S603 - the user's own
    if done.returncode:
        raise ConfigurationError(
            f"the command of {name} ended with {done.returncode}; what was done is kept",
            hint=f"try it by itself: echo '{{}}' | sh -c {shlex.quote(command)}",
        )


UNDER_WAY = (BatchState.SUBMITTING, BatchState.SUBMITTED)


@dataclass
class RunReport:
    """What was done, in words and as figures for programs, and what went wrong, in the order in which it did."""

    did: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    failures: list[FindableError] = field(default_factory=list)


def run(ws: OpenWorkspace, *, confirm: Callable[[float], bool]) -> RunReport:
    """Poll, ingest, ask again about who is due, submit what is next within the budget, score and index.

    `confirm` is asked with the estimate (USD) of the next batches where it is above CONFIRM_ABOVE.
    """
    report = RunReport()
    parked = failures.count_parked_items(ws)
    budget.resume_budget(ws)
    for duty in (_poll, _ingest, _retry, _score, _submit, _index, _end):
        try:
            duty(ws, report, confirm)
        except FindableError as error:
            report.failures.append(error)
    more = failures.count_parked_items(ws) - parked
    if more > 0:
        report.facts["parked"] = more
        report.did.append(f"{more:,} parked")
    return report


def _poll(ws: OpenWorkspace, report: RunReport, confirm: Callable[[float], bool]) -> None:  # noqa: ARG001 - one of several
    """Look once at every batch that is at the API."""
    if not _count(ws, *UNDER_WAY):
        return
    polled = poll.run(ws, wait=False)
    report.facts["downloaded"], report.facts["waiting"] = polled.downloaded, polled.waiting
    if polled.downloaded:
        report.did.append(_some(len(polled.downloaded), "batch", "batches") + " downloaded")
    _see_failed(ws, report, polled)
    for number, why in polled.gone.items():
        report.failures.append(_gone(number, why))
    if polled.stopped is not None:
        report.failures.append(polled.stopped)


def _see_failed(ws: OpenWorkspace, report: RunReport, polled: poll.PollReport) -> None:
    """Keep which batches failed at the API, and why."""
    found = failures.failed_batches(ws, polled)
    if found:
        report.facts.setdefault("failed", {}).update({str(number): why for number, why in found.items()})
        report.did.append(_some(len(found), "batch", "batches") + " failed")
    report.failures += [failures.batch_error(ws, number, why) for number, why in found.items()]


def _gone(number: int, why: str) -> FindableError:
    """Return the error for a batch that is not to be seen at the API any more; exit code 3."""
    return ConfigurationError(
        f"batch {number}: {why}; it was left as it is, claims kept",
        hint=f"check the key, or give it up: make batch-cancel BATCH={number}",
    )


def _ingest(ws: OpenWorkspace, report: RunReport, confirm: Callable[[float], bool]) -> None:  # noqa: ARG001 - one of several
    """Take in what came."""
    if not _count(ws, BatchState.DOWNLOADED):
        return
    accounts = ingest.run(ws, reported=lambda quality: _judge(report, quality))
    answered = sum(one.batch.answered or 0 for one in accounts)
    report.facts["ingested"] = {str(one.batch.number): one.batch.answered for one in accounts}
    report.did.append(f"{answered:,} {ws.task.words.done} from {_some(len(accounts), 'batch', 'batches')}")


def _judge(report: RunReport, quality: Quality) -> None:
    """Keep what a report says of the answers; a gate that failed ends the run with its code, once all else is done."""
    report.facts.setdefault("reports", []).append({"report": str(quality.path), "passed": quality.passed})
    try:
        quality.check()
    except GateError as error:
        report.failures.append(error)


def _retry(ws: OpenWorkspace, report: RunReport, confirm: Callable[[float], bool]) -> None:  # noqa: ARG001 - one of several
    """Ask again about who was added while Gemini failed."""
    with ws.store.read() as tx:
        waiting = retries.waiting_retries(tx, ws.task.name)
    if not waiting:
        return
    asked = retry_queue.retry_due(ws, patience_s=retry_queue.PATIENCE_S)
    report.facts["retried"] = {"answered": asked.answered, "failed": asked.failed.total()}
    if asked.answered:
        report.did.append(f"{asked.answered:,} {ws.task.words.done} that were due")
    if asked.stopped is not None:
        report.failures.append(asked.stopped)


def _score(ws: OpenWorkspace, report: RunReport, confirm: Callable[[float], bool]) -> None:  # noqa: ARG001 - one of several
    """Bring scores up to date."""
    if not ws.is_indexed:
        return
    with ws.store.write() as tx:
        changed = ws.subject.hooks.refresh_derived(tx)
    report.facts["scored"] = changed
    if changed:
        report.did.append(f"{changed:,} scored")


def _submit(ws: OpenWorkspace, report: RunReport, confirm: Callable[[float], bool]) -> None:
    """Send what waits and, where no pilot stops it, who is next, within the budget."""
    with ws.store.read() as tx:
        askable, cleared = claims.count_askable(tx, ws.task), pilot.is_pilot_cleared(ws, tx)
    if askable and not cleared:  # a pilot's own batches go on; who is next waits for a person
        report.facts["left"], report.facts["no_pilot"] = askable, f"no pilot of {ws.extractor} has passed"
        askable = 0
    if _count(ws, BatchState.PREPARED, BatchState.SUBMITTING) or askable:
        _send(ws, report, confirm, limit=None if cleared else 0, askable=askable)


def _send(
    ws: OpenWorkspace, report: RunReport, confirm: Callable[[float], bool], *, limit: int | None, askable: int
) -> None:
    """Send what waits, and at most `limit` of those who are next."""
    try:
        sent, full = failures.submit_what_fits(ws, limit=limit, confirm=lambda plan: confirm(plan.cost), patient=True)
    except BudgetError as error:  # as it was meant to be: the next run sends what there is money for then
        _hold_back(report, askable, error.message)
        return
    report.facts["submitted"] = {str(number): fate.value for number, fate in sent.sent.items()}
    if sent.items:
        report.did.append(f"{sent.items:,} submitted in {_some(len(sent.submitted), 'batch', 'batches')}")
    if full is not None:  # as it is meant to be, too: what is under way makes room
        report.facts["no_room"] = _unsent(ws, limit=limit)
    elif sent.no_room:
        report.facts["no_room"] = sent.no_room
    if sent.held_back:
        _hold_back(report, sent.held_back, f"{sent.budget} has no room for more")


def _unsent(ws: OpenWorkspace, *, limit: int | None) -> int:
    """Return how many wait to be sent, in batches that are prepared and, but for a `limit` of 0, in none."""
    with ws.store.read() as tx:
        waiting = batches.batches_in_states(tx, BatchState.PREPARED, task=ws.task.name)
        new = 0 if limit == 0 else claims.count_askable(tx, ws.task)
    return sum(one.requests for one in waiting) + new


def _hold_back(report: RunReport, left: int, why: str) -> None:
    """Keep that people are left for want of money."""
    report.facts["left"], report.facts["out_of_money"] = left, why


def _index(ws: OpenWorkspace, report: RunReport, confirm: Callable[[float], bool]) -> None:  # noqa: ARG001 - one of several
    """Build the index where it is behind."""
    if not ws.is_indexed:
        return
    with ws.store.read() as tx:
        if not ws.collection.count(tx):
            return
        if Builds(ws.data).current() is not None:
            with Builds(ws.data).open() as current:
                if not staleness.count_stale(ws.collection, tx, current, ws.display):
                    return
    built = build.run(ws)
    report.facts["index"] = {"build": built.number, "count": built.count, "embedded": built.embedded}
    report.did.append(f"index of {built.count:,} built")


def _end(ws: OpenWorkspace, report: RunReport, confirm: Callable[[float], bool]) -> None:  # noqa: ARG001 - one of several
    """End a `tag` or a backfill after which nobody is left."""
    budget.close_budget(ws.store, ws.task, at=ws.now())
    backfill.close_backfill(ws)


def _count(ws: OpenWorkspace, *states: BatchState) -> int:
    """Return how many batches are in these states."""
    with ws.store.read() as tx:
        return len(batches.batches_in_states(tx, *states, task=ws.task.name))


def _some(count: int, one: str, many: str) -> str:
    """Return a count with its word."""
    return f"{count:,} {one if count == 1 else many}"
