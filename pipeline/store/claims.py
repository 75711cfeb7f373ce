"""Claim rows for a batch, and keep what became of each under one version: answered, or parked.

A row is *open* under a version (an extractor: label/model) where it has no ask. A claim is the INSERT of its ask, and
the primary key of `findable_asks` is what lets nothing be asked, and paid for, twice under a version; that no other
version is asking about the row is looked up beside it, which the one writer makes exact. What a failure leaves another
try goes open again: its ask is deleted, and the attempt is kept. What is asked under no version (text of another
program, what is being forgotten) is parked under the extractor '', which stands for every version.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from typing import Any, NamedTuple, Protocol

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    case,
    cast,
    delete,
    exc,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from pipeline.core.errors import StateConflictError
from pipeline.core.states import OVER, Mode, Outcome
from pipeline.store.database import among, change_among, pages, run_many, streamed
from pipeline.store.schema import asks, attempts, batches

PAGE = 2000
ROWS = 500  # read at a time: what they hold is in memory
MANY = 500  # claims at once, after which a server counts its asks anew, or its planner scans them for each look,
SHARE = 10  # where it knows of fewer than so many times as many
CLAIMED = "claimed"
ANSWERED = "answered"
PARKED = "parked"
EVERY = ""  # the extractor of an ask that stands for every version
BEING_FORGOTTEN = (
    "is being forgotten"  # why an item is parked meanwhile, so that it is not asked any more
)
IS_CLAIMED = asks.c.state == CLAIMED
_IS_PARKED = asks.c.state == PARKED


class RowClaim(NamedTuple):
    """One item that was asked, on a line of its batch's file from 1, or was told what an equal row was: `is_given`."""

    item_id: str
    input_hash: str
    line: int | None = None
    is_given: bool = False


class OpenRowSource(Protocol):
    """What is known of a task here: which of its rows are open by where their answers go, and what is read of them."""

    name: str

    @property
    def own(self) -> str:
        """Return what `parked` is told."""

    @property
    def columns(self) -> Sequence[str]:
        """Return the columns that are read of a row."""

    def read(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a row by the names that are asked about."""

    def pending(
        self, tx: Connection, *, names: Sequence[str] = (), after: str | None = None
    ) -> Select[Any]:
        """Return the SELECT of the ids of open rows, with the columns of some names before them."""

    def pending_among(self, tx: Connection, ids: Sequence[str]) -> set[str]:
        """Return which of these rows are open."""


def held(task: str, own: str) -> Select[Any]:
    """Return the SELECT of the items that are not asked although their rows are open: claimed, or `parked`."""
    return select(asks.c.item_id).where(asks.c.task == task, or_(IS_CLAIMED, _is_parked(own)))


def askable(
    tx: Connection, task: OpenRowSource, *, names: Sequence[str] = (), after: str | None = None
) -> Select[Any]:
    """Return the SELECT of what the next batch would take: the columns of `names`, and the ids of open, free rows."""
    query = task.pending(tx, names=names, after=after)
    *_, item_id = query.selected_columns
    return query.where(~held(task.name, task.own).where(asks.c.item_id == item_id).exists())


def askable_rows(
    tx: Connection, task: OpenRowSource, *, after: str | None
) -> Iterator[Mapping[str, Mapping[str, Any]]]:
    """Yield pages of askable rows with what the task reads of them, in their order."""
    names = task.columns
    query = askable(tx, task, names=names, after=after)
    for page in streamed(tx, query, page=ROWS).partitions():
        rows = map(
            task.read, map(dict, map(zip, repeat(names), page))
        )  # the id comes behind the names
        yield dict(zip([row[-1] for row in page], rows, strict=True))


def askable_among(tx: Connection, task: OpenRowSource, ids: Sequence[str]) -> list[str]:
    """Return those of these ids that the next batch would take, in their own order."""
    free: set[str] = set()
    for some in pages(ids, PAGE):
        taken = held(task.name, task.own).where(asks.c.item_id.in_(some))
        free |= task.pending_among(tx, some).difference(tx.execute(taken).scalars())
    return [one for one in ids if one in free]


def count_askable(tx: Connection, task: OpenRowSource) -> int:
    """Return how many items the next submit would take."""
    query = select(func.count()).select_from(askable(tx, task).order_by(None).subquery())
    return tx.execute(query).scalar() or 0


def claim(
    tx: Connection,
    task: OpenRowSource,
    extractor: str,
    rows: Sequence[RowClaim],
    *,
    batch: int,
    asks_each: bool,
    at: datetime,
) -> None:
    """Claim rows for a batch under a version, all or none; where it does not `asks_each`, of equal ones once."""
    whose = {"task": task.name, "extractor": extractor, "state": CLAIMED, "batch": batch, "at": at}
    for page in pages(
        rows, PAGE
    ):  # before any is inserted: a server does not know yet how large its table becomes
        if not asks_each and equal_asks(
            tx, task.name, extractor, [one.input_hash for one in page], state=CLAIMED
        ):
            raise _not_open(task)
        ids = [one.item_id for one in page]  # few enough for one statement
        taken = held(task.name, task.own).where(asks.c.item_id.in_(ids)).limit(1)
        if tx.execute(taken).first() is not None or len(task.pending_among(tx, ids)) != len(ids):
            raise _not_open(task)
    claims = [
        {**whose, "item_id": one.item_id, "line": one.line, "input_hash": one.input_hash}
        for one in rows
    ]
    _insert(tx, task.name, extractor, claims)
    if len(rows) >= MANY and tx.dialect.name == "postgresql":
        known = tx.execute(
            text("SELECT reltuples FROM pg_class WHERE oid = 'findable_asks'::regclass")
        ).scalar_one()
        if known < SHARE * len(rows):
            tx.execute(text(f"ANALYZE {asks.name}"))


def _not_open(task: OpenRowSource) -> StateConflictError:
    return StateConflictError("an item of", task.name, expected="open", wanted="claimed")


def _insert(tx: Connection, task: str, extractor: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert asks; that of a row which was answered before, and lost its answer, makes room for the new one."""
    before = delete(asks).where(
        asks.c.task == task, asks.c.extractor == extractor, asks.c.state == ANSWERED
    )
    change_among(tx, before, asks.c.item_id, [one["item_id"] for one in rows])
    try:
        for some in pages(rows, PAGE):
            run_many(tx, insert(asks), some)
    except exc.IntegrityError as error:
        raise StateConflictError(
            "an item of", task, expected="unasked", wanted=rows[0]["state"]
        ) from error


def equal_asks(
    tx: Connection, task: str, extractor: str, hashes: Sequence[str], *, state: str | None = None
) -> dict[str, tuple[str, str]]:
    """Return (state, item id) of a claimed, else an answered ask under a version for each of some input hashes."""
    mine = (asks.c.task == task, asks.c.extractor == extractor)
    wanted = asks.c.state.in_([CLAIMED, ANSWERED]) if state is None else asks.c.state == state
    query = (
        select(asks.c.input_hash, asks.c.state, asks.c.item_id)
        .where(*mine, wanted)
        .order_by(asks.c.state)
    )
    # "answered" comes before "claimed", which stays
    return {row[0]: (row[1], row[2]) for row in among(tx, query, asks.c.input_hash, hashes)}


def count_copied(tx: Connection, task: str, extractor: str, batch: int) -> int:
    """Return how many rows got a copy of an answer of a batch, because they ask the same."""
    original = select(asks.c.input_hash).where(asks.c.batch == batch, asks.c.state == ANSWERED)
    is_copy = and_(
        asks.c.task == task,
        asks.c.extractor == extractor,
        asks.c.state == ANSWERED,
        asks.c.batch.is_(None),
    )
    query = select(func.count()).select_from(asks).where(is_copy, asks.c.input_hash.in_(original))
    return tx.execute(query).scalar_one()


def claimed(
    tx: Connection, batch: int, *, after: int = 0, limit: int | None = None
) -> list[RowClaim]:
    """Return the rows that a batch still claims, the next ones behind a line of its file, in the order of lines."""
    query = select(asks.c.item_id, asks.c.input_hash, asks.c.line).where(
        asks.c.batch == batch, IS_CLAIMED
    )
    return [
        RowClaim(*row)
        for row in tx.execute(query.where(asks.c.line > after).order_by(asks.c.line).limit(limit))
    ]


class ClaimOutcomes(NamedTuple):
    """What becomes of rows: those that were answered, those that are parked, by why, and those that are open again."""

    answered: Sequence[RowClaim]
    parked: Mapping[RowClaim, str]
    let_go: Sequence[RowClaim]


def end_claims(
    tx: Connection, task: str, extractor: str, batch: int, ends: ClaimOutcomes, *, at: datetime
) -> None:
    """End claims of a batch, each of which is answered, parked, or let go; refused where one is claimed no more."""
    mine = and_(
        asks.c.task == task, asks.c.extractor == extractor, asks.c.batch == batch, IS_CLAIMED
    )
    move = update(asks).where(mine)
    moved = change_among(tx, move.values(state=ANSWERED, at=at), *_those(ends.answered))
    for why in dict.fromkeys(ends.parked.values()):
        stop = move.values(state=PARKED, reason=why, at=at)
        moved += change_among(
            tx, stop, *_those([one for one, said in ends.parked.items() if said == why])
        )
    moved += change_among(tx, delete(asks).where(mine), *_those(ends.let_go))
    if moved != len(ends.answered) + len(ends.parked) + len(ends.let_go):
        raise StateConflictError("an item of", task, expected="claimed", wanted="accounted for")


def _those(rows: Sequence[RowClaim]) -> tuple[ColumnElement[str], list[str]]:
    return asks.c.item_id, [one.item_id for one in rows]


def add_ended(
    tx: Connection, task: str, extractor: str, ends: ClaimOutcomes, *, at: datetime
) -> None:
    """Keep what became of rows that were open, and are not any more; those that are let go stay open."""
    blank = {"task": task, "extractor": extractor, "at": at, "batch": None, "line": None}
    told = [(one, ANSWERED, None) for one in ends.answered] + [
        (one, PARKED, why) for one, why in ends.parked.items()
    ]
    rows = (
        {
            **blank,
            "item_id": one.item_id,
            "input_hash": one.input_hash,
            "state": state,
            "reason": why,
        }
        for one, state, why in told
    )
    _insert(tx, task, extractor, list(rows))


def release_claims(tx: Connection, batch: int) -> int:
    """Let every row go that a batch still claims; return how many."""
    return tx.execute(delete(asks).where(asks.c.batch == batch, IS_CLAIMED)).rowcount


_ENDED = IS_CLAIMED & asks.c.batch.in_(select(batches.c.number).where(batches.c.state.in_(OVER)))


def claims_of_ended(tx: Connection) -> list[str]:
    """Return a line where there are claims of batches that are over."""
    count = tx.execute(select(func.count()).select_from(asks).where(_ENDED)).scalar()
    return [f"{count} items are claimed by batches that are over"] if count else []


def close_claims_of_ended(tx: Connection) -> None:
    """Let rows go that batches claim which are over."""
    tx.execute(delete(asks).where(_ENDED))


def claimed_among(tx: Connection, task: str, ids: Sequence[str]) -> set[str]:
    """Return which of these items are claimed."""
    return {row[0] for row in among(tx, claimed_ids(task), asks.c.item_id, ids)}


def is_version_used(tx: Connection, task: str, label: str) -> bool:
    """Return whether any row was asked under a version, by whatever model, and is claimed, answered or parked."""
    mine = or_(asks.c.extractor == label, asks.c.extractor.startswith(f"{label}/", autoescape=True))
    return (
        tx.execute(select(asks.c.item_id).where(asks.c.task == task, mine).limit(1)).first()
        is not None
    )


def is_any_open(tx: Connection, task: str) -> bool:
    """Return whether any item of a task is claimed."""
    return tx.execute(claimed_ids(task).limit(1)).first() is not None


def claimed_ids(task: str) -> Select[Any]:
    """Return the SELECT of the ids that are claimed."""
    return select(asks.c.item_id).where(asks.c.task == task, IS_CLAIMED)


def highest_id(tx: Connection, task: str) -> int:
    """Return the highest number among the ids ever asked about or parked; 0 where there is none, or ids are text."""
    every = (
        select(func.max(_number(tx, one.c.item_id))).where(one.c.task == task)
        for one in (asks, attempts)
    )
    return max(tx.execute(query).scalar() or 0 for query in every)


def _number(tx: Connection, item_id: ColumnElement[str]) -> ColumnElement[Any]:
    """Return an id as a number; what is none is 0 for SQLite and NULL for PostgreSQL, which refuses to cast it."""
    if tx.dialect.name == "sqlite":
        return cast(item_id, Integer)
    return case((item_id.regexp_match("^[0-9]{1,18}$"), cast(item_id, BigInteger)))


# What is parked


def _is_parked(own: str) -> ColumnElement[bool]:
    """Return the condition that an ask keeps its row from being asked: parked, under every version or `own` label."""
    if not own:
        return _IS_PARKED
    return and_(
        _IS_PARKED,
        or_(asks.c.extractor == EVERY, asks.c.extractor.startswith(f"{own}/", autoescape=True)),
    )


def parked(task: str, own: str = "") -> Select[Any]:
    """Return the SELECT of the ids that are parked: under the label `own`, or where it is empty under any version."""
    return select(asks.c.item_id).where(asks.c.task == task, _is_parked(own))


def park_unasked(tx: Connection, task: str, reasons: Mapping[str, str], *, at: datetime) -> None:
    """Stop asking these items under every version, and keep why; what is parked so keeps its first reason."""
    there = select(asks.c.item_id).where(asks.c.task == task, asks.c.extractor == EVERY)
    known = {row[0] for row in among(tx, there, asks.c.item_id, list(reasons))}
    told = {RowClaim(one, ""): why for one, why in reasons.items() if one not in known}
    add_ended(tx, task, EVERY, ClaimOutcomes((), told, ()), at=at)


def unpark(
    tx: Connection, task: str, *, own: str = "", ids: Sequence[str] | None = None
) -> list[str]:
    """Let parked items go and forgive their attempts, all without `ids`, and return their ids; see `unparkable`."""
    free = unparkable(tx, task, own=own, ids=ids)
    change_among(
        tx,
        update(attempts).where(attempts.c.task == task).values(forgiven=True),
        attempts.c.item_id,
        free,
    )
    change_among(tx, delete(asks).where(asks.c.task == task, _may_go(own)), asks.c.item_id, free)
    return free


def unparkable(
    tx: Connection, task: str, *, own: str = "", ids: Sequence[str] | None = None
) -> list[str]:
    """Return the ids of parked items, all without `ids`, but of what is parked under every version."""
    query = (
        select(asks.c.item_id)
        .where(asks.c.task == task, _may_go(own))
        .distinct()
        .order_by(asks.c.item_id)
    )
    found: Iterable[Any] = (
        tx.execute(query) if ids is None else among(tx, query, asks.c.item_id, ids)
    )
    return [row[0] for row in found]


def _may_go(own: str) -> ColumnElement[bool]:
    return and_(_is_parked(own), asks.c.extractor != EVERY)


def reopen(tx: Connection, task: str, ids: Sequence[str]) -> None:
    """Take away what says that some items were answered."""
    change_among(
        tx, delete(asks).where(asks.c.task == task, asks.c.state == ANSWERED), asks.c.item_id, ids
    )


def parked_rows(tx: Connection, task: str, *, own: str = "") -> list[tuple[str, str, datetime]]:
    """Return (item id, reason, since) of every parked item, oldest first."""
    query = select(asks.c.item_id, asks.c.reason, asks.c.at).where(
        asks.c.task == task, _is_parked(own)
    )
    # In the order of the primary key, or SQLite takes the index of input hashes, by which it reads the table at random.
    rows = [(row[0], row[1], row[2]) for row in tx.execute(query.order_by(asks.c.item_id))]
    rows.sort(key=lambda row: (row[2], row[0]))
    return list({row[0]: row for row in reversed(rows)}.values())[
        ::-1
    ]  # of several versions the first


def parked_reason(tx: Connection, task: str, item_id: str, *, own: str = "") -> str | None:
    """Return why an item is parked; None where it is not."""
    query = select(asks.c.reason).where(
        asks.c.task == task, asks.c.item_id == item_id, _is_parked(own)
    )
    return tx.execute(query.order_by(asks.c.extractor, asks.c.at).limit(1)).scalar()


# What is due again: open rows that were asked alone in vain, or noted as not asked yet; nothing of it is kept but
# attempts that are charged to nobody


class DueRetry(NamedTuple):
    """An item that is due again, or was: since when, why, and how often it was tried."""

    item_id: str
    since: datetime
    reason: str
    tries: int


def note_due(
    tx: Connection, task: str, extractor: str, item_id: str, *, reason: str, at: datetime
) -> None:
    """Keep that an item was not asked, and why, so that whoever comes next asks about it; charged with nothing."""
    row = {"task": task, "extractor": extractor, "item_id": item_id, "reason": reason, "at": at}
    tx.execute(
        insert(attempts).values(charged=False, forgiven=True, outcome=Outcome.MISSING, **row)
    )


def due_ids(tx: Connection, task: OpenRowSource) -> list[str]:
    """Return the items that are due, oldest first."""
    return askable_among(tx, task, [one.item_id for one in asked_in_vain(tx, task.name)])


def asked_in_vain(tx: Connection, task: str) -> Iterator[DueRetry]:
    """Yield what was asked alone in vain, or noted as due, each with its newest reason, oldest first."""
    alone = select(batches.c.number).where(
        batches.c.way.in_([Mode.LIVE, Mode.PRIORITY]), batches.c.run.is_(None)
    )
    mine = and_(attempts.c.task == task, ~attempts.c.charged, attempts.c.outcome == Outcome.MISSING)
    is_one = or_(attempts.c.batch.is_(None), attempts.c.batch.in_(alone))
    told = (attempts.c.item_id, attempts.c.at, attempts.c.reason, attempts.c.batch)
    found: dict[str, DueRetry] = {}
    for key, at, reason, batch in tx.execute(
        select(*told).where(mine, is_one).order_by(attempts.c.id)
    ):
        before = found.get(key, DueRetry(key, at, reason, 0))
        found[key] = before._replace(reason=reason, tries=before.tries + (batch is not None))
    yield from sorted(found.values(), key=lambda one: (one.since, one.item_id))
