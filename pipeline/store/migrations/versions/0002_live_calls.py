"""Live calls: runs, the marks of their calls, the daily usage, who is due again, and probes."""

import sqlalchemy as sa
from alembic import op

from pipeline.store import tables

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the tables of live calls, and to batches the count that estimates are calibrated with."""
    op.add_column("findable_batches", sa.Column("counted_in", sa.BigInteger(), nullable=True))
    made = (tables.runs, tables.calls, tables.usage, tables.due, tables.probes)
    tables.metadata.create_all(op.get_bind(), made, checkfirst=False)
