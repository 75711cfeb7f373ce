"""How long past batches and live calls of a model took in this workspace: what a look ahead learns times from."""

from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Text, cast, func, select

from pipeline.states import BatchState, CallEnd
from pipeline.store.tables import batches, calls, events

BATCHES = 50  # ours: the newest that are looked at
RUNS = 5  # ours: the newest live runs that are looked at
CALLS = 100  # ours: the newest single calls that are looked at where there was no run
ENOUGH = 20  # ours: requests of a batch, or calls of a run, from which on its pace tells something


class Took(NamedTuple):
    """How many requests a batch had, and the seconds from its submission to the result on disk."""

    requests: int
    seconds: float


def of_batches(tx: Connection, model: str) -> list[Took]:
    """Return how long the newest batches of a model took, newest first; none that were too small to tell."""
    named = (events.c.kind == "batch") & (events.c.name == cast(batches.c.number, Text))
    home = named & (events.c.new == BatchState.DOWNLOADED)
    query = select(batches.c.requests, batches.c.submitted_at, events.c.at).join_from(batches, events, home)
    mine = (batches.c.model == model) & batches.c.submitted_at.is_not(None) & (batches.c.requests >= ENOUGH)
    newest = query.where(mine).order_by(batches.c.number.desc()).limit(BATCHES)
    return [Took(requests, max(0.0, (at - since).total_seconds())) for requests, since, at in tx.execute(newest)]


def calls_a_second(tx: Connection, model: str) -> float | None:
    """Return how many live calls a second came back in the newest runs, waiting included; None where none tells.

    A call that was lost tells nothing: that of a run that was killed ends when the next command finds it.
    """
    told = (calls.c.model == model) & calls.c.run.is_not(None) & calls.c.ended_at.is_not(None)
    told &= calls.c.outcome.not_in((CallEnd.THROTTLED, CallEnd.UNSENT, CallEnd.LOST))
    sums = (func.count(), func.min(calls.c.asked_at), func.max(calls.c.ended_at))
    query = select(*sums).where(told).group_by(calls.c.run).having(func.count() >= ENOUGH)
    rows = tx.execute(query.order_by(calls.c.run.desc()).limit(RUNS)).all()
    seconds = sum(((last - first).total_seconds() for _, first, last in rows), 0.0)
    return sum(count for count, _, _ in rows) / seconds if seconds > 0 else None


def of_calls(tx: Connection, model: str) -> float | None:
    """Return the mean seconds of the newest answered calls of a model, None where there are none."""
    answered = (calls.c.model == model) & (calls.c.outcome == CallEnd.ANSWERED)
    query = select(calls.c.asked_at, calls.c.ended_at).where(answered).order_by(calls.c.id.desc()).limit(CALLS)
    took = [ended - asked for asked, ended in tx.execute(query)]
    return sum(took, timedelta()).total_seconds() / len(took) if took else None
