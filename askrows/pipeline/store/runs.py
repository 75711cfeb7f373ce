"""Store the runs of `tag`, and pilots.

A pilot is a small random sample of rows that is asked and judged before all other rows. To waive a
pilot is to let all rows be asked without it. A version is `task@n/model`.

The budget of a run counts from the start of the run until it has ended.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from askrows.pipeline.store.database import compute_next_value
from askrows.pipeline.store.schema import (
    PilotRow,
    PilotVerdict,
    TagRunRow,
    pilots,
    runs,
)

__all__ = ["PilotRow", "PilotVerdict", "TagRunRow"]


def insert_run(tx: Connection, *, started_at: datetime, **values: Any) -> int:
    """Insert a run, and return its number.

    Args:
        values: Other columns of `askrows_runs`.
    """
    number = compute_next_value(tx, runs.c.number)
    tx.execute(insert(runs).values(number=number, started_at=started_at, **values))
    return number


def update_run_columns(tx: Connection, number: int, **columns: Any) -> None:
    """Set columns of a run, such as its budget in USD. A run that has ended is changed, too."""
    tx.execute(update(runs).where(runs.c.number == number).values(**columns))


def record_run_end(tx: Connection, number: int, *, reason: str, now: datetime) -> None:
    """Record the end of a run and its reason; do nothing if the run has ended already."""
    is_unfinished = (runs.c.number == number) & runs.c.ended_at.is_(None)
    tx.execute(update(runs).where(is_unfinished).values(ended_at=now, why=reason))


def find_unfinished_tag_run(tx: Connection, task: str) -> TagRunRow | None:
    """Return the newest run of a task that has not ended, or None."""
    is_unfinished = (runs.c.task == task) & runs.c.ended_at.is_(None)
    query = select(runs).where(is_unfinished).order_by(runs.c.number.desc()).limit(1)
    row = tx.execute(query).mappings().first()
    return None if row is None else TagRunRow(**row)


def find_or_insert_pilot(
    tx: Connection,
    task: str,
    version: str,
    *,
    size: int,
    seed: int,
    now: datetime,
) -> PilotRow:
    """Return the pilot of a version that is to be asked now; insert it if it is new.

    If the newest pilot of the version is unfinished and has this size and seed, it is returned, so
    that it continues. Otherwise a new pilot is inserted.

    Args:
        version: The version, `task@n/model`.
        size: Number of sampled rows.
        seed: Seed of the random sample.
    """
    pilot = find_newest_pilot(tx, version)
    if pilot is not None and pilot.ended_at is None and (pilot.size, pilot.seed) == (size, seed):
        return pilot
    return _insert_pilot(tx, task, version, size, seed, now)


def record_pilot_verdict(
    tx: Connection,
    number: int,
    verdict: PilotVerdict,
    *,
    report: str | None,
    now: datetime,
) -> None:
    """Record the verdict of a pilot and its report. Does nothing if the pilot has ended already.

    Args:
        report: Path of the report.
    """
    is_unfinished = (pilots.c.number == number) & pilots.c.ended_at.is_(None)
    tx.execute(
        update(pilots)
        .where(is_unfinished)
        .values(ended_at=now, verdict=verdict.value, report=report),
    )


def record_waived_pilot(tx: Connection, task: str, version: str, *, now: datetime) -> None:
    """Record that a user skipped the pilot of a version, so that all rows may be asked.

    Args:
        version: The version, `task@n/model`.
    """
    _insert_pilot(tx, task, version, 0, 0, now, now, PilotVerdict.WAIVED)


def record_failed_pilot(
    tx: Connection, task: str, version: str, *, report: str, now: datetime
) -> None:
    """Record a failed pilot of a version because a later report on its answers failed its gates.

    Does nothing while a pilot of the version is unfinished, because that pilot gets a verdict of
    its own.

    Args:
        version: The version, `task@n/model`.
        report: Path of the report.
    """
    pilot = find_newest_pilot(tx, version)
    if pilot is None or pilot.ended_at is not None:
        _insert_pilot(tx, task, version, 0, 0, now, now, PilotVerdict.FAILED, report)


def _insert_pilot(tx: Connection, *columns: Any) -> PilotRow:
    """Insert a pilot with the next number and these columns, in their order."""
    pilot = PilotRow(compute_next_value(tx, pilots.c.number), *columns)
    tx.execute(insert(pilots).values(**vars(pilot)))
    return pilot


def find_newest_pilot(
    tx: Connection,
    version: str,
    *,
    must_be_ended: bool = False,
) -> PilotRow | None:
    """Return the newest pilot of a version, or None.

    Args:
        version: The version, `task@n/model`.
        must_be_ended: Only pilots that have ended; their verdict decides about all other rows.
    """
    for pilot in reversed(list_pilots(tx)):
        if pilot.version == version and (not must_be_ended or pilot.ended_at is not None):
            return pilot
    return None


def list_pilots(tx: Connection) -> list[PilotRow]:
    """Return the pilots of all tasks, oldest first."""
    pilot_rows = []
    for row in tx.execute(select(pilots).order_by(pilots.c.number)).mappings():
        verdict = row["verdict"] and PilotVerdict(row["verdict"])
        pilot_rows.append(PilotRow(**dict(row) | {"verdict": verdict}))
    return pilot_rows
