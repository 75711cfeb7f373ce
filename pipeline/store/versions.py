"""Keep the versions that answers are attributed to, and roll them back.

A version is a label (of prompt and schema) with a model. From the moment its row says that it is withdrawn, none of its
rows counts; they are deleted afterwards, block by block, and its own row last. Its batches and live calls stay, with
what they cost, and are marked as rolled back; answers, attempts, parked items and pilots go.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Table, Text, and_, cast, delete, func, insert, select, update

from pipeline.core.errors import ConfigurationError
from pipeline.core.states import OVER
from pipeline.store import workspace
from pipeline.store.answers import BEING_FORGOTTEN, COMPARED, PERSON, ROLLED_BACK
from pipeline.store.database import PAGE, pages
from pipeline.store.live_calls import dead_calls
from pipeline.store.tables import answers, attempts, batches, calls, parked, pilots, requests, runs, versions
from pipeline.store.tables import events as journal

KIND = "rollback"  # of the journal's lines about this, by batch


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
        """Return the name to show: the label alone where rows of another program name no model."""
        return self.extractor if self.model else self.label


def begin_version(
    tx: Connection, task: str, label: str, *, model: str, skips: Sequence[str] | None, at: datetime
) -> bool:
    """Note that items are about to be asked under a version; return whether its label is new beside older ones.

    Raises:
        ConfigurationError: it is being rolled back, and that is not over.
    """
    known, mine = list_versions(tx, task), get_version(tx, task, label, model=model)
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


def get_version(tx: Connection, task: str, label: str, *, model: str) -> Version | None:
    """Return a version that items were asked under, None where none were."""
    return next(iter(_versions(tx, select(versions).where(_is(task, label, model)))), None)


def retired_versions(tx: Connection) -> list[Version]:
    """Return every version of any task that is being rolled back, oldest first."""
    return _versions(tx, select(versions).where(versions.c.withdrawn_at.is_not(None)).order_by(versions.c.withdrawn_at))


def list_versions(tx: Connection, task: str) -> list[Version]:
    """Return every version of a task, oldest first; also those that are being rolled back."""
    query = select(versions).where(versions.c.task == task)
    return _versions(tx, query.order_by(versions.c.began_at, versions.c.version))


def asked_tasks(tx: Connection) -> set[str]:
    """Return the tasks of which an item was ever asked, but for those that were rolled back whole."""
    return set(tx.execute(select(versions.c.task).distinct()).scalars())


def is_of(extractor: str, version: str) -> bool:
    """Return whether an extractor is of a version, a label with or without a model."""
    return extractor == version or extractor.startswith(f"{version}/")


Rank = Callable[[str], tuple[int, bool, int]]  # of an extractor, the lowest of the one that counts


def ranks(tx: Connection, task: str, *, prefer: Sequence[str] = (), label: str | None = None) -> Rank:
    """Return what puts extractors in order: those of the versions in `prefer`, of `label`, then the one begun last.

    Those of other programs are behind ours.
    """
    begun = {one.name: number for number, one in enumerate(list_versions(tx, task))}

    def rank(extractor: str) -> tuple[int, bool, int]:
        place = next((number for number, one in enumerate(prefer) if is_of(extractor, one)), len(prefer))
        return place, label is None or not is_of(extractor, label), -begun.get(extractor, -1)

    return rank


def retire_version(tx: Connection, task: str, label: str, *, model: str, at: datetime) -> None:
    """Hide a version by its one row, which is made where it has none; again changes nothing."""
    if get_version(tx, task, label, model=model) is None:
        row = {"task": task, "version": label, "model": model, "began_at": at, "withdrawn_at": at}
        tx.execute(insert(versions).values(row))
    here = _is(task, label, model) & versions.c.withdrawn_at.is_(None)
    tx.execute(update(versions).where(here).values(withdrawn_at=at))


def _versions(tx: Connection, query: Select[Any]) -> list[Version]:
    rows = ((row, None if row.skips is None else tuple(json.loads(row.skips))) for row in tx.execute(query))
    return [Version(row.task, row.version, row.model, skips, row.began_at, row.withdrawn_at) for row, skips in rows]


def _is(task: str, label: str, model: str) -> ColumnElement[bool]:
    return and_(versions.c.task == task, versions.c.version == label, versions.c.model == model)


class StoredAnswer(NamedTuple):
    """One stored answer: the number of its row, and its item."""

    id: int
    item_id: str


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


def mark_rolled_back(tx: Connection, task: str, extractor: str, *, at: datetime) -> None:
    """Mark the batches and live calls of an extractor, whose answers are about to go; again changes nothing."""
    mine = select(batches.c.number).where(batches.c.task == task, batches.c.extractor == extractor, ~_is_marked())
    why = "its version was rolled back"
    for number in tx.execute(mine.order_by(batches.c.number)).scalars().all():
        workspace.record_event(tx, KIND, number, old=None, new="answers removed", why=why, at=at)
    live = and_(calls.c.task == task, calls.c.extractor == extractor, calls.c.purpose != COMPARED)
    tx.execute(update(calls).where(live).values(purpose=ROLLED_BACK))


def rolled_back_batches(tx: Connection) -> set[int]:
    """Return the numbers of the batches whose answers were rolled back."""
    return workspace.numbers_with_event(tx, KIND)


def is_anything_asked(tx: Connection) -> bool:
    """Return whether anything is kept or under way that a model was asked: a version, an answer, a batch or a call."""
    going = (
        select(versions.c.task),
        select(answers.c.id).where(answers.c.extractor != PERSON),
        select(batches.c.number).where(batches.c.state.not_in(list(OVER))),
        select(calls.c.id).where(calls.c.outcome.is_(None)),
    )
    return any(tx.execute(query.limit(1)).first() is not None for query in going)


def page_of_answers(
    tx: Connection, task: str, extractor: str, *, after: int, most: int = PAGE, applied: bool = False
) -> list[StoredAnswer]:
    """Return the next answers of an extractor behind the row of one, in the order of rows; or the `applied` alone."""
    query = select(answers.c.id, answers.c.item_id).where(answers.c.task == task, answers.c.extractor == extractor)
    query = query.where(answers.c.applied) if applied else query
    query = query.where(answers.c.id > after).order_by(answers.c.id).limit(most)
    return [StoredAnswer._make(row) for row in tx.execute(query)]


def page_of_attempts(tx: Connection, task: str, extractor: str, *, after: int, most: int) -> list[StoredAnswer]:
    """Return the next attempts of an extractor that gave no answer, behind the row of one, in the order of rows.

    An attempt in a batch is its batch's; a live one is of the last call about its item before it.
    """
    mine = select(batches.c.number).where(batches.c.task == task, batches.c.extractor == extractor)
    query = select(attempts.c.id, attempts.c.item_id).where(attempts.c.task == task, attempts.c.id > after)
    query = query.where(attempts.c.batch.in_(mine) | (attempts.c.batch.is_(None) & (_asked_by() == extractor)))
    return [StoredAnswer._make(row) for row in tx.execute(query.order_by(attempts.c.id).limit(most))]


def remove_rows(tx: Connection, table: Table, task: str, rows: Sequence[StoredAnswer]) -> int:
    """Delete answers or attempts, and unpark what nothing keeps parked any more; return how many items those are."""
    unparked = 0
    for some in pages(rows):
        tx.execute(delete(table).where(table.c.id.in_([one.id for one in some])))
        unparked += tx.execute(delete(parked).where(_is_free(task, [one.item_id for one in some]))).rowcount
    return unparked


def finish_rollback(tx: Connection, task: str, label: str, *, model: str, at: datetime) -> None:
    """Delete a version's pilots, end the runs that go on under it, and delete its own row."""
    extractor = f"{label}/{model}"
    tx.execute(delete(pilots).where(pilots.c.task == task, pilots.c.extractor == extractor))
    going = and_(runs.c.task == task, runs.c.extractor == extractor, runs.c.ended_at.is_(None))
    tx.execute(update(runs).where(going).values(ended_at=at, why="its version was rolled back"))
    tx.execute(delete(versions).where(_is(task, label, model)))


def _is_marked() -> ColumnElement[bool]:
    return cast(batches.c.number, Text).in_(select(journal.c.name).where(journal.c.kind == KIND))


def _asked_by() -> Any:
    """Return the extractor, as SQL, of the last live call that was marked before an attempt and that it came of.

    That call is about its item, or about the one whose call it shares.
    """
    shared = select(requests.c.item_id).where(requests.c.id == attempts.c.shares).scalar_subquery()
    called = func.coalesce(shared, attempts.c.item_id)
    same = and_(calls.c.task == attempts.c.task, calls.c.item_id == called)
    before = and_(same, calls.c.purpose != COMPARED, calls.c.asked_at <= attempts.c.at)
    query = select(calls.c.extractor).where(before).order_by(calls.c.id.desc()).limit(1)
    return query.correlate(attempts).scalar_subquery()


def _is_free(task: str, ids: Sequence[str]) -> ColumnElement[bool]:
    """Return the condition that an item is parked for attempts alone, of which none that counts is left."""
    counted = select(attempts.c.id).where(
        attempts.c.task == task, attempts.c.item_id == parked.c.item_id, ~attempts.c.forgiven
    )
    mine = and_(
        parked.c.task == task, parked.c.item_id.in_(ids), ~parked.c.foreign_text, parked.c.reason != BEING_FORGOTTEN
    )
    return and_(mine, ~counted.correlate(parked).exists())
