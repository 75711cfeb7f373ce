"""Sum up what was spent and may yet be: batches, whoever answers them, and their duplicates; and what past ones used.

What is under way counts from the moment it is claimed, at its estimate; what ended unseen (a call without a reply, a
result that was never downloaded, a line that a batch which succeeded lacks) may have been paid for and stays at its
estimate.
"""

from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from pipeline.core.states import BatchState, Mode, RemoteState, remote_state
from pipeline.store.batches import BatchRow, all_duplicates, batches_in_states, get_batch
from pipeline.store.schema import attempts, batches

MEASURED = 20  # ours: the newest batches whose use is held against its estimate
TIMED_BATCHES = 50  # ours: the newest that are looked at
UNSEEN = (
    RemoteState.SUCCEEDED,
    RemoteState.WAITING,
)  # of a batch that was given up, whose result was never downloaded


class Spending(NamedTuple):
    """USD: what is known to be spent, what may have been spent, and what is under way (the last two are estimates)."""

    known: float = 0.0
    lost: float = 0.0
    under_way: float = 0.0


def sum_spent(tx: Connection, *, since: datetime | None = None, but: int | None = None) -> Spending:
    """Return what was sent since a moment, and all that is under way, without batch `but` and what waits behind it."""
    twins = (one for one in all_duplicates(tx) if since is None or one["found_at"] >= since)
    found = [Spending(), *(Spending(lost=one["estimated_cost"]) for one in twins)]
    for one in batches_in_states(tx, since=since):
        waits_behind = but is not None and one.state is BatchState.PREPARED and one.number > but
        if one.number != but and not waits_behind:
            found.append(batch_spent(one))
    return Spending(*map(sum, zip(*found, strict=True)))


def batch_spent(batch: BatchRow) -> Spending:
    """Return what one batch came to, or may yet, without its duplicates."""
    if batch.state is BatchState.INGESTED:
        is_unpriced = (
            batch.tokens_in == 0 and (batch.answered or 0) + (batch.invalid or 0) > 0
        )  # no reply said
        lost_requests = lost_calls(batch) + (0 if is_unpriced else _missing_lines(batch))
        unanswered = lost_requests * batch.estimated_cost / batch.requests
        return Spending(
            known=batch.cost or 0.0,
            lost=unanswered + (batch.estimated_cost if is_unpriced else 0.0),
        )
    if batch.state is BatchState.FAILED:
        is_unseen = batch.submitted_at is not None and remote_state(batch.remote_word) in UNSEEN
        return Spending(lost=batch.estimated_cost if is_unseen else 0.0)
    return Spending(under_way=batch.estimated_cost)


def lost_calls(batch: BatchRow) -> int:
    """Return how many of our own calls for a batch got no reply, and may have been paid for."""
    return 0 if batch.way is Mode.BATCH else max(0, batch.calls - batch.replies)


def _missing_lines(batch: BatchRow) -> int:
    """Return how many requests of a batch that succeeded got no line; they were worked on, so they may be paid."""
    has_succeeded = (
        batch.way is Mode.BATCH and remote_state(batch.remote_word) is RemoteState.SUCCEEDED
    )
    return (batch.missing or 0) if has_succeeded else 0


def measured(tx: Connection, extractor: str) -> list[tuple[BatchRow, int]]:
    """Return the newest batches of an extractor that miss no line, each with how many requests used tokens."""
    mine = (
        batches.c.extractor == extractor,
        batches.c.state == BatchState.INGESTED,
        batches.c.missing == 0,
    )
    newest = (
        select(batches.c.number)
        .where(*mine, batches.c.tokens_in > 0)
        .order_by(batches.c.number.desc())
    )
    query = (
        select(attempts.c.batch, func.count())
        .where(attempts.c.tokens_in == 0)
        .group_by(attempts.c.batch)
    )
    numbers = tx.execute(newest.limit(MEASURED)).scalars().all()
    silent = {row[0]: row[1] for row in tx.execute(query.where(attempts.c.batch.in_(numbers)))}
    found = ((get_batch(tx, number), silent.get(number, 0)) for number in numbers)
    return [(one, one.requests - none) for one, none in found if none < one.requests]


def batch_seconds(tx: Connection, model: str) -> list[float]:
    """Return how long the newest batches of a model took from submission to the result on disk, newest first."""
    mine = (batches.c.model == model, batches.c.way == Mode.BATCH)
    is_home = batches.c.state.in_([BatchState.DOWNLOADED, BatchState.INGESTED])
    query = select(batches.c.submitted_at, batches.c.over_at).where(*mine, is_home)
    newest = query.order_by(batches.c.number.desc()).limit(TIMED_BATCHES)
    return [max(0.0, (over - since).total_seconds()) for since, over in tx.execute(newest)]
