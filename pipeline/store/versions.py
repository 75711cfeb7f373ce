"""Tell which versions of a task there are, and take one back.

A version is a label (of prompt and schema) with a model: there is one where a batch or a live call asked under it. A
rollback is one transaction, which deletes its answers, attempts, asks and pilots. Its batches and live calls stay, with
what they cost, and are marked as rolled back; they are of no version any more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Text, and_, cast, delete, func, or_, select, union_all, update

from pipeline.core.states import OVER
from pipeline.store import workspace
from pipeline.store.answers import COMPARED, PERSON, ROLLED_BACK
from pipeline.store.asks import PARKED
from pipeline.store.database import PAGE
from pipeline.store.live_calls import dead_calls
from pipeline.store.tables import answers, asks, attempts, batches, calls, pilots, runs
from pipeline.store.tables import events as journal

KIND = "rollback"  # of the journal's lines about this, by batch


@dataclass(frozen=True)
class Version:
    """One version: its label and model, and since when it is asked under."""

    task: str
    label: str
    model: str
    began_at: datetime

    @property
    def extractor(self) -> str:
        """Return the name that answers are attributed to."""
        return f"{self.label}/{self.model}"


def begun() -> Select[tuple[str, str, datetime]]:
    """Return the SELECT of (task, extractor, when it was asked under first) of every version."""
    of_batches = select(batches.c.task, batches.c.extractor, batches.c.created_at.label("at")).where(~_is_marked())
    is_kept = calls.c.purpose.not_in([COMPARED, ROLLED_BACK])
    asked = select(calls.c.id).where(calls.c.run == runs.c.number, is_kept).exists()
    of_runs = select(runs.c.task, runs.c.extractor, runs.c.started_at).where(or_(runs.c.ended_at.is_(None), asked))
    alone = select(calls.c.task, calls.c.extractor, calls.c.asked_at).where(calls.c.run.is_(None), is_kept)
    every = union_all(of_batches, of_runs, alone).subquery("asked").c
    whose = (every.task, every.extractor)
    return select(*whose, func.min(every.at).label("began_at")).group_by(*whose)


def list_versions(tx: Connection, task: str) -> list[Version]:
    """Return every version of a task, oldest first."""
    found = begun().subquery().c
    query = select(found.extractor, found.began_at).where(found.task == task)
    rows = tx.execute(query.order_by(found.began_at, found.extractor)).all()
    return [Version(task, row[0].partition("/")[0], row[0].partition("/")[2], row[1]) for row in rows]


def asked_tasks(tx: Connection) -> set[str]:
    """Return the tasks of which an item was ever asked, but for those that were rolled back whole."""
    found = begun().subquery().c
    return set(tx.execute(select(found.task).distinct()).scalars())


def is_of(extractor: str, version: str) -> bool:
    """Return whether an extractor is of a version, a label with or without a model."""
    return extractor == version or extractor.startswith(f"{version}/")


Rank = Callable[[str], tuple[int, bool, int]]  # of an extractor, the lowest of the one that counts


def ranks(tx: Connection, task: str, *, prefer: Sequence[str] = (), label: str | None = None) -> Rank:
    """Return what puts extractors in order: those of the versions in `prefer`, of `label`, then the one begun last.

    Those of other programs are behind ours.
    """
    places = {one.extractor: number for number, one in enumerate(list_versions(tx, task))}

    def rank(extractor: str) -> tuple[int, bool, int]:
        place = next((number for number, one in enumerate(prefer) if is_of(extractor, one)), len(prefer))
        return place, label is None or not is_of(extractor, label), -places.get(extractor, -1)

    return rank


def calls_under_way(tx: Connection, task: str, extractor: str) -> int:
    """Return how many live calls of living processes ask under an extractor at this moment."""
    going = select(calls.c.id).where(calls.c.task == task, calls.c.extractor == extractor, calls.c.outcome.is_(None))
    return len(set(tx.execute(going).scalars()).difference(dead_calls(tx)))


def paid_for_version(tx: Connection, task: str, extractor: str) -> float:
    """Return what an extractor's answers cost, in USD: batches and live calls, failures included."""
    mine = and_(batches.c.task == task, batches.c.extractor == extractor, ~_is_marked())
    live = and_(calls.c.task == task, calls.c.extractor == extractor, calls.c.purpose != ROLLED_BACK)
    by_batch = select(func.sum(batches.c.cost)).where(mine)
    sums = (by_batch, select(func.sum(calls.c.cost)).where(live))
    return float(sum(tx.execute(query).scalar() or 0.0 for query in sums))


def rolled_back_batches(tx: Connection) -> set[int]:
    """Return the numbers of the batches whose answers were rolled back."""
    return workspace.numbers_with_event(tx, KIND)


def is_anything_asked(tx: Connection) -> bool:
    """Return whether anything is kept or under way that a model was asked: a version, an answer, a batch or a call."""
    going = (
        begun(),
        select(answers.c.id).where(answers.c.extractor != PERSON),
        select(batches.c.number).where(batches.c.state.not_in(list(OVER))),
        select(calls.c.id).where(calls.c.outcome.is_(None)),
    )
    return any(tx.execute(query.limit(1)).first() is not None for query in going)


def applied_page(tx: Connection, task: str, extractor: str, *, after: int) -> list[tuple[int, str]]:
    """Return (row, item id) of the next answers of an extractor that were applied, behind a row."""
    mine = (answers.c.task == task, answers.c.extractor == extractor, answers.c.applied, answers.c.id > after)
    query = select(answers.c.id, answers.c.item_id).where(*mine).order_by(answers.c.id).limit(PAGE)
    return [(row[0], row[1]) for row in tx.execute(query)]


class Removed(NamedTuple):
    """How many answers and attempts of a version were deleted, and how many items are parked under it no more."""

    answers: int
    attempts: int
    let_go: int


def remove_version(tx: Connection, task: str, extractor: str, *, at: datetime) -> Removed:
    """Delete what is kept of a version, and mark its batches and live calls, in the caller's transaction."""
    why = "its version was rolled back"
    sent = select(batches.c.number).where(batches.c.task == task, batches.c.extractor == extractor, ~_is_marked())
    for number in tx.execute(sent.order_by(batches.c.number)).scalars().all():
        workspace.record_event(tx, KIND, number, old=None, new="answers removed", why=why, at=at)
    live = and_(calls.c.task == task, calls.c.extractor == extractor, calls.c.purpose != COMPARED)
    tx.execute(update(calls).where(live).values(purpose=ROLLED_BACK))
    going = and_(runs.c.task == task, runs.c.extractor == extractor, runs.c.ended_at.is_(None))
    tx.execute(update(runs).where(going).values(ended_at=at, why=why))
    parked = (asks.c.task == task, asks.c.extractor == extractor, asks.c.state == PARKED)
    let_go = tx.execute(select(func.count()).where(*parked)).scalar_one()
    counts = [
        tx.execute(delete(table).where(table.c.task == task, table.c.extractor == extractor)).rowcount
        for table in (answers, attempts, asks, pilots)
    ]
    return Removed(counts[0], counts[1], let_go)


def _is_marked() -> ColumnElement[bool]:
    return cast(batches.c.number, Text).in_(select(journal.c.name).where(journal.c.kind == KIND))
