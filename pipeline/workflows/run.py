"""Do once whatever is due, for cron: one round of poll, ingest, retry, score and submit, then the index.

A step that fails does not keep the others from being done; its error is raised at the end. Two runs at once do no harm:
each step takes its lock.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.batch import budget, due
from pipeline.batch.budget import AT_API
from pipeline.batch.submit import agreeing
from pipeline.core.errors import FindableError
from pipeline.core.states import BatchState
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import build, staleness
from pipeline.index.builds import Builds
from pipeline.quality import pilot
from pipeline.store import asks, workspace
from pipeline.workflows import rounds
from pipeline.workflows.rounds import Rounds, failed_error

FACTS = ("downloaded", "waiting", "failed", "ingested", "parked", "no_room")  # told where there are some


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
    with ws.store.read() as tx:
        report.facts["workspace_id"] = workspace.get_workspace(tx).workspace_id
    going = Rounds(ws)
    budget.resume_budget(ws)
    steps = _Due(ws, going, report, confirm)
    steps.each(steps.collect)
    if steps.each(lambda: rounds.begin(ws, may_be_empty=True)):  # else what was asked already goes on
        steps.each(steps.retry, steps.score, steps.submit)
    steps.each(steps.index, going.end)
    steps.tell()
    return report


@dataclass(frozen=True)
class _Due:
    ws: OpenWorkspace
    going: Rounds
    report: RunReport
    confirm: Callable[[float], bool]

    def each(self, *steps: Callable[[], object]) -> bool:
        """Do some steps, of which each may fail; return whether none did."""
        before = len(self.report.failures)
        for step in steps:
            try:
                step()
            except FindableError as error:
                self.report.failures.append(error)
        return len(self.report.failures) == before

    def collect(self) -> None:
        """Poll and ingest, also where one of both fails."""
        ws, going, report = self.ws, self.going, self.report
        if going.batches(*AT_API):
            self.each(lambda: going.poll(wait=False))
        polled, failed = going.report.polled, going.report.failed
        self._did(len(polled.downloaded), "{} downloaded")
        self._did(len(failed), "{} failed")
        report.failures += [failed_error(number, why, ws.task.words) for number, why in failed.items()]
        report.failures += replace(polled, unclear=[]).errors(ws.task.words)  # the next step finds these out
        if going.batches(BatchState.DOWNLOADED):
            self.each(going.ingest)
            answered = sum(one.batch.taken for one in going.report.ingested)
            report.did.append(f"{answered:,} {ws.task.words.done} from {_batches(len(going.report.ingested))}")

    def _did(self, count: int, what: str) -> None:
        if count:
            self.report.did.append(what.format(_batches(count)))

    def retry(self) -> None:
        ws, report = self.ws, self.report
        with ws.store.read() as tx:
            waiting = asks.due_ids(tx, ws.task)
        if not waiting:
            return
        asked = due.retry_due(ws)
        report.facts["retried"] = {"answered": asked.answered, "failed": asked.failed.total()}
        if asked.answered:
            report.did.append(f"{asked.answered:,} {ws.task.words.done} that were due")
        report.failures += [] if asked.stopped is None else [asked.stopped]

    def score(self) -> None:
        if not self.ws.task.derives:
            return
        with self.ws.store.write() as tx:
            changed = self.ws.task.refresh_derived(tx)
        self.report.facts["scored"] = changed
        if changed:
            self.report.did.append(f"{changed:,} scored")

    def submit(self) -> None:
        """Submit prepared batches and, unless a pilot is missing or failed, new items, within the budget."""
        ws, going, report = self.ws, self.going, self.report
        with ws.store.read() as tx:
            askable, cleared = (
                asks.count_askable(tx, ws.task),
                not pilot.why_not(tx, ws.extractor, compulsory=ws.task.needs_pilot),
            )
        if askable and not cleared:  # a pilot's own batches go on; new items wait for a person
            report.facts |= {"left": askable, "no_pilot": f"no pilot of {ws.extractor} has passed"}
            going.stop_asking()
        if not (askable and cleared) and not going.batches(BatchState.PREPARED, BatchState.SUBMITTING):
            return
        agree = agreeing(ws, announce=lambda _plan: None, confirm=self.confirm)
        sent = going.submit(agree=agree, patient=True)
        done = going.report
        report.facts["submitted"] = {str(number): fate.value for number, fate in sent.sent.items()}
        if sent.items:
            report.did.append(f"{sent.items:,} submitted in {_batches(len(done.submitted))}")
        if done.out_of_money:  # no failure: the next run submits what its budget allows
            report.facts |= {"left": done.short or askable, "out_of_money": done.out_of_money}

    def index(self) -> None:
        ws = self.ws
        if not ws.is_indexed or not self._is_stale():
            return
        built = build.run(ws)
        self.report.facts["index"] = {"build": built.number, "count": built.count, "embedded": built.embedded}
        self.report.did.append(f"index of {built.count:,} built")

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

    def tell(self) -> None:
        """Note what the rounds came to, as far as there is something; a failed gate ends the run with its exit code."""
        done, facts = self.going.report, self.report.facts
        found = vars(done.polled) | done.document()
        facts |= {name: found[name] for name in FACTS if found[name]}
        if done.reports:
            facts["reports"] = [{"report": str(one.path), "passed": one.passed} for one in done.reports.values()]
        if done.parked:
            self.report.did.append(f"{done.parked:,} parked")
        self.each(*(one.check for one in done.reports.values()))


def _batches(count: int) -> str:
    return f"{count:,} {'batch' if count == 1 else 'batches'}"
