"""Sum up what was spent and may yet be: batches, whoever answers them, and their duplicates; and what past ones used.

What is under way counts from the moment it is claimed, at its estimate; what ended unseen (a call without a reply, a
result that was never downloaded) may have been paid for and stays at its estimate.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Text, case, cast, func, select, true

from pipeline.core.states import OPEN, BatchState, RemoteState, Way, remote_state
from pipeline.store.batches import IS_DUPLICATE, Batch
from pipeline.store.schema import attempts, batches, creates, events

NEWEST_BATCHES = 20  # ours: the newest batches that are looked at
TIMED_BATCHES = 50  # ours: the newest that are looked at
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


class PastUsage(NamedTuple):
    """Requests with replies: their number, tokens and cost (USD), estimated and actual."""

    requests: int
    counted_in: int  # prompt tokens as counted from the text, before calibration
    estimated_in: int
    estimated_out: int
    estimated_cost: float
    tokens_in: int
    tokens_out: int  # with thoughts
    cost: float


_WHOLE_BATCHES = (
    select(
        batches.c.number,
        *(batches.c[name] for name in PastUsage._fields),
    )
    .where(batches.c.state == BatchState.INGESTED, batches.c.missing == 0, batches.c.tokens_in > 0)
    .where(batches.c.counted_in.is_not(None))
    .order_by(batches.c.number.desc())
    .limit(NEWEST_BATCHES)
)


def estimate_error(past: Sequence[PastUsage]) -> float | None:
    """Return the mean relative error of estimates, weighted by their size; None where nothing was estimated.

    Of the cost, or of the tokens where nothing had a price.
    """
    of_cost = _mean_error([(one.estimated_cost, one.cost) for one in past])
    tokens = [(one.estimated_in + one.estimated_out, one.tokens_in + one.tokens_out) for one in past]
    return _mean_error(tokens) if of_cost is None else of_cost


def _mean_error(pairs: Sequence[tuple[float, float]]) -> float | None:
    whole = sum(estimated for estimated, _ in pairs)
    return sum(abs(actual - estimated) for estimated, actual in pairs) / whole if whole else None


def past_usage(tx: Connection, extractor: str) -> list[PastUsage]:
    """Return the usage of an extractor, the newest batch first; without batches that miss lines."""
    rows = tx.execute(_WHOLE_BATCHES.where(batches.c.extractor == extractor)).all()
    without = count_silent(tx, [row[0] for row in rows])
    past = [without_silent(PastUsage._make(row[1:]), silent=without.get(row[0], 0)) for row in rows]
    return [one for one in past if one is not None]


def count_silent(tx: Connection, numbers: Sequence[int]) -> dict[int, int]:
    """Return for some batches how many of their requests failed and used no tokens, where any did."""
    if not numbers:
        return {}
    mine = attempts.c.batch.in_(numbers) & (attempts.c.tokens_in == 0)
    query = select(attempts.c.batch, func.count()).where(mine).group_by(attempts.c.batch)
    return {row[0]: row[1] for row in tx.execute(query)}


def without_silent(batch: PastUsage, *, silent: int) -> PastUsage | None:
    """Return the usage of a batch without its `silent` requests, which failed and used no tokens; None if all did."""
    requests = batch.requests - silent
    if requests <= 0:
        return None
    share = requests / batch.requests
    return batch._replace(
        requests=requests,
        counted_in=round(batch.counted_in * share),
        estimated_in=round(batch.estimated_in * share),
        estimated_out=round(batch.estimated_out * share),
        estimated_cost=batch.estimated_cost * share,
    )


def batch_seconds(tx: Connection, model: str) -> list[float]:
    """Return how long the newest batches of a model took from submission to the result on disk, newest first."""
    named = (events.c.kind == "batch") & (events.c.name == cast(batches.c.number, Text))
    home = named & (events.c.new == BatchState.DOWNLOADED)
    query = select(batches.c.submitted_at, events.c.at).join_from(batches, events, home)
    sent = (batches.c.model == model) & batches.c.submitted_at.is_not(None) & (batches.c.way == Way.BATCH)
    newest = query.where(sent).order_by(batches.c.number.desc()).limit(TIMED_BATCHES)
    return [max(0.0, (at - since).total_seconds()) for since, at in tx.execute(newest)]
