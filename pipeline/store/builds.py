"""Rows of `findable_builds`: which builds were promoted. They follow `index/current`, which alone decides."""

from datetime import datetime

from sqlalchemy import Connection, delete, insert

from pipeline.store import events
from pipeline.store.tables import builds


def add(tx: Connection, *, number: int, count: int, model: str, dim: int, position: int, at: datetime) -> None:
    """Keep that a build was promoted; one of the same number from a removed index gives way."""
    tx.execute(delete(builds).where(builds.c.number == number))
    row = {"number": number, "count": count, "model": model, "dim": dim, "position": position, "promoted_at": at}
    tx.execute(insert(builds).values(row))
    note_in_service(tx, number, why=f"promoted with {count} entries", at=at)


def note_in_service(tx: Connection, number: int, *, why: str, at: datetime) -> None:
    """Add to the journal that a build is in service now."""
    events.record(tx, "build", number, old=None, new="in service", why=why, at=at)
