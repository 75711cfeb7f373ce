"""Keep pilots: a few items of a task that are asked and judged before all of them are."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, RowMapping, func, insert, select, update

from pipeline.store.database import next_value
from pipeline.store.tables import pilots


class PilotVerdict(StrEnum):
    """How a pilot ended; waived where it was skipped by name."""

    PASSED = "passed"
    FAILED = "failed"
    WAIVED = "waived"


@dataclass(frozen=True)
class Pilot:
    """One pilot as its row stands: the size and seed of its sample; no verdict while it goes on."""

    number: int
    task: str
    extractor: str
    size: int
    seed: int
    began_at: datetime
    ended_at: datetime | None = None
    verdict: PilotVerdict | None = None
    report: str | None = None


def begin_pilot(tx: Connection, task: str, extractor: str, *, size: int, seed: int, at: datetime) -> Pilot:
    """Return the pilot of this size and seed that goes on; a new one where none does."""
    found = newest_pilot(tx, extractor)
    if found is not None and found.ended_at is None and (found.size, found.seed) == (size, seed):
        return found
    return _add(tx, Pilot(next_value(tx, pilots.c.number), task, extractor, size, seed, at))


def end_pilot(tx: Connection, number: int, verdict: PilotVerdict, *, report: str | None, at: datetime) -> None:
    """Keep a pilot's verdict, and where its report is; one that is over stays as it is."""
    here = (pilots.c.number == number) & pilots.c.ended_at.is_(None)
    tx.execute(update(pilots).where(here).values(ended_at=at, verdict=verdict.value, report=report))


def waive_pilot(tx: Connection, task: str, extractor: str, *, at: datetime) -> None:
    """Keep that the pilot of this extractor is skipped."""
    _add(tx, Pilot(next_value(tx, pilots.c.number), task, extractor, 0, 0, at, at, PilotVerdict.WAIVED))


def fail_pilot(tx: Connection, task: str, extractor: str, *, report: str, at: datetime) -> None:
    """Keep that a later report on the answers of this extractor failed; a pilot that goes on judges for itself."""
    found = newest_pilot(tx, extractor)
    if found is None or found.ended_at is not None:
        _add(tx, Pilot(next_value(tx, pilots.c.number), task, extractor, 0, 0, at, at, PilotVerdict.FAILED, report))


def _add(tx: Connection, pilot: Pilot) -> Pilot:
    tx.execute(insert(pilots).values(vars(pilot)))
    return pilot


def pilot_items(tx: Connection, extractor: str) -> int:
    """Return how many items the pilots of an extractor drew at the most."""
    query = select(func.coalesce(func.sum(pilots.c.size), 0)).where(pilots.c.extractor == extractor)
    return int(tx.execute(query).scalar_one())


def newest_pilot(tx: Connection, extractor: str, *, over: bool = False) -> Pilot | None:
    """Return the newest pilot of an extractor, or the newest that is over, which says whether all may be asked."""
    query = select(pilots).where(pilots.c.extractor == extractor).order_by(pilots.c.number.desc()).limit(1)
    row = tx.execute(query.where(pilots.c.ended_at.is_not(None)) if over else query).mappings().first()
    return None if row is None else _pilot(row)


def all_pilots(tx: Connection) -> list[Pilot]:
    """Return every pilot of every task, oldest first."""
    return [_pilot(row) for row in tx.execute(select(pilots).order_by(pilots.c.number)).mappings()]


def _pilot(row: RowMapping) -> Pilot:
    verdict = None if row["verdict"] is None else PilotVerdict(row["verdict"])
    return Pilot(**{**row, "verdict": verdict})
