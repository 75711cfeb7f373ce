"""Rows of `findable_probes`: a few items asked both ways before the rest, and what came of it.

What either way gave is kept by the line of its request, as facts about the reply and never the reply itself.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, func, select, update
from sqlalchemy import insert as add

from pipeline.states import BatchState
from pipeline.store import events
from pipeline.store.tables import batches, calls, probes

PURPOSE = "probe"  # of the live calls that are made for one


class Verdict(StrEnum):
    """What came of a probe; one without a verdict is under way."""

    PASSED = "passed"  # the batch's answers validate as the live ones do
    FAILED = "failed"  # they do not, so no batch is prepared
    VOID = "void"  # its batch gave no result, so there was nothing to compare
    WAIVED = "waived"  # a person does without it


class Probe(NamedTuple):
    """One probe: its batch, the verdict (None under way), what live calls gave by line, and how the two ways differ."""

    batch: int
    extractor: str
    verdict: Verdict | None
    live: dict[int, dict[str, Any]]
    report: dict[str, Any] | None
    at: datetime
    ended_at: datetime | None


def begin(tx: Connection, batch: int, *, extractor: str, at: datetime) -> None:
    """Add a probe, in the transaction that adds its batch."""
    tx.execute(add(probes).values(batch=batch, extractor=extractor, live="{}", at=at))
    _record(tx, batch, None, why="five items go both ways", at=at)


def newest(tx: Connection, extractor: str) -> Probe | None:
    """Return the newest probe of an extractor, if there ever was one."""
    query = select(probes).where(probes.c.extractor == extractor).order_by(probes.c.batch.desc()).limit(1)
    row = tx.execute(query).first()
    return None if row is None else _probe(row)


def is_under_way(tx: Connection, extractor: str) -> bool:
    """Return whether the newest probe of an extractor has no verdict."""
    found = newest(tx, extractor)
    return found is not None and found.verdict is None


def stopping(tx: Connection, extractor: str) -> Probe | None:
    """Return the probe because of which no batch may be prepared: the newest, where it failed or is under way."""
    found = newest(tx, extractor)
    if found is None or found.verdict not in (None, Verdict.FAILED):
        return None
    if found.verdict is None:
        state = tx.execute(select(batches.c.state).where(batches.c.number == found.batch)).scalar()
        return None if state == BatchState.FAILED else found
    return found


def get(tx: Connection, batch: int) -> Probe:
    """Return the probe of a batch that has one."""
    return _probe(tx.execute(select(probes).where(probes.c.batch == batch)).one())


def keep(tx: Connection, batch: int, line: int, facts: Mapping[str, Any]) -> None:
    """Keep what the live call gave that asked the same as one line of the batch; the first one stays."""
    live = get(tx, batch).live
    live.setdefault(line, dict(facts))
    tx.execute(update(probes).where(probes.c.batch == batch).values(live=json.dumps(live)))


def end(tx: Connection, batch: int, verdict: Verdict, *, report: Mapping[str, Any], at: datetime) -> bool:
    """Give a probe its verdict; false where it has one."""
    here = (probes.c.batch == batch) & probes.c.verdict.is_(None)
    done = tx.execute(update(probes).where(here).values(verdict=verdict, report=json.dumps(report), ended_at=at))
    if done.rowcount:
        _record(tx, batch, verdict, why="its batch was held against live calls", at=at)
    return done.rowcount == 1


def waive(tx: Connection, extractor: str, *, at: datetime) -> int | None:
    """Do without the probe that stops batches; return its batch, None where none does."""
    found = stopping(tx, extractor)
    if found is None:
        return None
    tx.execute(update(probes).where(probes.c.batch == found.batch).values(verdict=Verdict.WAIVED, ended_at=at))
    _record(tx, found.batch, Verdict.WAIVED, why="a person does without it", at=at)
    return found.batch


def live_cost(tx: Connection) -> float:
    """Return what the live calls of probes cost, in USD; their answers are kept nowhere else."""
    cost: float | None = tx.execute(select(func.sum(calls.c.cost)).where(calls.c.purpose == PURPOSE)).scalar()
    return cost or 0.0


def _record(tx: Connection, batch: int, verdict: Verdict | None, *, why: str, at: datetime) -> None:
    """Add a line to the journal."""
    events.record(tx, "probe", batch, old=None, new=verdict or "begun", why=why, at=at)


def _probe(row: Row[Any]) -> Probe:
    """Return a row as a probe."""
    return Probe(
        batch=row.batch,
        extractor=row.extractor,
        verdict=None if row.verdict is None else Verdict(row.verdict),
        live={int(line): facts for line, facts in json.loads(row.live).items()},
        report=None if row.report is None else json.loads(row.report),
        at=row.at,
        ended_at=row.ended_at,
    )
