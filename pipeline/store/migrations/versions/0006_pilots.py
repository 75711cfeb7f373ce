"""Pilots compare a few of their requests with live calls, which probes did; no probe is open any more."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

from pipeline.store.times import UtcTime

revision = "0006"
down_revision = "0005"

PROBES = sa.table(
    "findable_probes", sa.column("batch", sa.Integer), sa.column("verdict"), sa.column("ended_at", UtcTime)
)
EVENTS = sa.table("findable_events", sa.column("at", UtcTime), *map(sa.column, ("kind", "name", "new", "why")))
LEASES = sa.table("findable_leases", sa.column("name"))


def upgrade() -> None:
    """Add what live calls gave to pilots, end open probes with a line in the journal, and free their leases.

    The batch of an open probe goes on as any other, with its claims; its live calls stay, with what they cost.
    """
    op.add_column("findable_pilots", sa.Column("live", sa.Text(), nullable=True))
    tx, at = op.get_bind(), datetime.now(UTC)
    for number in tx.execute(sa.select(PROBES.c.batch).where(PROBES.c.verdict.is_(None))).scalars().all():
        tx.execute(sa.update(PROBES).where(PROBES.c.batch == number).values(verdict="waived", ended_at=at))
        line = {"at": at, "kind": "probe", "name": str(number), "new": "waived", "why": "a pilot takes its place"}
        tx.execute(sa.insert(EVENTS).values(line))
        tx.execute(sa.delete(LEASES).where(LEASES.c.name == f"probe:{number}"))
