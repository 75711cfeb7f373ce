"""Take back one version's rows and its bookkeeping, and nothing else; what was asked and paid stays in the history.

One row's flip takes the version out of sight; then it is deleted block by block, each in a transaction that looks at
the lease. The version's own row goes last, so that a run that was killed is finished by the next. Versions whose rows
were not asked for here can be taken back too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import InputError
from pipeline.core.progress import Bar
from pipeline.core.states import BatchState
from pipeline.core.task import Subject, Task, VersionCounts
from pipeline.engine.taken_back import take_back, version_counts
from pipeline.engine.workspace import OpenWorkspace
from pipeline.store import answers, batches, live_calls, versions, workspace

if TYPE_CHECKING:
    from pipeline.store.database import Connection, Store
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
    counts: VersionCounts
    paid: float
    withdrawn: bool

    @property
    def extractor(self) -> str:
        """Return the name that its answers are attributed to; the label alone where no model is known."""
        return self.counts.label + (f"/{self.counts.model}" if self.counts.model else "")

    @property
    def note(self) -> str:
        """Return what a person should know of it beside its figures."""
        return "being rolled back" if self.withdrawn else ""

    def is_named(self, name: str) -> bool:
        """Return whether a name means this version: its extractor, or its label with all models."""
        return name in {self.extractor, self.counts.label}


@dataclass
class RollbackCounts:
    """What went: rows of the subject, answers and failed attempts, and items that are parked no more."""

    rows: int = 0
    answers: int = 0
    attempts: int = 0
    let_go: int = 0


def version_summaries(tx: "Connection", subject: Subject) -> list[VersionSummary]:
    """Return every version of a subject that has rows, answers or a beginning here; others' first, then by age."""
    task = subject.task
    known = {(one.label, one.model): one for one in versions.list_versions(tx, task.name)}
    counts = {(one.label, one.model): one for one in version_counts(tx, task)}
    for label, model in known:
        counts.setdefault((label, model), VersionCounts(label, model, 0, 0, None, None))
    order = {whose: number for number, whose in enumerate(known)}
    return [
        VersionSummary(
            subject.name,
            counts[whose],
            versions.paid_for_version(tx, task.name, "/".join(whose)),
            whose in known and known[whose].withdrawn_at is not None,
        )
        for whose in sorted(counts, key=lambda one: (order.get(one, -1), one))
    ]


def retire(tx: "Connection", task: Task, going: Sequence[VersionSummary], *, now: datetime) -> None:
    """Take versions out of sight, in the caller's transaction.

    Raises:
        InputError: their batches are not over, or live calls are under way; nothing was changed.
    """
    live_calls.end_dead_calls(tx, now=now)
    check_free(tx, task, going, now=now)
    for one in going:
        versions.retire_version(tx, task.name, one.counts.label, model=one.counts.model, at=now)
        versions.mark_rolled_back(tx, task.name, _extractor(one.counts), at=now)


def check_free(tx: "Connection", task: Task, going: Sequence[VersionSummary], *, now: datetime) -> None:
    """Refuse while something may still come in under a version, and what has no version at all.

    Raises:
        InputError: that is so; the message names it.
    """
    if any(not one.counts.label.strip() and not one.withdrawn for one in going):
        raise InputError(
            "rows without a version are another program's; nothing was changed",
            hint="make versions lists the versions that are here",
        )
    if any(one.counts.label == answers.PERSON for one in going):
        raise InputError(
            "what people said by hand is no version of a model; nothing was changed",
            hint="an edit is undone by its number: make tags EXPERT=username UNDO=1",
        )
    names = {_extractor(one.counts) for one in going}
    for batch in batches.batches_in_states(tx, task=task.name):
        if batch.extractor in names and not batch.is_over:
            subject = "" if batch.state is BatchState.PREPARED else task.words.named  # giving up takes those of any
            raise InputError(
                f"batch {batch.number} of {batch.extractor} is {batch.state}, not over; nothing was changed",
                hint=NEXT[batch.state].format(batch.number) + subject,
            )
    for name in sorted(names):
        going_on = versions.calls_under_way(tx, task.name, name, now=now)
        if going_on:
            raise InputError(
                f"live calls under way that ask under {name}: {going_on}; nothing was changed",
                hint="let the other command end, or stop it with Ctrl-C; then run this again",
            )


def roll_back(
    store: "Store", lease: "Lease", task: Task, one: VersionCounts, *, now: Callable[[], datetime], bar: Bar
) -> RollbackCounts:
    """Delete all that is left of a retired version, and its own row last; safe to begin again anywhere."""
    removal = _Removal(task, one)
    for remove in (removal.rows, removal.answers, removal.attempts):
        after: Any | None = None
        is_over = False
        while not is_over:
            with store.write() as tx:
                lease.check(tx)
                after = remove(tx, after)
            is_over = after is None
            bar.show(removal.done.rows, note=f"{removal.done.answers:,} answers" if removal.done.answers else "")
    with store.write() as tx:
        lease.check(tx)
        versions.finish_rollback(tx, task.name, one.label, model=one.model, at=now())
    return removal.done


class _Removal:
    """Removes a version, one block a call, in the caller's transaction; each kind says where its next block begins."""

    def __init__(self, task: Task, one: VersionCounts) -> None:
        """Begin with nothing done."""
        self.done = RollbackCounts()
        self._task = task
        self._one = one

    def rows(self, tx: "Connection", after: Any | None) -> Any | None:
        """Take the subject's own rows back."""
        block = take_back(tx, self._task, self._one.label, model=self._one.model, after=after)
        if block.rows:
            workspace.touch_revision(tx, self._task.name)
        self.done.rows += block.rows
        return block.after

    def answers(self, tx: "Connection", after: Any | None) -> Any | None:
        """Delete the answers with where they came from."""
        page = versions.page_of_answers(tx, self._task.name, _extractor(self._one), after=after or 0, most=BLOCK)
        self.done.let_go += versions.remove_answers(tx, self._task.name, page)
        self.done.answers += len(page)
        return page[-1].id if page else None

    def attempts(self, tx: "Connection", after: Any | None) -> Any | None:
        """Delete the attempts that gave no answer, and let go the items that were parked for them alone."""
        page = versions.page_of_attempts(tx, self._task.name, _extractor(self._one), after=after or 0, most=BLOCK)
        self.done.let_go += versions.remove_attempts(tx, self._task.name, page)
        self.done.attempts += len(page)
        return page[-1].id if page else None


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
    next: str = "make versions"  # what to type then: what went stands in an index until that is built anew


def run(
    ws: OpenWorkspace, name: str, *, announce: Callable[[Subject, VersionSummary], None], confirm: Callable[[str], bool]
) -> RollbackReport:
    """Roll back a label with all its models, or with one (label/model).

    `announce` gets each version that would go, and `confirm` is asked, before anything is changed.

    Raises:
        InputError: something of it is under way, or it was not confirmed; nothing was changed.
    """
    with ws.store.read() as tx:
        subject, found = _find(tx, name, ws.subjects, only=ws.subject if "task" in ws.settings.sources else None)
        subject = subject or ws.subject
        check_free(tx, subject.task, found, now=ws.now())
    report = RollbackReport(name, subject.name, found)
    if subject.collection is not None:
        report.next = subject.task.words.make("index")
    if not found:
        return report
    for one in found:
        announce(subject, one)
    if not all(one.withdrawn for one in found) and not confirm(QUESTION):
        raise InputError("not confirmed; nothing was changed", hint="YES=1 answers yes")
    with ws.waited_lease(LEASE, waiting=WAITING) as lease:
        with ws.store.write() as tx:
            lease.check(tx)
            retire(tx, subject.task, found, now=ws.now())
        with ws.display.bar("taking back", sum(one.counts.rows for one in found)) as bar:
            for one in found:
                done = roll_back(ws.store, lease, subject.task, one.counts, now=ws.now, bar=bar)
                for part, count in vars(done).items():
                    setattr(report.gone, part, getattr(report.gone, part) + count)
    return report


def _find(
    tx: "Connection", name: str, subjects: Sequence[Subject], *, only: Subject | None
) -> tuple[Subject | None, list[VersionSummary]]:
    """Return the subject whose version is named, and its versions: of `only` one subject, else of any."""
    named = [only] if only else [one for one in subjects if one.task.name == name.partition("@")[0]]
    for one in named or subjects:
        found = [version for version in version_summaries(tx, one) if version.is_named(name)]
        if found:
            return one, found
    return next(iter(named), None), []
