"""Keep what a `tag` or a backfill set out to do, until nothing is left of it: its budget counts from its beginning."""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from pipeline.store.database import next_value
from pipeline.store.tables import runs

TAG = "tag"  # the mode of a run whose budget holds until it is over
BACKFILL = "backfill"  # of one that asks about everything under one version, over days


@dataclass(frozen=True)
class Run:
    """One run as its row stands; money in USD, the cost of what it set out to ask is an estimate."""

    number: int
    task: str
    extractor: str
    mode: str
    started_at: datetime
    ended_at: datetime | None
    items: int
    estimated_cost: float
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


def list_runs(tx: Connection, task: str, *, mode: str) -> list[Run]:
    """Return the runs of a task in a mode, newest first."""
    query = select(runs).where(runs.c.task == task, runs.c.mode == mode).order_by(runs.c.number.desc())
    return [Run(**row) for row in tx.execute(query).mappings()]


def unfinished_run(tx: Connection, task: str, *, mode: str) -> Run | None:
    """Return the newest run of a task in a mode that has no end, if there is one."""
    return next((one for one in list_runs(tx, task, mode=mode) if one.ended_at is None), None)
