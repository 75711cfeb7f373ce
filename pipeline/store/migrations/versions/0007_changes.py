"""Which items changed since a build, and the last counts that took long."""

import sqlalchemy as sa
from alembic import op

from pipeline.store.times import UtcTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the list of changes, which is empty and tells of nothing before the next build, and the table of counts."""
    op.add_column("findable_workspace", sa.Column("log_task", sa.Text(), nullable=True))
    op.add_column("findable_workspace", sa.Column("log_since", sa.BigInteger(), nullable=True))
    op.create_table(
        "findable_changes",
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task", "item_id"),
    )
    op.create_table(
        "findable_counts",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("found", sa.Text(), nullable=False),
        sa.Column("at", UtcTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
