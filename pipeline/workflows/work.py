"""Go once through what is due about a task, unit by unit: for cron, for a scheduler, and for workers side by side.

A unit takes its lock, does one thing under guarded moves, and finds nothing to do where another process was first; so
any number of processes, on any number of hosts, may do units of one workspace at once, and die at any moment. One that
fails does not keep the others from being done.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, NoReturn

from pipeline.batch import budget
from pipeline.batch.budget import AT_API
from pipeline.batch.live import ask_alone
from pipeline.core.errors import FindableError
from pipeline.core.states import OPEN, BatchState, remote_state
from pipeline.core.text import plural
from pipeline.engine.workspace import WorkspaceSession, is_declared
from pipeline.index import build, vectors
from pipeline.index.builds import count_stale, settled_builds
from pipeline.quality import pilot
from pipeline.store import batches, claims, workspace
from pipeline.store.batches import BatchRow
from pipeline.store.database import Connection
from pipeline.workflows import rounds
from pipeline.workflows.rounds import TagRounds, failed_error

UNITS = (
    "look",
    "download",
    "ingest",
    "embed",
    "fill",
    "ask",
    "prepare",
    "send",
    "build",
    "promote",
)  # in this order
ASKING = frozenset({"fill", "prepare", "send", "ask"})
FACTS = (
    "downloaded",
    "waiting",
    "failed",
    "ingested",
    "parked",
    "no_room",
)  # told where there are some
AGED = 0.5  # ours: a batch is looked at again after this share of its age, so that long ones are looked at seldom
LEAST_S = 1.0  # between two passes of one process
LONGEST_S = 60.0

Opened = Callable[
    [str], AbstractContextManager[WorkspaceSession]
]  # what opens a workspace for a task


class DueUnit(NamedTuple):
    """A unit of a task that is due in so many seconds; `number` is that of its batch, or of a block of texts."""

    unit: str
    task: str
    in_s: float = 0.0
    number: int | None = None

    @property
    def about(self) -> dict[str, Any]:
        """Return what it is about, for programs."""
        numbered = (
            {}
            if self.number is None
            else {"block" if self.unit == "embed" else "batch": self.number}
        )
        return {"unit": self.unit, "task": self.task, **numbered}


class WorkPass:
    """What was done, in words and as figures for programs, and the errors, in the order in which they came."""

    def __init__(self, ws: WorkspaceSession, units: Collection[str], number: int | None) -> None:
        """Begin with nothing done of these units; those about a batch, or a block, do that `number` alone."""
        self.ws = ws
        self.units = units
        self.number = number
        self.going = TagRounds(ws, judges=number is None)
        self.did = list[str]()
        self.facts = dict[str, Any]()
        self.failures = list[FindableError]()
        self._is_behind = False  # the index, when it was looked at for texts

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
        """Look, download and ingest, also where one of these fails."""
        words = self.ws.task.words
        going = self.going
        number = self.number
        if {"look", "download"} & set(self.units) and going.batches(*AT_API):
            self.each(
                lambda: going.poll(wait=False, number=number, fetches="download" in self.units)
            )
        polled = going.report.polled
        failed = going.report.failed
        if polled.downloaded:
            self.did.append(f"{plural(len(polled.downloaded), 'batch', 'batches')} downloaded")
        self.failures += replace(polled, unclear=[]).errors(words)  # the next step finds these out
        if "ingest" in self.units and going.batches(BatchState.DOWNLOADED):
            self.each(lambda: going.ingest(number))
            going.judges = number is None or not going.batches(
                *OPEN
            )  # of many, the last one writes the report
            answered = going.report.answered_rows
            self.did.append(
                f"{answered:,} {words.done} from {plural(len(going.report.ingested), 'batch', 'batches')}"
            )
        # Only now: one that failed at the API may have had a reply to every request.
        if failed:
            self.did.append(f"{plural(len(failed), 'batch', 'batches')} failed")
        self.failures += [failed_error(number, why, words) for number, why in failed.items()]

    def retry(self) -> None:
        """Ask about items that are due."""
        with self.ws.store.read() as tx:
            due = claims.due_ids(tx, self.ws.task) if "ask" in self.units else []
        if not due:
            return
        asked = ask_alone(self.ws, due)
        self.facts["retried"] = {"answered": asked.answered, "failed": asked.failed.total()}
        if asked.answered:
            self.did.append(f"{asked.answered:,} {self.ws.task.words.done} that were due")
        self.failures += [] if asked.stopped is None else [asked.stopped]

    def submit(self) -> None:
        """Prepare new items, unless a pilot is missing or failed, within the budget, and send what is prepared."""
        ws = self.ws
        going = self.going
        done = self.going.report
        sends = "send" in self.units
        if not sends and "prepare" not in self.units:
            return
        with ws.store.read() as tx:
            askable = claims.count_askable(tx, ws.task)
            is_cleared = _is_cleared(tx, ws)
        if askable and not is_cleared:  # a pilot's own batches go on; new items wait for a person
            self.facts |= {"left": askable, "no_pilot": f"no pilot of {ws.extractor} has passed"}
        is_new = bool(askable) and is_cleared and "prepare" in self.units
        if not is_new:
            going.stop_asking()
            if not (sends and going.batches(BatchState.PREPARED, BatchState.SUBMITTING)):
                return
        is_agreed = (
            not is_new or ws.agreed is not None
        )  # else all is counted, to ask about its price
        sent = going.submit(agreed=is_agreed, patient=True, sends=sends, number=self.number)
        if sends:
            self.facts["submitted"] = {
                str(number): fate.value for number, fate in sent.sent.items()
            }
        elif sent.prepared:
            self.did.append(f"{plural(len(sent.prepared), 'batch', 'batches')} prepared")
        if sent.items:
            self.did.append(
                f"{sent.items:,} submitted in {plural(len(done.submitted), 'batch', 'batches')}"
            )
        if done.out_of_money:  # no failure: the next run submits what its budget allows
            self.facts |= {"left": done.short or askable, "out_of_money": done.out_of_money}

    def embed(self) -> None:
        """Embed what is new, block by block, each by one process."""
        if "embed" not in self.units or not self.ws.is_indexed:
            return
        self._is_behind = self.number is not None or _is_stale(self.ws, exact=True)
        if self._is_behind:
            count = vectors.embed_blocks(self.ws, number=self.number)
            self.did += [f"{plural(count, 'text')} embedded"] if count else []

    def index(self) -> None:
        """Build the index where it is behind; where a process died while it promoted one, let the link follow."""
        if not self.ws.is_indexed:
            return
        if "promote" in self.units:
            settled_builds(self.ws)
        if "build" in self.units and (
            self._is_behind or _is_stale(self.ws, exact="embed" not in self.units)
        ):
            self.did.append(f"index of {build.run(self.ws).count:,} built")

    def tell(self) -> None:
        """Note what the rounds came to, as far as there is something, and warn of failed gates."""
        done = self.going.report
        found = vars(done.polled) | done.document()
        self.facts |= {name: found[name] for name in FACTS if found[name]}
        self.did += [f"{done.parked:,} parked"] if done.parked else []
        self.each(lambda: done.check(self.ws.display))


def once(
    ws: WorkspaceSession, units: Collection[str] = UNITS, *, number: int | None = None
) -> WorkPass:
    """Do what is due of these units about the task in use, within budgets and what a person agreed to."""
    now = WorkPass(ws, units, number)
    budget.correct_start(ws)
    with ws.store.read() as tx:
        ws.budget = budget.running_budget(tx, ws.task) or ws.budget
    now.each(now.collect, now.embed)
    if ASKING & set(units) and now.each(
        lambda: rounds.begin(ws, may_be_empty=True, fills="fill" in units)
    ):
        now.each(now.retry, now.submit)
    now.each(now.index)
    if number is None or "ingest" in units:
        now.each(now.going.end)
    now.tell()
    return now


@dataclass
class WorkReport:
    """What a pass over several tasks came to, for people, for programs, and in how many seconds the next may come."""

    document: dict[str, Any]
    lines: list[str] = field(default_factory=list)
    failures: list[FindableError] = field(default_factory=list)
    again_s: float = LONGEST_S


def once_each(opened: Opened, names: Sequence[str], units: Collection[str]) -> WorkReport:
    """Do what is due of these units about each task; one that cannot be opened does not keep the others from it."""
    told = WorkReport({"did": [], "failures": [], "tasks": {}, "next": []})
    for name in names:
        try:
            with opened(name) as ws:
                done = once(ws, units)
                due = [*next_due(ws)]
                with ws.store.read() as tx:
                    told.document["workspace_id"] = workspace.get_workspace(tx).workspace_id
        except FindableError as error:
            told.failures.append(error)
            continue
        parts = [*done.did]
        facts = done.facts
        if why := facts.get("out_of_money") or facts.get("no_pilot"):
            parts.append(f"{facts['left']:,} left: {why}")
        if room := facts.get("no_room"):
            parts.append(f"{room:,} wait for room at the API")
        told.lines += (
            [f"{name}: {'; '.join(parts)}" if len(names) > 1 else "; ".join(parts)] if parts else []
        )
        told.failures += done.failures
        told.document["did"] += done.did
        told.document["tasks"][name] = facts
        told.document["next"] += [{**one.about, "in_s": round(one.in_s, 1)} for one in due]
        if not done.failures:
            told.again_s = min([told.again_s, *(one.in_s for one in due if one.unit in units)])
    told.document["failures"] = [error.message for error in told.failures]
    return told


def go_on(
    opened: Opened,
    names: Sequence[str],
    units: Collection[str],
    tell: Callable[[WorkReport], object],
) -> NoReturn:
    """Do so again and again, at the time that units are due; `tell` gets what each pass came to."""
    while True:
        told = once_each(opened, names, units)
        tell(told)
        time.sleep(max(LEAST_S, told.again_s))


def next_due(ws: WorkspaceSession, *, indexes: bool = True) -> Iterator[DueUnit]:
    """Yield what is due about the task in use, as far as the database tells, and in how many seconds.

    What is to be embedded takes a reading of all entries, which is left out where it `indexes` not.
    """
    name = ws.task.subject
    pause = ws.settings.poll_most
    with ws.store.read() as tx:
        open_ = batches.batches_in_states(
            tx, *budget.WAITING, BatchState.DOWNLOADED, task=ws.task.name
        )
        yield from [_due_of_batch(ws, tx, one) for one in open_]
        if claims.due_ids(tx, ws.task):
            yield DueUnit("ask", name)
        if claims.count_askable(tx, ws.task) and _is_cleared(tx, ws):
            is_full = budget.quota_left(tx, ws.model, tier=ws.settings.tier) == 0
            yield DueUnit(
                "prepare",
                name,
                pause if is_full or budget.budgets(ws).room(tx, error=0.0) == 0 else 0.0,
            )
    if is_declared(ws.settings):
        yield DueUnit("fill", name, pause)
    is_coming = any(
        one.state is BatchState.DOWNLOADED for one in open_
    )  # its answers are embedded with the others
    if indexes and ws.is_indexed and not is_coming and _is_stale(ws, exact=False):
        blocks = vectors.missing_blocks(ws)
        blocks = (
            blocks if ws.backend == "local" else blocks[:1]
        )  # one process comes to the limits of a minute
        yield from (DueUnit("embed", name, number=one) for one in blocks)
        if not blocks:
            yield DueUnit("build", name)


def _due_of_batch(ws: WorkspaceSession, tx: Connection, one: BatchRow) -> DueUnit:
    settings = ws.settings
    name = ws.task.subject
    if one.state is BatchState.DOWNLOADED:
        return DueUnit("ingest", name, number=one.number)
    if one.state is not BatchState.SUBMITTED:
        is_full = one.state is BatchState.PREPARED and budget.quota_shortfall(tx, one, settings)
        return DueUnit("send", name, settings.poll_most if is_full else 0.0, one.number)
    if remote_state(one.remote_word).is_over:
        # One that was over before names no result yet.
        return DueUnit("download", name, settings.poll_most if one.over_at else 0.0, one.number)
    age_s = (ws.now() - (one.submitted_at or ws.now())).total_seconds()
    return DueUnit(
        "look", name, min(settings.poll_most, max(settings.poll_first, AGED * age_s)), one.number
    )


def _is_cleared(tx: Connection, ws: WorkspaceSession) -> bool:
    return not pilot.why_not(tx, ws.extractor, compulsory=ws.task.needs_pilot)


def _is_stale(ws: WorkspaceSession, *, exact: bool) -> bool:
    builds = settled_builds(ws)
    with ws.store.read() as tx:
        if not (count := ws.collection.count(tx)) or builds.current() is None:
            return count > 0
        with builds.open() as current:
            return bool(count_stale(ws.collection, tx, current, exact=exact))
