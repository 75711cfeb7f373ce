"""Live calls: runs, the marks of their calls, the daily usage, who is due again, and probes."""

import sqlalchemy as sa
from alembic import op

from pipeline.store import tables

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the tables of live calls, and to batches the count that estimates are calibrated with."""
    op.add_column("findable_batches", sa.Column("counted_in", sa.BigInteger(), nullable=True))
    made = (tables.runs, tables.usage, tables.due, tables.probes)
    tables.metadata.create_all(op.get_bind(), made, checkfirst=False)
    first = (column for column in tables.calls.c if column.name not in {"fingerprint", "reply"})
    op.create_table("findable_calls", *first)
    op.create_index("findable_calls_of_item", "findable_calls", ["task", "item_id"])
    op.create_index("findable_calls_of_run", "findable_calls", ["run"])
