"""Tell which versions of a task there are, and take one back.

A version is a label (of prompt and schema) with a model: there is one where a batch asked under it. A rollback is one
transaction, which deletes its answers, attempts, asks and pilots. Its batches stay, with what they cost, and are marked
as rolled back; they are of no version any more.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Text, and_, cast, delete, func, select, union_all, update

from pipeline.core.states import OVER, Way
from pipeline.store import workspace
from pipeline.store.answers import PERSON
from pipeline.store.asks import PARKED
from pipeline.store.database import PAGE
from pipeline.store.tables import answers, asks, attempts, batches, pilots, runs
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
    of_batches = select(batches.c.task, batches.c.extractor, batches.c.created_at.label("at"))
    of_batches = of_batches.where(~_is_marked(), batches.c.way != Way.TRIAL)
    of_runs = select(runs.c.task, runs.c.extractor, runs.c.started_at).where(runs.c.ended_at.is_(None))
    every = union_all(of_batches, of_runs).subquery("asked").c
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


def paid_for_version(tx: Connection, task: str, extractor: str) -> float:
    """Return what an extractor's answers cost, in USD: all batches, failures included."""
    mine = and_(batches.c.task == task, batches.c.extractor == extractor, ~_is_marked())
    return float(tx.execute(select(func.sum(batches.c.cost)).where(mine)).scalar() or 0.0)


def rolled_back_batches(tx: Connection) -> set[int]:
    """Return the numbers of the batches whose answers were rolled back."""
    return workspace.numbers_with_event(tx, KIND)


def is_anything_asked(tx: Connection) -> bool:
    """Return whether anything is kept or under way that a model was asked: a version, an answer or a batch."""
    going = (
        begun(),
        select(answers.c.id).where(answers.c.extractor != PERSON),
        select(batches.c.number).where(batches.c.state.not_in(list(OVER))),
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
    """Delete what is kept of a version, and mark its batches, in the caller's transaction."""
    why = "its version was rolled back"
    sent = select(batches.c.number).where(batches.c.task == task, batches.c.extractor == extractor, ~_is_marked())
    for number in tx.execute(sent.order_by(batches.c.number)).scalars().all():
        workspace.record_event(tx, KIND, number, old=None, new="answers removed", why=why, at=at)
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
