"""Read and move batches; only this module writes a batch's state, and only through `_move`.

A batch's account is written in the transaction that ends it.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, func, insert, or_, select, true, update

from pipeline.core.command_hint import CommandHint
from pipeline.core.errors import InconsistentError, InputError, StateConflictError
from pipeline.core.files import SealedFile
from pipeline.core.states import BATCH_MOVES, OPEN, BatchState, Mode
from pipeline.store import workspace
from pipeline.store.database import next_value
from pipeline.store.schema import BatchRow, batches, creates

__all__ = ["BatchRow"]

TIMED = 10  # ours: the newest batches of our own calls whose time is looked at
_DUPLICATE = "duplicate"
_IS_DUPLICATE = creates.c.outcome == _DUPLICATE
_TRY = re.compile(r"-t(\d{1,9})\Z")


def batches_in_states(
    tx: Connection,
    *states: BatchState,
    task: str | None = None,
    own: bool = False,
    since: datetime | None = None,
) -> list[BatchRow]:
    """Return the batches, oldest first: in these states, of a task, of our `own` calls, sent `since` or not over."""
    wanted: list[ColumnElement[bool]] = []
    if own:
        wanted.append(batches.c.way != Mode.BATCH)
    if task is not None:
        wanted.append(batches.c.task == task)
    if states:
        wanted.append(batches.c.state.in_(states))
    if since is not None:
        wanted.append(or_(batches.c.create_sent_at >= since, batches.c.state.in_(OPEN)))
    query = select(batches).where(*wanted).order_by(batches.c.number)
    return [_batch(row) for row in tx.execute(query).mappings()]


def unknown_states(tx: Connection) -> list[str]:
    """Return a line for each batch whose state is no word of ours."""
    query = select(batches.c.number, batches.c.state).where(
        batches.c.state.not_in(list(BatchState))
    )
    return [
        f"batch {number} is in a state that does not exist: {word!r}"
        for number, word in tx.execute(query)
    ]


_SUMMED = (
    *(
        "requests",
        "request_size",
        "estimated_in",
        "estimated_out",
        "estimated_cost",
        "counted_in",
        "calls",
        "seconds",
    ),
    *(
        "answered",
        "refused",
        "invalid",
        "missing",
        "not_applied",
        "unknown",
        "duplicates",
        "unreadable",
    ),
    *("tokens_in", "tokens_out", "cost"),
)


def by_run(some: Iterable[BatchRow]) -> list[BatchRow]:
    """Return batches as people count them: a run of our own calls as one, under its first number; trials left out."""
    found: dict[int, BatchRow] = {}
    for one in (one for one in some if one.way is not Mode.TRIAL):
        key = one.run or one.number
        found[key] = one if key not in found else _together(found[key], one)
    return list(found.values())


def _together(run: BatchRow, more: BatchRow) -> BatchRow:
    sums: dict[str, Any] = {}
    for name in _SUMMED:
        both = [one for one in (getattr(run, name), getattr(more, name)) if one is not None]
        sums[name] = sum(both) if both else None
    going = next((one for one in (more, run) if not one.is_over), more)
    return replace(run, state=going.state, ended_at=going.ended_at, remote_done=None, **sums)


def get_batch(tx: Connection, number: int) -> BatchRow:
    """Return one batch; that there is none is an error of the input."""
    row = tx.execute(select(batches).where(batches.c.number == number)).mappings().first()
    if row is None:
        raise InputError(
            f"there is no batch {number}", hint=f"`{CommandHint('batches')}` lists them"
        )
    return _batch(row)


def next_number(tx: Connection) -> int:
    """Return the number that the next batch gets; where the caller writes, no other process gets it."""
    return next_value(tx, batches.c.number)


def add_batch(tx: Connection, *, way: Mode, at: datetime, **values: Any) -> None:
    """Add a batch in the transaction that claims its items: *prepared*, or where our own calls ask it, *asking*."""
    new = BatchState.PREPARED if way is Mode.BATCH else BatchState.ASKING
    sent = {} if way is Mode.BATCH else {"create_sent_at": at, "submitted_at": at}
    tx.execute(insert(batches).values(way=way, state=new, created_at=at, **sent, **values))
    workspace.record_event(
        tx, "batch", values["number"], old=None, new=new, why="sealed and claimed", at=at
    )


def note(tx: Connection, number: int, **facts: Any) -> None:
    """Keep what became known of a batch, by the names of its columns; its state stays."""
    tx.execute(update(batches).where(batches.c.number == number).values(**facts))


def calls_of_day(tx: Connection, model: str, *, day: str) -> int:
    """Return how many requests of a day's quota our own calls used, of all processes."""
    query = select(func.sum(batches.c.calls)).where(batches.c.model == model, batches.c.day == day)
    return int(tx.execute(query).scalar() or 0)


class PastCalls(NamedTuple):
    """The calls of one batch: between which moments they were made, how many, and their prompt tokens each."""

    began: datetime
    ended: datetime | None
    calls: int
    tokens: int


def calls_since(
    tx: Connection, model: str, *, since: datetime, but: Collection[int] = ()
) -> list[PastCalls]:
    """Return our own calls to a model of the batches that ended after a moment, or go on, but for some batches'."""
    recent = or_(batches.c.over_at.is_(None), batches.c.over_at >= since)
    mine = (
        batches.c.model == model,
        batches.c.calls > 0,
        batches.c.number.not_in(list(but)),
        recent,
    )
    names = ("submitted_at", "over_at", "calls", "estimated_in", "requests")
    rows = tx.execute(select(*(batches.c[name] for name in names)).where(*mine)).all()
    return [PastCalls(row[0], row[1], row[2], row[3] // max(1, row[4])) for row in rows]


def call_seconds(tx: Connection, model: str, way: Mode) -> float | None:
    """Return the mean seconds of our newest calls to a model that were answered, of a way; None without any."""
    told = (batches.c.seconds, batches.c.answered)
    alike = [Mode.FLEX] if way is Mode.FLEX else [one for one in Mode if one is not Mode.FLEX]
    mine = (
        batches.c.model == model,
        batches.c.way.in_(alike),
        batches.c.seconds > 0,
        batches.c.answered > 0,
    )
    rows = tx.execute(
        select(*told).where(*mine).order_by(batches.c.number.desc()).limit(TIMED)
    ).all()
    return sum(row[0] for row in rows) / sum(row[1] for row in rows) if rows else None


def mark_submitting(tx: Connection, batch: BatchRow, *, display_name: str, at: datetime) -> None:
    """Commit the intent to create, before the call: `prepared` (or a try that left nothing) -> `submitting`."""
    facts = {"tries": batch.tries + 1, "create_sent_at": at, "create_ended_at": None}
    _move(tx, batch, BatchState.SUBMITTING, facts, why=f"create, try {batch.tries + 1}", at=at)
    row = {
        "batch": batch.number,
        "try": batch.tries + 1,
        "display_name": display_name,
        "sent_at": at,
    }
    tx.execute(insert(creates).values(outcome="sent", **row))


def mark_submitted(
    tx: Connection, batch: BatchRow, *, remote_name: str, display_name: str, how: str, at: datetime
) -> None:
    """Keep the name the API gave, in the UPDATE that moves the state: `submitting` -> `submitted`."""
    number = int(found[1]) if (found := _TRY.search(display_name)) else batch.tries
    facts = {
        "remote_name": remote_name,
        "submitted_at": at,
        "create_ended_at": batch.create_ended_at or at,
    }
    facts["tries"] = max(batch.tries, number)
    _move(tx, batch, BatchState.SUBMITTED, facts, why=f"{how} {remote_name}", at=at)
    here = (creates.c.display_name == display_name) & ~_IS_DUPLICATE
    known = tx.execute(update(creates).where(here).values(outcome=how))
    if not known.rowcount:  # sent after the backup was made that this database came from
        row = {"batch": batch.number, "try": number, "display_name": display_name, "sent_at": at}
        tx.execute(
            insert(creates).values(outcome=how, note="sent after the backup was made", **row)
        )


def mark_refused(
    tx: Connection, batch: BatchRow, *, why: str, outcome: str, at: datetime, **facts: Any
) -> None:
    """Go back after a clear refusal, with what else is to be kept of it: `submitting` -> `prepared`."""
    _move(
        tx,
        batch,
        BatchState.PREPARED,
        {"create_ended_at": at, "reason": why, **facts},
        why=why,
        at=at,
    )
    _end_try(tx, batch, outcome=outcome, note=why)


def name_of_try(batch: BatchRow, number: int, *, workspace_id: str) -> str:
    """Return the display name of one try of a batch: workspace, task, number, file, try."""
    return (
        f"findable-{workspace_id}-{batch.task}-{batch.number}-{batch.request_sha256[:16]}-t{number}"
    )


def name_prefix(display_name: str) -> str:
    """Return what the display names of all tries of one request file have in common: all but the try."""
    return _TRY.sub("", display_name)


def mark_doubtful(tx: Connection, batch: BatchRow, *, workspace_id: str, at: datetime) -> None:
    """Mark the create of a batch from a backup, *prepared* or *submitting*, as unclear: it may have been sent since."""
    if batch.state is BatchState.PREPARED:
        name = name_of_try(batch, batch.tries + 1, workspace_id=workspace_id)
        mark_submitting(tx, batch, display_name=name, at=at)
    note(
        tx,
        batch.number,
        create_ended_at=at,
        reason="restored from a backup: it may have been sent since",
    )


def note_unclear(tx: Connection, batch: BatchRow, *, why: str, at: datetime) -> None:
    """Keep when a create call ended without a clear answer, unless another process has gone on with the batch."""
    tx.execute(update(batches).where(_unmoved(batch)).values(create_ended_at=at, reason=why))
    _end_try(tx, batch, outcome="unclear", note=why)


def note_absent(tx: Connection, batch: BatchRow) -> None:
    """Keep that the whole list, read late enough, held nothing of the last try."""
    _end_try(tx, batch, outcome="absent", note="the list holds nothing of it")


def mark_absent(tx: Connection, batch: BatchRow, *, at: datetime) -> None:
    """Go back after the whole list, read late enough, held nothing of any try: `submitting` -> `prepared`."""
    _move(tx, batch, BatchState.PREPARED, {}, why="the list holds nothing of it", at=at)
    note_absent(tx, batch)


def note_submitted(tx: Connection, batch: BatchRow, **facts: Any) -> bool:
    """Keep what became known of a batch at the API; false, and nothing, where another process brought it home."""
    here = (batches.c.number == batch.number, batches.c.state == BatchState.SUBMITTED)
    return tx.execute(update(batches).where(*here).values(**facts)).rowcount == 1


def note_cancel(tx: Connection, batch: BatchRow, *, why: str, at: datetime) -> None:
    """Keep that the API is asked to cancel, or refuse; what it makes of it shows in later looks."""
    if not note_submitted(tx, batch, cancel_asked_at=at, reason=why):
        raise _conflict(tx, batch, wanted=batch.state)
    workspace.record_event(
        tx, "batch", batch.number, old=batch.state, new=batch.state, why=why, at=at
    )


def unnote_cancel(tx: Connection, batch: BatchRow, *, why: str, at: datetime) -> None:
    """Undo `note_cancel`, where the API could not be asked."""
    note_submitted(tx, batch, cancel_asked_at=batch.cancel_asked_at, reason=batch.reason)
    workspace.record_event(
        tx, "batch", batch.number, old=batch.state, new=batch.state, why=why, at=at
    )


def mark_downloaded(
    tx: Connection,
    batch: BatchRow,
    path: Path,
    draft: SealedFile,
    *,
    why: str,
    at: datetime,
    **facts: Any,
) -> None:
    """Keep the sealed result of a path, in the UPDATE that moves the state: `submitted` or `asking` -> `downloaded`."""
    place = f"{path.parent.name}/{path.name}"  # in the workspace's directory
    result = {"result_file": place, "result_sha256": draft.sha256, "result_size": draft.size}
    _move(tx, batch, BatchState.DOWNLOADED, {"over_at": at, **result, **facts}, why=why, at=at)


def mark_failed(tx: Connection, batch: BatchRow, *, why: str, at: datetime) -> None:
    """End a batch that has no result; the caller releases its items in the same transaction."""
    _move(
        tx, batch, BatchState.FAILED, {"reason": why, "over_at": at, "ended_at": at}, why=why, at=at
    )


def mark_ingested(tx: Connection, batch: BatchRow, *, at: datetime, **account: Any) -> None:
    """End a batch whose every request is accounted for, and keep the account."""
    _move(tx, batch, BatchState.INGESTED, {"ended_at": at, **account}, why="accounted for", at=at)


def numbers_by_prefix(tx: Connection, number: int | None = None) -> dict[str, int]:
    """Return the batch that each name prefix of a try is of, by which a remote batch is known; or those of one."""
    mine = true() if number is None else creates.c.batch == number
    found = tx.execute(select(creates.c.display_name, creates.c.batch).where(~_IS_DUPLICATE, mine))
    return {name_prefix(name): number for name, number in found}


def add_duplicate(
    tx: Connection, batch: BatchRow, *, remote_name: str, display_name: str, at: datetime
) -> bool:
    """Record a second remote batch of ours and what it may cost; false when it is known already."""
    if tx.execute(select(creates.c.id).where(creates.c.remote_name == remote_name)).first():
        return False
    row = {
        "remote_name": remote_name,
        "batch": batch.number,
        "display_name": display_name,
        "found_at": at,
    }
    tx.execute(
        insert(creates).values(outcome=_DUPLICATE, estimated_cost=batch.estimated_cost, **row)
    )
    why = f"twin {remote_name}"
    workspace.record_event(
        tx, "batch", batch.number, old=batch.state, new=batch.state, why=why, at=at
    )
    return True


def open_duplicates(tx: Connection, number: int) -> list[str]:
    """Return the remote names of a batch's duplicates that were not cancelled yet."""
    found = (
        one for one in all_duplicates(tx) if one["batch"] == number and one["cancelled_at"] is None
    )
    return [one["remote_name"] for one in found]


def duplicate_cancelled(tx: Connection, remote_name: str, *, at: datetime) -> None:
    """Keep that a duplicate was cancelled, or was found to be over."""
    tx.execute(update(creates).where(creates.c.remote_name == remote_name).values(cancelled_at=at))


def all_duplicates(tx: Connection) -> list[dict[str, Any]]:
    """Return every duplicate ever found, for status and for the account of costs."""
    names = ("remote_name", "batch", "display_name", "estimated_cost", "found_at", "cancelled_at")
    query = (
        select(*(creates.c[name] for name in names))
        .where(_IS_DUPLICATE)
        .order_by(creates.c.found_at)
    )
    return [dict(row) for row in tx.execute(query).mappings()]


def _batch(row: Any) -> BatchRow:
    if row["state"] not in set(BatchState):
        raise InconsistentError(
            f"batch {row['number']} is in a state that does not exist: {row['state']!r}",
            hint=f"run `{CommandHint('doctor')}`",
        )
    return BatchRow(**{**row, "state": BatchState(row["state"]), "way": Mode(row["way"])})


def _end_try(tx: Connection, batch: BatchRow, *, outcome: str, note: str) -> None:
    last = (creates.c.batch == batch.number) & (creates.c["try"] == batch.tries)
    tx.execute(update(creates).where(last).values(outcome=outcome, note=note))


def _move(
    tx: Connection,
    batch: BatchRow,
    new: BatchState,
    facts: dict[str, Any],
    *,
    why: str,
    at: datetime,
) -> None:
    """Move one batch and write its `facts`, or raise. The WHERE clause is the lock: of two that read it, one wins."""
    if new not in BATCH_MOVES[batch.state]:
        raise ValueError(f"not a move: {batch.state} -> {new}")
    moved = tx.execute(update(batches).where(_unmoved(batch)).values(state=new, **facts))
    if moved.rowcount != 1:
        raise _conflict(tx, batch, wanted=new)
    workspace.record_event(tx, "batch", batch.number, old=batch.state, new=new, why=why, at=at)


def _unmoved(batch: BatchRow) -> ColumnElement[bool]:
    return (
        (batches.c.number == batch.number)
        & (batches.c.state == batch.state)
        & (batches.c.tries == batch.tries)
    )


def _conflict(tx: Connection, batch: BatchRow, *, wanted: BatchState) -> StateConflictError:
    found = tx.execute(select(batches.c.state).where(batches.c.number == batch.number)).scalar()
    return StateConflictError(
        "batch", batch.number, expected=batch.state, wanted=wanted, found=found
    )
