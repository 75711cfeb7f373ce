"""What live calls cost since a budget began, and an index of those that are under way."""

import sqlalchemy as sa
from alembic import op

from pipeline.store.times import UtcTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table of sums, and the index."""
    op.create_table(
        "findable_spent",
        sa.Column("since", UtcTime(), nullable=False),
        sa.Column("known", sa.Float(), nullable=False),
        sa.Column("lost", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("since"),
    )
    op.create_index(
        "findable_calls_under_way",
        "findable_calls",
        ["id"],
        sqlite_where=sa.text("outcome IS NULL"),
        postgresql_where=sa.text("outcome IS NULL"),
    )
