"""Sum up what was spent and may yet be: batches, whoever answers them, and their duplicates.

What is under way counts from the moment it is claimed, at its estimate; what ended unseen (a call without a reply, a
result that was never downloaded) may have been paid for and stays at its estimate.
"""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, case, func, select, true

from pipeline.core.states import OPEN, BatchState, RemoteState, Way, remote_state
from pipeline.store.batches import IS_DUPLICATE, Batch
from pipeline.store.tables import batches, creates

UNSEEN = (RemoteState.SUCCEEDED, RemoteState.WAITING)  # of a batch that was given up, whose result was never downloaded


class Spent(NamedTuple):
    """USD: what is known to be spent, what may have been spent, and what is under way (the last two are estimates)."""

    known: float = 0.0
    lost: float = 0.0
    under_way: float = 0.0


def sum_spent(tx: Connection, *, since: datetime | None = None, but: int | None = None) -> Spent:
    """Return what was sent since a moment and is over, and all that is under way.

    Batch `but` is left out, and so are those that wait to be sent after it: else two could keep each other waiting.
    """
    ingested = (batches.c.state == BatchState.INGESTED) & _sent(since)
    known = _sum(tx, select(func.sum(batches.c.cost)).where(ingested))
    lost = _sum(tx, select(func.sum(_UNANSWERED)).where(ingested, batches.c.way != Way.BATCH))
    twin = select(func.sum(creates.c.estimated_cost)).where(IS_DUPLICATE)
    lost += _sum(tx, twin if since is None else twin.where(creates.c.found_at >= since))
    unpriced = (batches.c.tokens_in == 0) & (batches.c.answered + batches.c.invalid > 0)  # whose replies did not say
    estimated = select(func.sum(batches.c.estimated_cost))
    lost += _sum(tx, estimated.where(ingested, unpriced))
    failed = select(batches.c.remote_word, batches.c.estimated_cost).where(batches.c.submitted_at.is_not(None))
    for word, cost in tx.execute(failed.where(batches.c.state == BatchState.FAILED, _sent(since))):
        lost += cost if remote_state(word) in UNSEEN else 0.0
    going = estimated.where(batches.c.state.in_(OPEN))
    if but is not None:
        waits_behind = (batches.c.state == BatchState.PREPARED) & (batches.c.number > but)
        going = going.where(batches.c.number != but, ~waits_behind)
    return Spent(known, lost, _sum(tx, going))


_REPLIES = batches.c.answered + batches.c.refused + batches.c.invalid
_CALLS = case((batches.c.calls > _REPLIES, batches.c.calls - _REPLIES), else_=0)
_UNANSWERED = _CALLS * batches.c.estimated_cost / batches.c.requests  # of calls without a reply


def batch_spent(batch: Batch) -> Spent:
    """Return what one batch came to, or may yet, without its duplicates; nothing as long as it was not sent."""
    if batch.state is BatchState.INGESTED:
        is_unpriced = batch.tokens_in == 0 and (batch.answered or 0) + (batch.invalid or 0) > 0
        unanswered = lost_calls(batch) * batch.estimated_cost / batch.requests
        return Spent(known=batch.cost or 0.0, lost=unanswered + (batch.estimated_cost if is_unpriced else 0.0))
    if batch.state is BatchState.FAILED:
        is_unseen = batch.submitted_at is not None and remote_state(batch.remote_word) in UNSEEN
        return Spent(lost=batch.estimated_cost if is_unseen else 0.0)
    return Spent(under_way=0.0 if batch.state is BatchState.PREPARED else batch.estimated_cost)


def lost_calls(batch: Batch) -> int:
    """Return how many of our own calls for a batch got no reply, and may have been paid for."""
    return 0 if batch.way is Way.BATCH else max(0, batch.calls - batch.replies)


def duplicates(tx: Connection) -> list[tuple[int, datetime, float]]:
    """Return of each duplicate of a batch its number, when it was found, and what it may have cost (USD)."""
    query = select(creates.c.batch, creates.c.found_at, creates.c.estimated_cost).where(IS_DUPLICATE)
    query = query.order_by(creates.c.found_at)
    return [(row[0], row[1], row[2]) for row in tx.execute(query)]


def _sent(since: datetime | None) -> ColumnElement[bool]:
    return true() if since is None else batches.c.create_sent_at >= since


def _sum(tx: Connection, query: Select[Any]) -> float:
    found: float | None = tx.execute(query).scalar()
    return found or 0.0
