"""Rows of `findable_versions`: what answers are attributed to, and which of them are being taken back.

A version is a label (of prompt and schema) with a model. From the moment its row says that it is withdrawn, none of its
rows counts; they are deleted afterwards, block by block, and its own row last.

What a version that is taken back leaves in the engine's tables, and how it goes, block by block.

Its batches and live calls stay, with what they cost: that was asked and paid. They are marked, so that nobody misses
their answers; what they came to (answers, attempts, parked items, pilots, probes) goes as if it had never been.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, cast, delete, func, insert, select, update
from sqlalchemy.types import Text

from pipeline.core.errors import ConfigurationError
from pipeline.store import workspace
from pipeline.store.answers import COMPARED, ROLLED_BACK
from pipeline.store.erase import REASON
from pipeline.store.live_calls import dead_calls
from pipeline.store.tables import (
    answers,
    attempts,
    batch_accounts,
    batches,
    calls,
    parked,
    pilots,
    probes,
    runs,
    versions,
)
from pipeline.store.tables import events as journal


@dataclass(frozen=True)
class Version:
    """One version: its label and model, whose answers keep an item from being asked under it (None: any), and when."""

    task: str
    label: str
    model: str
    skips: tuple[str, ...] | None
    began_at: datetime
    withdrawn_at: datetime | None

    @property
    def extractor(self) -> str:
        """Return the name that answers are attributed to."""
        return f"{self.label}/{self.model}"

    @property
    def name(self) -> str:
        """Return what a person calls it: the label alone where rows of another program name no model."""
        return self.extractor if self.model else self.label


def begin_version(
    tx: Connection, task: str, label: str, *, model: str, skips: Sequence[str] | None, at: datetime
) -> bool:
    """Note that items are about to be asked under a version; return whether its label is new beside older ones.

    Raises:
        ConfigurationError: it is being taken back, and that is not over.
    """
    known = list_versions(tx, task)
    mine = next((one for one in known if (one.label, one.model) == (label, model)), None)
    if mine is not None and mine.withdrawn_at is not None:
        raise ConfigurationError(
            f"{mine.extractor} is being rolled back, and that was interrupted; nothing was prepared or sent",
            hint=f"finish it: make rollback EXTRACTOR={mine.extractor}, or take another VERSION=",
        )
    if mine is None:
        kept = None if skips is None else json.dumps(list(skips))
        row = {"task": task, "version": label, "model": model, "skips": kept, "began_at": at}
        tx.execute(insert(versions).values(row))
    return bool(known) and all(one.label != label for one in known)


def is_version_begun(tx: Connection, task: str, label: str, *, model: str) -> bool:
    """Return whether items were asked under a version that is in sight."""
    here = _is(task, label, model) & versions.c.withdrawn_at.is_(None)
    return tx.execute(select(versions.c.task).where(here)).first() is not None


def is_version_retired(tx: Connection, task: str, label: str, *, model: str) -> bool:
    """Return whether a version is being taken back."""
    here = _is(task, label, model) & versions.c.withdrawn_at.is_not(None)
    return tx.execute(select(versions.c.task).where(here)).first() is not None


def retired_versions(tx: Connection) -> list[Version]:
    """Return every version of any task that is being taken back, oldest first."""
    query = select(versions).where(versions.c.withdrawn_at.is_not(None)).order_by(versions.c.withdrawn_at)
    return [_version(row) for row in tx.execute(query)]


def list_versions(tx: Connection, task: str) -> list[Version]:
    """Return every version of a task, oldest first, those among them that are being taken back."""
    query = select(versions).where(versions.c.task == task).order_by(versions.c.began_at, versions.c.version)
    return [_version(row) for row in tx.execute(query)]


def retire_version(tx: Connection, task: str, label: str, *, model: str, at: datetime) -> None:
    """Take a version out of sight by its one row, which is made where it has none; again changes nothing."""
    here = _is(task, label, model)
    if tx.execute(select(versions.c.task).where(here)).first() is None:
        row = {"task": task, "version": label, "model": model, "began_at": at, "withdrawn_at": at}
        tx.execute(insert(versions).values(row))
    tx.execute(update(versions).where(here, versions.c.withdrawn_at.is_(None)).values(withdrawn_at=at))


def remove_version(tx: Connection, task: str, label: str, *, model: str) -> None:
    """Forget a version, once nothing of it is left."""
    tx.execute(delete(versions).where(_is(task, label, model)))


def _version(row: Row[Any]) -> Version:
    """Return a row as a version."""
    skips = None if row.skips is None else tuple(json.loads(row.skips))
    return Version(row.task, row.version, row.model, skips, row.began_at, row.withdrawn_at)


def _is(task: str, label: str, model: str) -> ColumnElement[bool]:
    """Return the condition that a row is this version's."""
    return and_(versions.c.task == task, versions.c.version == label, versions.c.model == model)


KIND = "rollback"  # of the journal's lines about this, by batch
PAGE = 500  # ids in one statement


class StoredAnswer(NamedTuple):
    """One stored answer: the number of its row, and its item."""

    id: int
    item_id: str


def calls_under_way(tx: Connection, task: str, extractor: str, *, now: datetime) -> int:
    """Return how many live calls of living processes ask under an extractor at this moment."""
    going = select(calls.c.id).where(calls.c.task == task, calls.c.extractor == extractor, calls.c.outcome.is_(None))
    return len(set(tx.execute(going).scalars()).difference(dead_calls(tx, now=now)))


def paid_for_version(tx: Connection, task: str, extractor: str) -> float:
    """Return what the answers that are here did cost, in USD: batches and live calls, failures included."""
    mine = and_(batches.c.task == task, batches.c.extractor == extractor, ~_is_marked())
    live = and_(calls.c.task == task, calls.c.extractor == extractor, calls.c.purpose != ROLLED_BACK)
    by_batch = select(func.sum(batch_accounts.c.cost)).join_from(batches, batch_accounts).where(mine)
    sums = (by_batch, select(func.sum(calls.c.cost)).where(live))
    return float(sum(tx.execute(query).scalar() or 0.0 for query in sums))


def mark_rolled_back(tx: Connection, task: str, extractor: str, *, at: datetime) -> None:
    """Mark the batches and live calls of an extractor, whose answers are about to go; again changes nothing."""
    mine = select(batches.c.number).where(batches.c.task == task, batches.c.extractor == extractor, ~_is_marked())
    for number in tx.execute(mine.order_by(batches.c.number)).scalars().all():
        workspace.record_event(
            tx, KIND, number, old=None, new="answers removed", why="its version was rolled back", at=at
        )
    live = and_(calls.c.task == task, calls.c.extractor == extractor, calls.c.purpose != COMPARED)
    tx.execute(update(calls).where(live).values(purpose=ROLLED_BACK))


def rolled_back_batches(tx: Connection) -> set[int]:
    """Return the numbers of the batches whose answers were taken back."""
    return {int(name) for name in tx.execute(_marks()).scalars() if name.isdecimal()}


def forget_rolled_back(tx: Connection) -> None:
    """Take the marks from batches that are forgotten, because other batches will get their numbers."""
    tx.execute(delete(journal).where(journal.c.kind == KIND))


def page_of_answers(tx: Connection, task: str, extractor: str, *, after: int, most: int) -> list[StoredAnswer]:
    """Return the next answers of an extractor behind the row of one, in the order of rows."""
    query = select(answers.c.id, answers.c.item_id).where(answers.c.task == task, answers.c.extractor == extractor)
    query = query.where(answers.c.id > after).order_by(answers.c.id).limit(most)
    return [StoredAnswer._make(row) for row in tx.execute(query)]


def remove_answers(tx: Connection, ids: Sequence[int]) -> None:
    """Delete answers by the numbers of their rows."""
    for start in range(0, len(ids), PAGE):
        tx.execute(delete(answers).where(answers.c.id.in_(ids[start : start + PAGE])))


def page_of_attempts(tx: Connection, task: str, extractor: str, *, after: int, most: int) -> list[StoredAnswer]:
    """Return the next attempts of an extractor that gave no answer, behind the row of one, in the order of rows.

    An attempt in a batch is its batch's; a live one is of the last call about its item before it.
    """
    mine = select(batches.c.number).where(batches.c.task == task, batches.c.extractor == extractor)
    query = select(attempts.c.id, attempts.c.item_id).where(attempts.c.task == task, attempts.c.id > after)
    query = query.where(attempts.c.batch.in_(mine) | (attempts.c.batch.is_(None) & (_asked_by() == extractor)))
    return [StoredAnswer._make(row) for row in tx.execute(query.order_by(attempts.c.id).limit(most))]


def remove_attempts(tx: Connection, task: str, rows: Sequence[StoredAnswer]) -> int:
    """Delete attempts, and let go the items that nothing keeps parked any more; return how many were let go."""
    let_go = 0
    for start in range(0, len(rows), PAGE):
        some = rows[start : start + PAGE]
        tx.execute(delete(attempts).where(attempts.c.id.in_([one.id for one in some])))
        let_go += tx.execute(delete(parked).where(_is_free(task, [one.item_id for one in some]))).rowcount
    return let_go


def finish_rollback(tx: Connection, task: str, label: str, *, model: str, at: datetime) -> None:
    """Delete what is left of a version: its pilots and probes, the runs that go on under it, and then its own row."""
    extractor = f"{label}/{model}"
    tx.execute(delete(pilots).where(pilots.c.task == task, pilots.c.extractor == extractor))
    tx.execute(delete(probes).where(probes.c.extractor == extractor))
    going = and_(runs.c.task == task, runs.c.extractor == extractor, runs.c.ended_at.is_(None))
    tx.execute(update(runs).where(going).values(ended_at=at, why="its version was rolled back"))
    remove_version(tx, task, label, model=model)


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
