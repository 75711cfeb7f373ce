"""Keep what a `tag` or a backfill set out to do, and pilots: a few items, asked and judged before all of them are.

The budget of a run counts from its beginning, until nothing is left of it.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from pipeline.store.database import next_value
from pipeline.store.schema import PilotRow, PilotVerdict, TagRunRow, pilots, runs

__all__ = ["PilotRow", "PilotVerdict", "TagRunRow"]

TAG = "tag"  # the mode of a run whose budget holds until it is over
BACKFILL = "backfill"  # of one that asks about everything under one version, over days


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
    tx.execute(
        update(runs)
        .where(runs.c.number == number, runs.c.ended_at.is_(None))
        .values(ended_at=at, why=why)
    )


def list_runs(tx: Connection, task: str, *, mode: str) -> list[TagRunRow]:
    """Return the runs of a task in a mode, newest first."""
    query = (
        select(runs).where(runs.c.task == task, runs.c.mode == mode).order_by(runs.c.number.desc())
    )
    return [TagRunRow(**row) for row in tx.execute(query).mappings()]


def unfinished_run(tx: Connection, task: str, *, mode: str) -> TagRunRow | None:
    """Return the newest run of a task in a mode that has no end, if there is one."""
    return next((one for one in list_runs(tx, task, mode=mode) if one.ended_at is None), None)


def begin_pilot(
    tx: Connection, task: str, extractor: str, *, size: int, seed: int, at: datetime
) -> PilotRow:
    """Return the pilot of this size and seed that goes on; a new one where none does."""
    found = newest_pilot(tx, extractor)
    if found is not None and found.ended_at is None and (found.size, found.seed) == (size, seed):
        return found
    return _add(tx, task, extractor, size, seed, at)


def end_pilot(
    tx: Connection, number: int, verdict: PilotVerdict, *, report: str | None, at: datetime
) -> None:
    """Keep a pilot's verdict, and where its report is; one that is over stays as it is."""
    here = (pilots.c.number == number) & pilots.c.ended_at.is_(None)
    tx.execute(update(pilots).where(here).values(ended_at=at, verdict=verdict.value, report=report))


def waive_pilot(tx: Connection, task: str, extractor: str, *, at: datetime) -> None:
    """Keep that the pilot of this extractor is skipped."""
    _add(tx, task, extractor, 0, 0, at, at, PilotVerdict.WAIVED)


def fail_pilot(tx: Connection, task: str, extractor: str, *, report: str, at: datetime) -> None:
    """Keep that a later report on the answers of this extractor failed; a pilot that goes on judges for itself."""
    found = newest_pilot(tx, extractor)
    if found is None or found.ended_at is not None:
        _add(tx, task, extractor, 0, 0, at, at, PilotVerdict.FAILED, report)


def _add(tx: Connection, *facts: Any) -> PilotRow:
    pilot = PilotRow(next_value(tx, pilots.c.number), *facts)
    tx.execute(insert(pilots).values(vars(pilot)))
    return pilot


def pilot_items(tx: Connection, extractor: str) -> int:
    """Return how many items the pilots of an extractor drew at the most."""
    return sum(one.size for one in all_pilots(tx) if one.extractor == extractor)


def newest_pilot(tx: Connection, extractor: str, *, over: bool = False) -> PilotRow | None:
    """Return the newest pilot of an extractor, or the newest that is over, which says whether all may be asked."""
    mine = (one for one in reversed(all_pilots(tx)) if one.extractor == extractor)
    return next((one for one in mine if not over or one.ended_at is not None), None)


def all_pilots(tx: Connection) -> list[PilotRow]:
    """Return every pilot of every task, oldest first."""
    rows = tx.execute(select(pilots).order_by(pilots.c.number)).mappings()
    return [
        PilotRow(**{**row, "verdict": row["verdict"] and PilotVerdict(row["verdict"])})
        for row in rows
    ]
