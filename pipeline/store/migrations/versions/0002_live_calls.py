"""Live calls: runs, the marks of their calls, the daily usage, who is due again, and probes."""

import sqlalchemy as sa
from alembic import op

from pipeline.store.tables import BigId
from pipeline.store.times import UtcTime

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the tables of live calls, and to batches the count that estimates are calibrated with."""
    op.add_column("findable_batches", sa.Column("counted_in", sa.BigInteger(), nullable=True))
    op.create_table(
        "findable_runs",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("extractor", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("mode", sa.Text(), nullable=False),
        sa.Column("started_at", UtcTime(), nullable=False),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("estimated_in", sa.BigInteger(), nullable=False),
        sa.Column("estimated_out", sa.BigInteger(), nullable=False),
        sa.Column("estimated_cost", sa.Float(), nullable=False),
        sa.Column("priced_on", sa.Text(), nullable=False),
        sa.Column("budget", sa.Float(), nullable=True),
        sa.Column("why", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("number"),
    )
    op.create_table(
        "findable_calls",
        sa.Column("id", BigId, nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("extractor", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("run", sa.Integer(), nullable=True),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("asked_at", UtcTime(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("counted_in", sa.Integer(), nullable=False),
        sa.Column("estimated_in", sa.Integer(), nullable=False),
        sa.Column("estimated_out", sa.Integer(), nullable=False),
        sa.Column("estimated_cost", sa.Float(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("tokens_in", sa.Integer(), nullable=True),
        sa.Column("tokens_out", sa.Integer(), nullable=True),
        sa.Column("cost", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_findable_calls_asked_at"), "findable_calls", ["asked_at"], unique=False)
    op.create_index("findable_calls_of_item", "findable_calls", ["task", "item_id"], unique=False)
    op.create_index("findable_calls_of_run", "findable_calls", ["run"], unique=False)
    op.create_table(
        "findable_usage",
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("day", sa.Text(), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("tokens_in", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("model", "day"),
    )
    op.create_table(
        "findable_due",
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("since", UtcTime(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("task", "item_id"),
    )
    op.create_table(
        "findable_probes",
        sa.Column("batch", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("extractor", sa.Text(), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=True),
        sa.Column("live", sa.Text(), nullable=False),
        sa.Column("report", sa.Text(), nullable=True),
        sa.Column("at", UtcTime(), nullable=False),
        sa.Column("ended_at", UtcTime(), nullable=True),
        sa.ForeignKeyConstraint(["batch"], ["findable_batches.number"]),
        sa.PrimaryKeyConstraint("batch"),
    )
