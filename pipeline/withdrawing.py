"""Taking a version back, for any task: out of sight by one row's flip, then deleted block by block.

Each block is a transaction that looks at the lease. The version's own row goes last, so that whoever finds it withdrawn
can finish what was begun: this goes on from wherever it stopped.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.states import BatchState
from pipeline.store import batches, calls, rollbacks, versions, workspace
from pipeline.task import Stock

if TYPE_CHECKING:
    from pipeline.display import Bar
    from pipeline.runtime import Runtime
    from pipeline.store.database import Connection
    from pipeline.store.leases import Lease
    from pipeline.task import Subject, Task

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
class Here:
    """One version of which something is here: what there is of it, USD paid for it, whether it is being taken back."""

    subject: str
    stock: Stock
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
class Gone:
    """What went: rows of the subject, answers and failed attempts, and items that are parked no more."""

    rows: int = 0
    answers: int = 0
    attempts: int = 0
    let_go: int = 0


def here(tx: "Connection", subject: "Subject") -> list[Here]:
    """Return every version of a subject that rows, answers or a beginning are here of; oldest first, others' before."""
    task = subject.task
    known = {(one.label, one.model): one for one in versions.listed(tx, task.name)}
    stocks = {(one.label, one.model): one for one in task.stock(tx)}
    for label, model in known:
        stocks.setdefault((label, model), Stock(label, model, 0, 0, None, None))
    order = {whose: number for number, whose in enumerate(known)}
    return [
        Here(
            subject.name,
            stocks[whose],
            rollbacks.paid(tx, task.name, "/".join(whose)),
            whose in known and known[whose].withdrawn_at is not None,
        )
        for whose in sorted(stocks, key=lambda one: (order.get(one, -1), one))
    ]


def _named(task: "Task", state: BatchState) -> str:
    """Return what names the subject in the last command of a hint; giving up takes batches of any."""
    return "" if state is BatchState.PREPARED else task.words.named


def withdraw(rt: "Runtime", tx: "Connection", task: "Task", going: Sequence[Here]) -> None:
    """Take versions out of sight, in the caller's transaction.

    Raises:
        InputError: batches of theirs are not over, or live calls are under way; nothing was changed.
    """
    calls.lose_dead(tx, now=rt.now())
    check_free(rt, tx, task, going)
    for one in going:
        versions.withdraw(tx, task.name, one.stock.label, model=one.stock.model, at=rt.now())
        rollbacks.mark(tx, task.name, _extractor(one.stock), at=rt.now())


def check_free(rt: "Runtime", tx: "Connection", task: "Task", going: Sequence[Here]) -> None:
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
    for batch in batches.in_states(tx, task=task.name):
        if batch.extractor in names and not batch.is_over:
            raise InputError(
                f"batch {batch.number} of {batch.extractor} is {batch.state}, not over; nothing was changed",
                hint=NEXT[batch.state].format(batch.number) + _named(task, batch.state),
            )
    for name in sorted(names):
        going_on = rollbacks.calls_under_way(tx, task.name, name, now=rt.now())
        if going_on:
            raise InputError(
                f"live calls under way that ask under {name}: {going_on}; nothing was changed",
                hint="let the other command end, or stop it with Ctrl-C; then run this again",
            )


def remove(rt: "Runtime", lease: "Lease", task: "Task", one: Stock, *, bar: "Bar") -> Gone:
    """Delete all that is left of a withdrawn version, and its own row last; safe to begin again anywhere."""
    gone = Gone()
    _remove_rows(rt, lease, task, one, gone=gone, bar=bar)
    _remove_answers(rt, lease, task, one, gone=gone, bar=bar)
    _remove_attempts(rt, lease, task, one, gone=gone, bar=bar)
    with rt.store.write() as tx:
        lease.check(tx)
        rollbacks.finish(tx, task.name, one.label, model=one.model, at=rt.now())
    return gone


def _remove_rows(rt: "Runtime", lease: "Lease", task: "Task", one: Stock, *, gone: Gone, bar: "Bar") -> None:
    """Take the subject's own rows back."""
    after: Any | None = None
    while True:
        with rt.store.write() as tx:
            lease.check(tx)
            block = task.take_back(tx, one.label, model=one.model, after=after)
            if block.rows:
                workspace.touch(tx)
        gone.rows += block.rows
        bar.show(gone.rows)
        if block.after is None:
            return
        after = block.after


def _remove_answers(rt: "Runtime", lease: "Lease", task: "Task", one: Stock, *, gone: Gone, bar: "Bar") -> None:
    """Delete the answers with where they came from."""
    after = 0
    while True:
        with rt.store.write() as tx:
            lease.check(tx)
            page = rollbacks.page_of_answers(tx, task.name, _extractor(one), after=after, most=BLOCK)
            rollbacks.remove_answers(tx, [row.id for row in page])
        if not page:
            return
        gone.answers += len(page)
        bar.show(gone.rows, note=f"{gone.answers:,} answers")
        after = page[-1].id


def _remove_attempts(rt: "Runtime", lease: "Lease", task: "Task", one: Stock, *, gone: Gone, bar: "Bar") -> None:
    """Delete the attempts that gave no answer, and let go whoever was parked for them alone."""
    after = 0
    while True:
        with rt.store.write() as tx:
            lease.check(tx)
            page = rollbacks.page_of_attempts(tx, task.name, _extractor(one), after=after, most=BLOCK)
            gone.let_go += rollbacks.remove_attempts(tx, task.name, page)
        if not page:
            return
        gone.attempts += len(page)
        bar.show(gone.rows, note=f"{gone.answers:,} answers")
        after = page[-1].id


def _extractor(one: Stock) -> str:
    """Return the name that the engine's tables have a version's rows under."""
    return f"{one.label}/{one.model}"
