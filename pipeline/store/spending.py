"""Sum up what was spent and may yet be: batches, their duplicates, and live calls.

What is under way counts from the moment it is claimed or marked, at its estimate; what ended unseen (a lost reply, a
result that was never downloaded) may have been paid for and stays at its estimate.
"""

from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, select, true

from pipeline.core.states import OPEN, BatchState, RemoteState, remote_state
from pipeline.store import live_calls
from pipeline.store.batches import Batch
from pipeline.store.tables import batches, twins
from pipeline.store.tables import calls as marks

UNSEEN = (RemoteState.SUCCEEDED, RemoteState.WAITING)  # of a batch that was given up, whose result was never downloaded


class Spent(NamedTuple):
    """USD: what is known to be spent, what may have been spent, and what is under way (the last two are estimates)."""

    known: float = 0.0
    lost: float = 0.0
    under_way: float = 0.0


def sum_spent(
    tx: Connection,
    *,
    since: datetime | None = None,
    but: int | None = None,
    live: tuple[float, float] | None = None,
) -> Spent:
    """Return what was sent since a moment and is over, and all that is under way.

    Batch `but` is left out, and so are those that wait to be sent after it: else two could keep each other waiting.
    `live` is (known, lost) of the live calls since then, where the caller has it.
    """
    known, lost = live or live_calls.sum_calls(tx, since=since)
    ingested = (batches.c.state == BatchState.INGESTED) & _sent(since)
    known += _sum(tx, select(func.sum(batches.c.cost)).where(ingested))
    twin = select(func.sum(twins.c.estimated_cost))
    lost += _sum(tx, twin if since is None else twin.where(twins.c.found_at >= since))
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
    under_way = _sum(tx, going)
    under_way += _sum(tx, select(func.sum(marks.c.estimated_cost)).where(marks.c.outcome.is_(None)))
    return Spent(known, lost, under_way)


def batch_spent(batch: Batch) -> Spent:
    """Return what one batch came to, or may yet, without its duplicates; nothing as long as it was not sent."""
    if batch.state is BatchState.INGESTED:
        is_unpriced = batch.tokens_in == 0 and (batch.answered or 0) + (batch.invalid or 0) > 0
        return Spent(known=batch.cost or 0.0, lost=batch.estimated_cost if is_unpriced else 0.0)
    if batch.state is BatchState.FAILED:
        is_unseen = batch.submitted_at is not None and remote_state(batch.remote_word) in UNSEEN
        return Spent(lost=batch.estimated_cost if is_unseen else 0.0)
    return Spent(under_way=0.0 if batch.state is BatchState.PREPARED else batch.estimated_cost)


def duplicates(tx: Connection) -> list[tuple[int, datetime, float]]:
    """Return of each duplicate of a batch its number, when it was found, and what it may have cost (USD)."""
    query = select(twins.c.batch, twins.c.found_at, twins.c.estimated_cost).order_by(twins.c.found_at)
    return [(row[0], row[1], row[2]) for row in tx.execute(query)]


def _sent(since: datetime | None) -> ColumnElement[bool]:
    return true() if since is None else batches.c.create_sent_at >= since


def _sum(tx: Connection, query: Select[Any]) -> float:
    found: float | None = tx.execute(query).scalar()
    return found or 0.0
