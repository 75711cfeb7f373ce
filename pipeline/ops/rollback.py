"""Taking a version back, for any task: out of sight by one row's flip, then deleted block by block.

Each block is a transaction that looks at the lease. The version's own row goes last, so that whoever finds it withdrawn
can finish what was begun: this goes on from wherever it stopped.

Take back one version's rows and its bookkeeping, and nothing else; what was asked and paid stays in the history.

Killed anywhere and run again it finishes. Versions whose rows were not asked for here can be taken back too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import InputError
from pipeline.core.states import BatchState
from pipeline.core.task import Subject, VersionCounts
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import batches, live_calls, versions, workspace

if TYPE_CHECKING:
    from pipeline.core.progress import Bar
    from pipeline.core.task import Subject, Task
    from pipeline.engine.workspace import OpenWorkspace
    from pipeline.store.database import Connection
    from pipeline.store.leases import Lease


LEASE = "rollback"
WAITING = "another process rolls a version back; waiting for it"
BLOCK = 2000  # answers or attempts in one transaction
NEXT = {  # what to type about a batch that is not over
    BatchState.PREPARED: "make batch-cancel BATCH={}",
    BatchState.SUBMITTING: "make batch-submit",
    BatchState.SUBMITTED: "make batch-cancel BATCH={}, or make batch-poll",
    BatchState.DOWNLOADED: "make batch-ingest",
}


@dataclass(frozen=True)
class VersionSummary:
    """One version of which something is here: what there is of it, USD paid for it, whether it is being taken back."""

    subject: str
    stock: VersionCounts
    paid: float
    withdrawn: bool

    @property
    def extractor(self) -> str:
        """Return the name that its answers are attributed to; the label alone where no model is known."""
        return self.stock.label + (f"/{self.stock.model}" if self.stock.model else "")

    @property
    def told(self) -> str:
        """Return what a person should know of it beside its figures."""
        return "being rolled back" if self.withdrawn else ""

    def is_named(self, name: str) -> bool:
        """Return whether a name means this version: its extractor, or its label with all models."""
        return name in {self.extractor, self.stock.label}


@dataclass
class RollbackCounts:
    """What went: rows of the subject, answers and failed attempts, and items that are parked no more."""

    rows: int = 0
    answers: int = 0
    attempts: int = 0
    let_go: int = 0


def version_summaries(tx: "Connection", subject: "Subject") -> list[VersionSummary]:
    """Return every version of a subject that rows, answers or a beginning are here of; oldest first, others' before."""
    task = subject.task
    known = {(one.label, one.model): one for one in versions.list_versions(tx, task.name)}
    stocks = {(one.label, one.model): one for one in task.versions(tx)}
    for label, model in known:
        stocks.setdefault((label, model), VersionCounts(label, model, 0, 0, None, None))
    order = {whose: number for number, whose in enumerate(known)}
    return [
        VersionSummary(
            subject.name,
            stocks[whose],
            versions.paid_for_version(tx, task.name, "/".join(whose)),
            whose in known and known[whose].withdrawn_at is not None,
        )
        for whose in sorted(stocks, key=lambda one: (order.get(one, -1), one))
    ]


def _with_task(task: "Task", state: BatchState) -> str:
    """Return what names the subject in the last command of a hint; giving up takes batches of any."""
    return "" if state is BatchState.PREPARED else task.words.named


def retire(ws: "OpenWorkspace", tx: "Connection", task: "Task", going: Sequence[VersionSummary]) -> None:
    """Take versions out of sight, in the caller's transaction.

    Raises:
        InputError: batches of theirs are not over, or live calls are under way; nothing was changed.
    """
    live_calls.end_dead_calls(tx, now=ws.now())
    check_free(ws, tx, task, going)
    for one in going:
        versions.retire_version(tx, task.name, one.stock.label, model=one.stock.model, at=ws.now())
        versions.mark_rolled_back(tx, task.name, _extractor(one.stock), at=ws.now())


def check_free(ws: "OpenWorkspace", tx: "Connection", task: "Task", going: Sequence[VersionSummary]) -> None:
    """Refuse while something may still come in under a version, and what has no version at all.

    Raises:
        InputError: that is so; the message names it.
    """
    if any(not one.stock.label.strip() and not one.withdrawn for one in going):
        raise InputError(
            "rows without a version are another program's; nothing was changed",
            hint="make versions lists the versions that are here",
        )
    names = {_extractor(one.stock) for one in going}
    for batch in batches.batches_in_states(tx, task=task.name):
        if batch.extractor in names and not batch.is_over:
            raise InputError(
                f"batch {batch.number} of {batch.extractor} is {batch.state}, not over; nothing was changed",
                hint=NEXT[batch.state].format(batch.number) + _with_task(task, batch.state),
            )
    for name in sorted(names):
        going_on = versions.calls_under_way(tx, task.name, name, now=ws.now())
        if going_on:
            raise InputError(
                f"live calls under way that ask under {name}: {going_on}; nothing was changed",
                hint="let the other command end, or stop it with Ctrl-C; then run this again",
            )


def roll_back(ws: "OpenWorkspace", lease: "Lease", task: "Task", one: VersionCounts, *, bar: "Bar") -> RollbackCounts:
    """Delete all that is left of a withdrawn version, and its own row last; safe to begin again anywhere."""
    gone = RollbackCounts()
    _remove_rows(ws, lease, task, one, gone=gone, bar=bar)
    _remove_answers(ws, lease, task, one, gone=gone, bar=bar)
    _remove_attempts(ws, lease, task, one, gone=gone, bar=bar)
    with ws.store.write() as tx:
        lease.check(tx)
        versions.finish_rollback(tx, task.name, one.label, model=one.model, at=ws.now())
    return gone


def _remove_rows(
    ws: "OpenWorkspace", lease: "Lease", task: "Task", one: VersionCounts, *, gone: RollbackCounts, bar: "Bar"
) -> None:
    """Take the subject's own rows back."""
    after: Any | None = None
    while True:
        with ws.store.write() as tx:
            lease.check(tx)
            block = task.roll_back(tx, one.label, model=one.model, after=after)
            if block.rows:
                workspace.touch_revision(tx)
        gone.rows += block.rows
        bar.show(gone.rows)
        if block.after is None:
            return
        after = block.after


def _remove_answers(
    ws: "OpenWorkspace", lease: "Lease", task: "Task", one: VersionCounts, *, gone: RollbackCounts, bar: "Bar"
) -> None:
    """Delete the answers with where they came from."""
    after = 0
    while True:
        with ws.store.write() as tx:
            lease.check(tx)
            page = versions.page_of_answers(tx, task.name, _extractor(one), after=after, most=BLOCK)
            versions.remove_answers(tx, [row.id for row in page])
        if not page:
            return
        gone.answers += len(page)
        bar.show(gone.rows, note=f"{gone.answers:,} answers")
        after = page[-1].id


def _remove_attempts(
    ws: "OpenWorkspace", lease: "Lease", task: "Task", one: VersionCounts, *, gone: RollbackCounts, bar: "Bar"
) -> None:
    """Delete the attempts that gave no answer, and let go whoever was parked for them alone."""
    after = 0
    while True:
        with ws.store.write() as tx:
            lease.check(tx)
            page = versions.page_of_attempts(tx, task.name, _extractor(one), after=after, most=BLOCK)
            gone.let_go += versions.remove_attempts(tx, task.name, page)
        if not page:
            return
        gone.attempts += len(page)
        bar.show(gone.rows, note=f"{gone.answers:,} answers")
        after = page[-1].id


def _extractor(one: VersionCounts) -> str:
    """Return the name that the engine's tables have a version's rows under."""
    return f"{one.label}/{one.model}"


QUESTION = "Take this back for good? What it cost is spent all the same; other versions stay."


@dataclass
class RollbackReport:
    """What was found of the version that was named, of which subject, and what went of it in this run."""

    name: str
    subject: str
    found: list[VersionSummary] = field(default_factory=list)
    gone: RollbackCounts = field(default_factory=RollbackCounts)
    indexed: bool = False  # what went stands in the index until that is built anew


def run(
    ws: OpenWorkspace, name: str, *, announce: Callable[[Subject, VersionSummary], None], confirm: Callable[[str], bool]
) -> RollbackReport:
    """Roll back a label with all its models, or with one (label/model).

    `announce` is told each version that would go, and `confirm` is asked, before anything is changed.

    Raises:
        InputError: something of it is under way, or it was not confirmed; nothing was changed.
    """
    subject, found = _find(ws, name)
    report = RollbackReport(name, subject.name, found, indexed=subject.collection is not None)
    if not found:
        return report
    with ws.store.read() as tx:
        check_free(ws, tx, subject.task, found)
    for one in found:
        announce(subject, one)
    if not all(one.withdrawn for one in found) and not confirm(QUESTION):
        raise InputError("not confirmed; nothing was changed", hint="YES=1 answers yes")
    with ws.waited_lease(LEASE, waiting=WAITING) as lease:
        with ws.store.write() as tx:
            lease.check(tx)
            retire(ws, tx, subject.task, found)
        with ws.display.bar("taking back", sum(one.stock.rows for one in found)) as bar:
            for one in found:
                gone = roll_back(ws, lease, subject.task, one.stock, bar=bar)
                for part, count in vars(gone).items():
                    setattr(report.gone, part, getattr(report.gone, part) + count)
    return report


def _find(ws: OpenWorkspace, name: str) -> tuple[Subject, list[VersionSummary]]:
    """Return whose version is named, and what is here of it: of TASK= where that is set, else of whoever has it."""
    here = next(one for one in ws.subjects if one.task is ws.task)
    if "task" in ws.settings.sources:
        return here, _named(ws, here, name)
    mine = [one for one in ws.subjects if one.task.name == name.partition("@")[0]]
    for one in mine or ws.subjects:
        found = _named(ws, one, name)
        if found:
            return one, found
    return (mine or [here])[0], []


def _named(ws: OpenWorkspace, subject: Subject, name: str) -> list[VersionSummary]:
    """Return the versions of a subject that a name means."""
    with ws.store.read() as tx:
        return [one for one in version_summaries(tx, subject) if one.is_named(name)]
