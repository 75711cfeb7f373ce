"""Do once whatever is due, for cron: one round of poll, ingest, retry, score and submit, then the index.

A step that fails does not keep the others from being done; its error is raised at the end. Two runs at once do no harm:
each step takes its lock.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pipeline.batch import budget, due
from pipeline.batch.budget import AT_API
from pipeline.core.errors import FindableError
from pipeline.core.states import BatchState
from pipeline.core.text import plural
from pipeline.engine.workspace import OpenWorkspace
from pipeline.index import build
from pipeline.index.builds import Builds, count_stale
from pipeline.quality import pilot
from pipeline.store import asks, workspace
from pipeline.workflows import rounds
from pipeline.workflows.rounds import Rounds, failed_error

FACTS = ("downloaded", "waiting", "failed", "ingested", "parked", "no_room")  # told where there are some


class RunReport:
    """What was done, in words and as figures for programs, and the errors, in the order in which they came."""

    def __init__(self, ws: OpenWorkspace) -> None:
        """Begin with nothing done."""
        self.ws, self.going = ws, Rounds(ws)
        self.did, self.facts, self.failures = list[str](), dict[str, Any](), list[FindableError]()

    def each(self, *steps: Callable[[], object]) -> bool:
        """Do some steps, of which each may fail; return whether none did."""
        before = len(self.failures)
        for step in steps:
            try:
                step()
            except FindableError as error:
                self.failures.append(error)
        return len(self.failures) == before

    def collect(self) -> None:
        """Poll and ingest, also where one of both fails."""
        words, going = self.ws.task.words, self.going
        if going.batches(*AT_API):
            self.each(lambda: going.poll(wait=False))
        polled, failed = going.report.polled, going.report.failed
        found = {"downloaded": len(polled.downloaded), "failed": len(failed)}
        self.did += [f"{plural(count, 'batch', 'batches')} {what}" for what, count in found.items() if count]
        self.failures += [failed_error(number, why, words) for number, why in failed.items()]
        self.failures += replace(polled, unclear=[]).errors(words)  # the next step finds these out
        if going.batches(BatchState.DOWNLOADED):
            self.each(going.ingest)
            answered = sum(one.batch.taken for one in going.report.ingested)
            self.did.append(f"{answered:,} {words.done} from {plural(len(going.report.ingested), 'batch', 'batches')}")

    def retry(self) -> None:
        """Ask about items that are due."""
        with self.ws.store.read() as tx:
            if not asks.due_ids(tx, self.ws.task):
                return
        asked = due.retry_due(self.ws)
        self.facts["retried"] = {"answered": asked.answered, "failed": asked.failed.total()}
        if asked.answered:
            self.did.append(f"{asked.answered:,} {self.ws.task.words.done} that were due")
        self.failures += [] if asked.stopped is None else [asked.stopped]

    def score(self) -> None:
        """Compute scores anew."""
        if not self.ws.task.derives:
            return
        with self.ws.store.write() as tx:
            changed = self.ws.task.refresh_derived(tx)
        self.facts["scored"] = changed
        self.did += [f"{changed:,} scored"] if changed else []

    def submit(self) -> None:
        """Submit prepared batches and, unless a pilot is missing or failed, new items, within the budget."""
        ws, going, done = self.ws, self.going, self.going.report
        with ws.store.read() as tx:
            askable = asks.count_askable(tx, ws.task)
            is_cleared = not pilot.why_not(tx, ws.extractor, compulsory=ws.task.needs_pilot)
        if askable and not is_cleared:  # a pilot's own batches go on; new items wait for a person
            self.facts |= {"left": askable, "no_pilot": f"no pilot of {ws.extractor} has passed"}
            going.stop_asking()
        if not (askable and is_cleared) and not going.batches(BatchState.PREPARED, BatchState.SUBMITTING):
            return
        sent = going.submit(agreed=False, patient=True)
        self.facts["submitted"] = {str(number): fate.value for number, fate in sent.sent.items()}
        if sent.items:
            self.did.append(f"{sent.items:,} submitted in {plural(len(done.submitted), 'batch', 'batches')}")
        if done.out_of_money:  # no failure: the next run submits what its budget allows
            self.facts |= {"left": done.short or askable, "out_of_money": done.out_of_money}

    def index(self) -> None:
        """Build the index where it is behind."""
        if self.ws.is_indexed and self._is_stale():
            built = build.run(self.ws)
            self.facts["index"] = {"build": built.number, "count": built.count, "embedded": built.embedded}
            self.did.append(f"index of {built.count:,} built")

    def _is_stale(self) -> bool:
        ws = self.ws
        builds = Builds(ws.data, ws.collection.folder)
        with ws.store.read() as tx:
            if not ws.collection.count(tx):
                return False
            if builds.current() is None:
                return True
            with builds.open() as current:
                return bool(count_stale(ws.collection, tx, current, exact=True))

    def tell(self) -> None:
        """Note what the rounds came to, as far as there is something, and warn of failed gates."""
        done = self.going.report
        found = vars(done.polled) | done.document()
        self.facts |= {name: found[name] for name in FACTS if found[name]}
        if done.reports:
            self.facts["reports"] = [{"report": str(one.path), "passed": one.passed} for one in done.reports.values()]
        self.did += [f"{done.parked:,} parked"] if done.parked else []
        self.each(lambda: done.check(self.ws.display))


def run(ws: OpenWorkspace) -> RunReport:
    """Poll, ingest, ask again about items that are due, submit the next batches within the budget, score and index."""
    due_now = RunReport(ws)
    with ws.store.read() as tx:
        due_now.facts["workspace_id"] = workspace.get_workspace(tx).workspace_id
    budget.resume_budget(ws)
    due_now.each(due_now.collect)
    if due_now.each(lambda: rounds.begin(ws, may_be_empty=True)):  # else what was asked already goes on
        due_now.each(due_now.retry, due_now.score, due_now.submit)
    due_now.each(due_now.index, due_now.going.end)
    due_now.tell()
    return due_now
