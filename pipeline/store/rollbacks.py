"""What a version that is taken back leaves in the engine's tables, and how it goes, block by block.

Its batches and live calls stay, with what they cost: that was asked and paid. They are marked, so that nobody misses
their answers; what they came to (answers, attempts, parked items, pilots, probes) goes as if it had never been.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, cast, delete, func, select, update
from sqlalchemy.types import Text

from pipeline.store import events, versions
from pipeline.store.answers import COMPARED, ROLLED_BACK
from pipeline.store.calls import dead
from pipeline.store.erasing import REASON
from pipeline.store.tables import answers, attempts, batch_accounts, batches, calls, parked, pilots, probes, runs
from pipeline.store.tables import events as journal

KIND = "rollback"  # of the journal's lines about this, by batch
PAGE = 500  # ids in one statement


class Answer(NamedTuple):
    """One stored answer: the number of its row, and its item."""

    id: int
    item_id: str


def calls_under_way(tx: Connection, task: str, extractor: str, *, now: datetime) -> int:
    """Return how many live calls of living processes ask under an extractor at this moment."""
    going = select(calls.c.id).where(calls.c.task == task, calls.c.extractor == extractor, calls.c.outcome.is_(None))
    return len(set(tx.execute(going).scalars()).difference(dead(tx, now=now)))


def paid(tx: Connection, task: str, extractor: str) -> float:
    """Return what the answers that are here did cost, in USD: batches and live calls, failures included."""
    mine = and_(batches.c.task == task, batches.c.extractor == extractor, ~_is_marked())
    live = and_(calls.c.task == task, calls.c.extractor == extractor, calls.c.purpose != ROLLED_BACK)
    by_batch = select(func.sum(batch_accounts.c.cost)).join_from(batches, batch_accounts).where(mine)
    sums = (by_batch, select(func.sum(calls.c.cost)).where(live))
    return float(sum(tx.execute(query).scalar() or 0.0 for query in sums))


def mark(tx: Connection, task: str, extractor: str, *, at: datetime) -> None:
    """Mark the batches and live calls of an extractor, whose answers are about to go; again changes nothing."""
    mine = select(batches.c.number).where(batches.c.task == task, batches.c.extractor == extractor, ~_is_marked())
    for number in tx.execute(mine.order_by(batches.c.number)).scalars().all():
        events.record(tx, KIND, number, old=None, new="answers removed", why="its version was rolled back", at=at)
    live = and_(calls.c.task == task, calls.c.extractor == extractor, calls.c.purpose != COMPARED)
    tx.execute(update(calls).where(live).values(purpose=ROLLED_BACK))


def marked(tx: Connection) -> set[int]:
    """Return the numbers of the batches whose answers were taken back."""
    return {int(name) for name in tx.execute(_marks()).scalars() if name.isdecimal()}


def forget_marks(tx: Connection) -> None:
    """Take the marks from batches that are forgotten, because other batches will get their numbers."""
    tx.execute(delete(journal).where(journal.c.kind == KIND))


def page_of_answers(tx: Connection, task: str, extractor: str, *, after: int, most: int) -> list[Answer]:
    """Return the next answers of an extractor behind the row of one, in the order of rows."""
    query = select(answers.c.id, answers.c.item_id).where(answers.c.task == task, answers.c.extractor == extractor)
    query = query.where(answers.c.id > after).order_by(answers.c.id).limit(most)
    return [Answer._make(row) for row in tx.execute(query)]


def remove_answers(tx: Connection, ids: Sequence[int]) -> None:
    """Delete answers by the numbers of their rows."""
    for start in range(0, len(ids), PAGE):
        tx.execute(delete(answers).where(answers.c.id.in_(ids[start : start + PAGE])))


def page_of_attempts(tx: Connection, task: str, extractor: str, *, after: int, most: int) -> list[Answer]:
    """Return the next attempts of an extractor that gave no answer, behind the row of one, in the order of rows.

    An attempt in a batch is its batch's; a live one is of the last call about its item before it.
    """
    mine = select(batches.c.number).where(batches.c.task == task, batches.c.extractor == extractor)
    query = select(attempts.c.id, attempts.c.item_id).where(attempts.c.task == task, attempts.c.id > after)
    query = query.where(attempts.c.batch.in_(mine) | (attempts.c.batch.is_(None) & (_asked_by() == extractor)))
    return [Answer._make(row) for row in tx.execute(query.order_by(attempts.c.id).limit(most))]


def remove_attempts(tx: Connection, task: str, rows: Sequence[Answer]) -> int:
    """Delete attempts, and let go the items that nothing keeps parked any more; return how many were let go."""
    let_go = 0
    for start in range(0, len(rows), PAGE):
        some = rows[start : start + PAGE]
        tx.execute(delete(attempts).where(attempts.c.id.in_([one.id for one in some])))
        let_go += tx.execute(delete(parked).where(_is_free(task, [one.item_id for one in some]))).rowcount
    return let_go


def finish(tx: Connection, task: str, label: str, *, model: str, at: datetime) -> None:
    """Delete what is left of a version: its pilots and probes, the runs that go on under it, and then its own row."""
    extractor = f"{label}/{model}"
    tx.execute(delete(pilots).where(pilots.c.task == task, pilots.c.extractor == extractor))
    tx.execute(delete(probes).where(probes.c.extractor == extractor))
    going = and_(runs.c.task == task, runs.c.extractor == extractor, runs.c.ended_at.is_(None))
    tx.execute(update(runs).where(going).values(ended_at=at, why="its version was rolled back"))
    versions.remove(tx, task, label, model=model)


def _marks() -> Select[Any]:
    return select(journal.c.name).where(journal.c.kind == KIND)


def _is_marked() -> ColumnElement[bool]:
    """Return the condition that a batch was marked."""
    return cast(batches.c.number, Text).in_(_marks())


def _asked_by() -> Any:
    """Return who asked, as SQL, of the last live call about the item of an attempt that was marked before it."""
    same = and_(calls.c.task == attempts.c.task, calls.c.item_id == attempts.c.item_id)
    before = and_(same, calls.c.purpose != COMPARED, calls.c.asked_at <= attempts.c.at)
    query = select(calls.c.extractor).where(before).order_by(calls.c.id.desc()).limit(1)
    return query.correlate(attempts).scalar_subquery()


def _is_free(task: str, ids: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that an item is parked for attempts alone, of which none is left that counts."""
    counted = select(attempts.c.id).where(
        attempts.c.task == task, attempts.c.item_id == parked.c.item_id, ~attempts.c.forgiven
    )
    mine = and_(parked.c.task == task, parked.c.item_id.in_(ids), ~parked.c.foreign_text, parked.c.reason != REASON)
    return and_(mine, ~counted.correlate(parked).exists())
