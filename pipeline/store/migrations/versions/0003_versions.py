"""Versions of what is asked, which can be taken back whole, and pilots before all are asked."""

import sqlalchemy as sa
from alembic import op

from pipeline.store.times import UtcTime

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the tables of versions and pilots."""
    op.create_table(
        "findable_versions",
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("skips", sa.Text(), nullable=True),
        sa.Column("began_at", UtcTime(), nullable=False),
        sa.Column("withdrawn_at", UtcTime(), nullable=True),
        sa.PrimaryKeyConstraint("task", "version", "model"),
    )
    op.create_table(
        "findable_pilots",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("extractor", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("began_at", UtcTime(), nullable=False),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("report", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
    )
