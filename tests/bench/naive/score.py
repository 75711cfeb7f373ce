"""Scores the naive way: each person fetched by id, computed, and written in one long transaction."""

import json
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from tests.bench.measure import Said, Timed
from tests.bench.naive.orm import Expert, engine_of


def ready(data: Path) -> Timed:
    """Open the database."""
    engine = engine_of(data)

    def run() -> Said:
        with Session(engine) as session:
            ids = session.scalars(select(Expert.id).order_by(Expert.id)).all()
            for one in ids:
                expert = session.get_one(Expert, one)
                expert.findability_score = score_of(expert)
            session.commit()
        return {"rows": len(ids)}

    return run


def ready_at_once(data: Path) -> Timed:
    """Open the database; everybody is fetched by one statement, which is what the better half of us would write."""
    engine = engine_of(data)

    def run() -> Said:
        with Session(engine) as session:
            experts = session.scalars(select(Expert).order_by(Expert.id)).all()
            for expert in experts:
                expert.findability_score = score_of(expert)
            session.commit()
        return {"rows": len(experts)}

    return run


def score_of(expert: Expert) -> float:
    """Return the score of a person."""
    points = min(40.0, len((expert.bio or "").strip()) / 500 * 40)
    points += 25 if json.loads(expert.tags or "[]") else 0
    points += 15 if (expert.profile_url or "").strip() else 0
    points += 10 if (expert.job_title or "").strip() else 0
    points += 10 if (expert.hourly_rate or 0) > 0 else 0
    return round(points, 1)
