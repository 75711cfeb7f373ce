"""Mark live calls before they are made, keep how they ended and what a day's quota has left; keep runs of them.

A call is never made without its mark, so there are never more calls at the API than rows here. A mark whose process
died before the reply was kept is *lost*: it may have been answered and paid for, and is counted at its estimate.
The costs since a budget began are summed up as calls end. A run is one `tag-live` or `tag`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, true, update

from pipeline.core.states import CallEnd
from pipeline.store.answers import sum_usage
from pipeline.store.asks import this_owner
from pipeline.store.database import next_value, pages
from pipeline.store.locks import locks_of
from pipeline.store.tables import calls, runs, sums

FREE = frozenset({CallEnd.THROTTLED, CallEnd.UNSENT})  # these count towards no quota and cost nothing
SUMS = 8  # budgets for which sums are kept: that of the day and those of runs
COUNTS = calls.c.outcome.is_(None) | calls.c.outcome.not_in(FREE)
BACKFILL = "backfill"  # the mode of a run that asks about everything under one version, over days


class StartedCall(NamedTuple):
    """The number of a mark, when the call was marked, and how many prompt tokens it was estimated at."""

    number: int
    asked_at: datetime
    tokens: int


def begin_call(tx: Connection, *, model: str, estimated_in: int, day: str, at: datetime, **values: Any) -> int:
    """Mark a call of this process before it is made, and return the mark's number.

    Tokens are estimates, `counted_in` is before calibration, the cost is in USD.
    """
    mark = {**values, "model": model, "estimated_in": estimated_in, "owner": this_owner(tx), "asked_at": at, "day": day}
    number: int = tx.execute(insert(calls).values(mark).returning(calls.c.id)).scalar_one()
    return number


def end_call(
    tx: Connection,
    number: int,
    how: CallEnd,
    *,
    tokens: tuple[int, int] | None = None,
    cost: float | None = None,
    at: datetime,
) -> None:
    """Keep how a call ended and, where known, its (prompt, answer and thought) tokens and cost in USD.

    A call that has ended stays as it is.
    """
    here = (calls.c.id == number) & (calls.c.outcome.is_(None) | (calls.c.outcome == CallEnd.LOST))
    names = ("asked_at", "outcome", "cost", "estimated_cost")
    row = tx.execute(select(*(calls.c[name] for name in names)).where(here)).first()
    if row is None:
        return
    values = {"outcome": how, "ended_at": at, "cost": cost, "reply": None}
    if tokens is not None:
        values |= {"tokens_in": tokens[0], "tokens_out": tokens[1]}
    tx.execute(update(calls).where(calls.c.id == number).values(values))
    before = _came_to(row.outcome, row.cost, row.estimated_cost)
    after = _came_to(how, cost, row.estimated_cost)
    _spend(tx, row.asked_at, known=after[0] - before[0], lost=after[1] - before[1])


def keep_reply(tx: Connection, number: int, reply: Any, *, input_hash: str) -> None:
    """Keep the reply (a JSON document) of a call that has ended without a judgement, until it can be judged."""
    kept = json.dumps({"input_hash": input_hash, "reply": reply})
    tx.execute(update(calls).where(calls.c.id == number).values(reply=kept))


def kept_replies(tx: Connection, task: str, extractor: str, fingerprint: str | None) -> dict[str, int]:
    """Return the calls whose replies wait to be judged, by item, of those that asked with a declaration."""
    mine = (calls.c.task == task) & (calls.c.extractor == extractor) & (calls.c.fingerprint == fingerprint)
    found = tx.execute(select(calls.c.item_id, calls.c.id).where(mine, calls.c.reply.is_not(None)).order_by(calls.c.id))
    return {row.item_id: row.id for row in found}


def kept_reply(tx: Connection, number: int, *, input_hash: str) -> Any:
    """Return the reply that was kept of a call about this input; None where there is none any more."""
    kept = json.loads(tx.execute(select(calls.c.reply).where(calls.c.id == number)).scalar() or "{}")
    return kept.get("reply") if kept.get("input_hash") == input_hash else None


def end_dead_calls(tx: Connection, *, now: datetime) -> int:
    """Mark the calls of dead processes as lost; return how many."""
    dead = dead_calls(tx)
    for number in dead:
        end_call(tx, number, CallEnd.LOST, at=now)
    return len(dead)


def dead_calls(tx: Connection) -> list[int]:
    """Return the numbers of the marks that `end_dead_calls` would end."""
    query = select(calls.c.id, calls.c.owner).where(calls.c.outcome.is_(None)).order_by(calls.c.id)
    going = tx.execute(query).all()
    dead = {one for one in {row.owner for row in going} if locks_of(tx).is_free(one)}
    return [row.id for row in going if row.owner in dead]


def sum_calls(tx: Connection, *, since: datetime | None) -> tuple[float, float]:
    """Return the cost of the calls since a moment, in USD: (known, lost); none that is under way."""
    here: ColumnElement[bool] = true() if since is None else calls.c.asked_at >= since
    untold = calls.c.outcome.not_in(FREE) & calls.c.cost.is_(None)
    query = select(func.sum(calls.c.cost), func.sum(calls.c.estimated_cost).filter(untold)).where(here)
    known, lost = tx.execute(query).one()
    return known or 0.0, lost or 0.0


class CallSums(NamedTuple):
    """The live calls about one task's items to one model on one day (US/Pacific); money in USD.

    `lost` and `under_way` are estimates; no call that counts towards no quota is in `calls`.
    """

    task: str
    model: str
    day: str
    calls: int
    lost_calls: int
    tokens_in: int
    tokens_out: int
    known: float
    lost: float
    under_way: float


def lost_on_items(tx: Connection, task: str, ids: Sequence[str]) -> dict[str, float]:
    """Return what calls about some items may have cost that said nothing of it, in USD; only where there were any."""
    untold = calls.c.outcome.not_in(FREE) & calls.c.cost.is_(None) & (calls.c.task == task)
    query = select(calls.c.item_id, func.sum(calls.c.estimated_cost)).where(untold).group_by(calls.c.item_id)
    return {row[0]: row[1] for some in pages(ids) for row in tx.execute(query.where(calls.c.item_id.in_(some)))}


def sum_calls_by_day(tx: Connection) -> list[CallSums]:
    """Return what all live calls came to, by task, model and day."""
    untold, going = calls.c.outcome.not_in(FREE) & calls.c.cost.is_(None), calls.c.outcome.is_(None)
    sums = (
        func.count().filter(COUNTS),
        func.count().filter(untold),
        *(func.coalesce(func.sum(calls.c[name]), 0) for name in ("tokens_in", "tokens_out", "cost")),
        *(func.coalesce(func.sum(calls.c.estimated_cost).filter(one), 0) for one in (untold, going)),
    )
    group = (calls.c.task, calls.c.model, calls.c.day)
    rows = tx.execute(select(*group, *sums).group_by(*group).order_by(*group)).all()
    return [CallSums(*row[:3], *map(int, row[3:7]), *map(float, row[7:])) for row in rows]


def cached_sum_calls(tx: Connection, *, since: datetime, anew: bool) -> tuple[float, float]:
    """Return the same from a row that is kept from now on, `anew` from all calls; the caller writes."""
    row = tx.execute(select(sums.c.known, sums.c.lost).where(sums.c.since == since)).first()
    if row is not None and not anew:
        return row.known, row.lost
    known, lost = sum_calls(tx, since=since)
    kept = tx.execute(select(sums.c.since).where(sums.c.since != since).order_by(sums.c.since.desc())).scalars().all()
    for one in (since, *kept[SUMS - 1 :]):
        tx.execute(delete(sums).where(sums.c.since == one))
    tx.execute(insert(sums).values(since=since, known=known, lost=lost))
    return known, lost


def calls_of_day(tx: Connection, model: str, *, day: str) -> int:
    """Return how many requests of a day's quota were used live, by all processes."""
    return tx.execute(select(func.count()).where(calls.c.model == model, calls.c.day == day, COUNTS)).scalar_one()


def calls_since(tx: Connection, model: str, *, since: datetime) -> list[StartedCall]:
    """Return the calls to a model that were marked since a moment, oldest first; none that counts towards no quota."""
    columns = (calls.c.id, calls.c.asked_at, calls.c.estimated_in)
    query = select(*columns).where(calls.c.asked_at >= since, calls.c.model == model, COUNTS).order_by(calls.c.id)
    return [StartedCall._make(row) for row in tx.execute(query)]


def open_calls(tx: Connection, task: str, *, run: int | None) -> list[tuple[int, str]]:
    """Return (mark, item id) of the calls of a run, or of none, that this process has not ended."""
    ours = (calls.c.task == task) & (calls.c.owner == this_owner(tx)) & calls.c.outcome.is_(None)
    ours &= calls.c.run.is_(None) if run is None else calls.c.run == run
    return [(row[0], row[1]) for row in tx.execute(select(calls.c.id, calls.c.item_id).where(ours))]


def _came_to(outcome: str | None, cost: float | None, estimated: float) -> tuple[float, float]:
    """Return the cost of a call in USD: (known, lost)."""
    is_lost = outcome is not None and outcome not in FREE and cost is None
    return cost or 0.0, estimated if is_lost else 0.0


def _spend(tx: Connection, asked_at: datetime, *, known: float, lost: float) -> None:
    """Add to the sums since each moment that a call was marked after; the caller is the only writer."""
    if known or lost:
        more = {"known": sums.c.known + known, "lost": sums.c.lost + lost}
        tx.execute(update(sums).where(sums.c.since <= asked_at).values(more))


@dataclass(frozen=True)
class Run:
    """One run as its row stands; tokens and cost (USD) of what it set out to ask are estimates."""

    number: int
    task: str
    extractor: str
    model: str
    mode: str
    started_at: datetime
    ended_at: datetime | None
    items: int
    estimated_in: int
    estimated_out: int
    estimated_cost: float
    priced_on: str
    budget: float | None
    why: str | None
    skips: str | None

    @property
    def skipped(self) -> tuple[str, ...] | None:
        """Return the labels whose answers keep an item from being asked in it; None: those of any version."""
        return None if self.skips is None else tuple(json.loads(self.skips))


def begin_run(tx: Connection, *, at: datetime, **values: Any) -> int:
    """Add a run and return its number."""
    number = next_value(tx, runs.c.number)
    tx.execute(insert(runs).values(number=number, started_at=at, **values))
    return number


def set_budget(tx: Connection, number: int, usd: float) -> None:
    """Replace the budget of a run, in USD."""
    tx.execute(update(runs).where(runs.c.number == number).values(budget=usd))


def end_run(tx: Connection, number: int, *, why: str, at: datetime) -> None:
    """Keep that a run is over, and why; one that is over stays as it is."""
    tx.execute(update(runs).where(runs.c.number == number, runs.c.ended_at.is_(None)).values(ended_at=at, why=why))


def latest_runs(
    tx: Connection, task: str, *, mode: str, limit: int | None = None, unfinished: bool = False
) -> list[Run]:
    """Return the newest runs of a task in a mode, newest first; `unfinished` ones have no end yet."""
    query = select(runs).where(runs.c.task == task, runs.c.mode == mode).order_by(runs.c.number.desc()).limit(limit)
    if unfinished:
        query = query.where(runs.c.ended_at.is_(None))
    return [Run(**row) for row in tx.execute(query).mappings()]


def unfinished_run(tx: Connection, task: str, *, mode: str) -> Run | None:
    """Return the newest run of a task in a mode that has no end, if there is one."""
    return next(iter(latest_runs(tx, task, mode=mode, limit=1, unfinished=True)), None)


def is_run_alive(tx: Connection, number: int) -> bool | None:
    """Return whether the process that made a run's newest call goes on; None where it made none."""
    newest = select(calls.c.owner).where(calls.c.run == number).order_by(calls.c.id.desc()).limit(1)
    owner = tx.execute(newest).scalar()
    return None if owner is None else not locks_of(tx).is_free(owner)


def actual_of_run(tx: Connection, number: int) -> tuple[int, int, float] | None:
    """Return the (tokens in, tokens out, cost in USD) of a run's live calls; None where it made none."""
    made = tx.execute(select(func.count()).where(calls.c.run == number)).scalar_one()
    return sum_usage(tx, calls, calls.c.run == number) if made else None
