"""Scores the naive way: each person fetched by id, computed, and written in one long transaction."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.bench.measure import Said, Timed
from tests.bench.naive.orm import Expert, engine_of

_IDS = select(Expert.id).order_by(Expert.id)


def ready(data: Path) -> Timed:
    """Each person fetched by id."""
    return _scoring(data, lambda session: (session.get_one(Expert, one) for one in session.scalars(_IDS).all()))


def ready_at_once(data: Path) -> Timed:
    """All people fetched by one statement."""
    return _scoring(data, lambda session: session.scalars(select(Expert).order_by(Expert.id)).all())


def _scoring(data: Path, fetched: Callable[[Session], Iterable[Any]]) -> Timed:
    engine = engine_of(data)

    def run() -> Said:
        count = 0
        with Session(engine) as session:
            for expert in fetched(session):
                expert.findability_score = score_of(expert)
                count += 1
            session.commit()
        return {"rows": count}

    return run


def score_of(expert: Any) -> float:
    """Return the score of a person."""
    points = min(40.0, len((expert.bio or "").strip()) / 500 * 40)
    points += 25 if json.loads(expert.tags or "[]") else 0
    points += 15 if (expert.profile_url or "").strip() else 0
    points += 10 if (expert.job_title or "").strip() else 0
    points += 10 if (expert.hourly_rate or 0) > 0 else 0
    return round(points, 1)
