"""Rows of `findable_runs`: what one `tag-live` or `tag` set out to do, what it was estimated at, and how it ended."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from pipeline.store.tables import calls, runs

BACKFILL = "backfill"  # the mode of a run that asks about everything under one version, over days


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


@dataclass(frozen=True)
class Actual:
    """What the live calls of a run came to: how many were made, their tokens, and their cost in USD."""

    calls: int
    tokens_in: int
    tokens_out: int
    cost: float


def begin(tx: Connection, *, at: datetime, **values: Any) -> int:
    """Add a run and return its number."""
    newest: int | None = tx.execute(select(func.max(runs.c.number))).scalar()
    number = (newest or 0) + 1
    tx.execute(insert(runs).values(number=number, started_at=at, **values))
    return number


def set_budget(tx: Connection, number: int, usd: float) -> None:
    """Keep another budget of a run, in USD, that a person gave it since."""
    tx.execute(update(runs).where(runs.c.number == number).values(budget=usd))


def end(tx: Connection, number: int, *, why: str, at: datetime) -> None:
    """Keep that a run is over, and why; one that is over stays as it is."""
    tx.execute(update(runs).where(runs.c.number == number, runs.c.ended_at.is_(None)).values(ended_at=at, why=why))


def of_mode(tx: Connection, task: str, *, mode: str) -> list[Run]:
    """Return every run of a mode, oldest first."""
    query = select(runs).where(runs.c.task == task, runs.c.mode == mode).order_by(runs.c.number)
    return [Run(**row) for row in tx.execute(query).mappings()]


def unfinished(tx: Connection, task: str, *, mode: str) -> Run | None:
    """Return the newest run of a task in a mode that has no end, if there is one."""
    query = select(runs).where(runs.c.task == task, runs.c.mode == mode, runs.c.ended_at.is_(None))
    row = tx.execute(query.order_by(runs.c.number.desc()).limit(1)).mappings().first()
    return Run(**row) if row else None


def latest(tx: Connection, task: str, *, mode: str, limit: int) -> list[Run]:
    """Return the newest runs of a task in a mode, newest first."""
    query = select(runs).where(runs.c.task == task, runs.c.mode == mode).order_by(runs.c.number.desc()).limit(limit)
    return [Run(**row) for row in tx.execute(query).mappings()]


def actual(tx: Connection, number: int) -> Actual:
    """Return what the live calls of a run came to."""
    sums = (func.count(), func.sum(calls.c.tokens_in), func.sum(calls.c.tokens_out), func.sum(calls.c.cost))
    made, tokens_in, tokens_out, cost = tx.execute(select(*sums).where(calls.c.run == number)).one()
    return Actual(made, int(tokens_in or 0), int(tokens_out or 0), cost or 0.0)
