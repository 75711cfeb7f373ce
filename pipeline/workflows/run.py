"""Do once whatever is due, for cron: poll, ingest, retry, score, submit, index.

A step that fails does not keep the others from being done; its error is raised at the end. Two runs at once do no harm:
each step takes its lock.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pipeline.core.errors import FindableError, GateError
from pipeline.core.states import BatchState
from pipeline.cost import budget
from pipeline.cost.budget import BudgetError
from pipeline.cost.estimate import AT_API
from pipeline.engine import questions
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import build, staleness
from pipeline.index.builds import Builds
from pipeline.live import due_tagger
from pipeline.quality import pilot
from pipeline.quality.evaluate import QualityReport
from pipeline.store import answers, claims, workspace
from pipeline.workflows import backfill
from pipeline.workflows.batch_steps import Backlog, BatchSteps, failed_error, ingest_batches, missing_errors


@dataclass
class RunReport:
    """What was done, in words and as figures for programs, and the errors, in the order in which they came."""

    did: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    failures: list[FindableError] = field(default_factory=list)


def run(ws: OpenWorkspace, *, confirm: Callable[[float], bool]) -> RunReport:
    """Poll, ingest, ask again about items that are due, submit the next batches within the budget, score and index.

    `confirm` is called with the estimate (USD) of the next batches if it is above CONFIRM_ABOVE.
    """
    report = RunReport()
    try:
        questions.free_dead_owners(ws.store, now=ws.now())
        ws.bring_items()
    except FindableError as error:  # what was asked already goes on
        report.failures.append(error)
    backlog = Backlog(ws.store, ws.task)
    with ws.store.read() as tx:
        report.facts["workspace_id"] = workspace.get_workspace(tx).workspace_id
    due, parked = _Due(ws, backlog, BatchSteps(ws), confirm), backlog.parked()
    budget.resume_budget(ws)
    asking = () if report.failures else (due.retry, due.score, due.submit)
    for step in (due.poll, due.ingest, *asking, due.index, due.close):
        try:
            step(report)
        except FindableError as error:
            report.failures.append(error)
    more = backlog.parked() - parked
    if more > 0:
        report.facts["parked"] = more
        report.did.append(f"{more:,} parked")
    return report


@dataclass(frozen=True)
class _Due:
    ws: OpenWorkspace
    backlog: Backlog
    steps: BatchSteps
    confirm: Callable[[float], bool]

    def poll(self, report: RunReport) -> None:
        ws = self.ws
        if not self.backlog.batches(*AT_API):
            return
        polled, failed = self.steps.poll(wait=False), self.steps.failed
        report.facts |= {"downloaded": polled.downloaded, "waiting": polled.waiting}
        if polled.downloaded:
            report.did.append(f"{_count_batches(len(polled.downloaded))} downloaded")
        if failed:
            report.facts["failed"] = {str(number): why for number, why in failed.items()}
            report.did.append(f"{_count_batches(len(failed))} failed")
        report.failures += [failed_error(number, why, ws.task.words) for number, why in failed.items()]
        report.failures += missing_errors(polled)
        report.failures += [] if polled.stopped is None else [polled.stopped]

    def ingest(self, report: RunReport) -> None:
        if not self.backlog.batches(BatchState.DOWNLOADED):
            return
        summaries = ingest_batches(self.ws, reported=lambda quality: _note_quality(report, quality))
        answered = sum(one.batch.taken for one in summaries)
        report.facts["ingested"] = {str(one.batch.number): one.batch.taken for one in summaries}
        report.did.append(f"{answered:,} {self.ws.task.words.done} from {_count_batches(len(summaries))}")

    def retry(self, report: RunReport) -> None:
        ws = self.ws
        with ws.store.read() as tx:
            waiting = answers.due_ids(tx, ws.task.name)
        if not waiting:
            return
        asked = due_tagger.retry_due(ws, patience_s=due_tagger.PATIENCE_S)
        report.facts["retried"] = {"answered": asked.answered, "failed": asked.failed.total()}
        if asked.answered:
            report.did.append(f"{asked.answered:,} {ws.task.words.done} that were due")
        report.failures += [] if asked.stopped is None else [asked.stopped]

    def score(self, report: RunReport) -> None:
        if not self.ws.subject.hooks.derives:
            return
        with self.ws.store.write() as tx:
            changed = self.ws.subject.hooks.refresh_derived(tx)
        report.facts["scored"] = changed
        if changed:
            report.did.append(f"{changed:,} scored")

    def submit(self, report: RunReport) -> None:
        """Submit prepared batches and, unless a pilot is missing or failed, new items, within the budget."""
        ws = self.ws
        with ws.store.read() as tx:
            askable, cleared = claims.count_askable(tx, ws.task), pilot.is_pilot_cleared(tx, ws.task, ws.extractor)
        if askable and not cleared:  # a pilot's own batches go on; new items wait for a person
            report.facts |= {"left": askable, "no_pilot": f"no pilot of {ws.extractor} has passed"}
            askable = 0
        if askable or self.backlog.batches(BatchState.PREPARED, BatchState.SUBMITTING):
            self._submit(report, limit=None if cleared else 0, askable=askable)

    def _submit(self, report: RunReport, *, limit: int | None, askable: int) -> None:
        """Submit prepared batches, and at most `limit` of the new items."""
        try:
            sent, full = self.steps.submit(limit=limit, confirm=lambda plan: self.confirm(plan.cost), patient=True)
        except BudgetError as error:  # no failure: the next run submits what its budget allows
            report.facts |= {"left": askable, "out_of_money": error.message}
            return
        report.facts["submitted"] = {str(number): fate.value for number, fate in sent.sent.items()}
        if sent.items:
            report.did.append(f"{sent.items:,} submitted in {_count_batches(len(sent.submitted))}")
        if full is not None:  # no failure either: batches under way make room when they end
            report.facts["no_room"] = self._count_unsent(with_new=limit != 0)
        elif sent.no_room:
            report.facts["no_room"] = sent.no_room
        if sent.held_back:
            report.facts |= {"left": sent.held_back, "out_of_money": f"{sent.budget} has no room for more"}

    def _count_unsent(self, *, with_new: bool) -> int:
        """Return how many items wait in prepared batches and, `with_new`, in none."""
        return self.backlog.under_way(BatchState.PREPARED) + (self.backlog.askable() if with_new else 0)

    def index(self, report: RunReport) -> None:
        ws = self.ws
        if not ws.is_indexed or not self._is_stale():
            return
        built = build.run(ws)
        report.facts["index"] = {"build": built.number, "count": built.count, "embedded": built.embedded}
        report.did.append(f"index of {built.count:,} built")

    def _is_stale(self) -> bool:
        ws = self.ws
        builds = Builds(ws.data, ws.collection.folder)
        with ws.store.read() as tx:
            if not ws.collection.count(tx):
                return False
            if builds.current() is None:
                return True
            with builds.open() as current:
                return bool(staleness.count_stale(ws.collection, tx, current, ws.display, exact=True))

    def close(self, _report: RunReport) -> None:
        """End a `tag` or a backfill that has no items left."""
        ws = self.ws
        budget.close_budget(ws.store, ws.task, at=ws.now())
        backfill.close_backfill(ws.store, ws.task, ws.extractor, at=ws.now())


def _note_quality(report: RunReport, quality: QualityReport) -> None:
    """Note a quality report; a failed gate ends the run with its exit code, after all other steps."""
    report.facts.setdefault("reports", []).append({"report": str(quality.path), "passed": quality.passed})
    try:
        quality.check()
    except GateError as error:
        report.failures.append(error)


def _count_batches(count: int) -> str:
    return f"{count:,} {'batch' if count == 1 else 'batches'}"
