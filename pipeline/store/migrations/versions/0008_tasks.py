"""Tasks that users declare in files of their own, and what each batch, call and answer was asked with."""

import sqlalchemy as sa
from alembic import op

from pipeline.store import tables

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the tables and columns; what was asked before has no fingerprint."""
    tables.metadata.create_all(op.get_bind(), (tables.tasks, tables.fingerprints), checkfirst=False)
    for name in ("batches", "calls", "answers"):
        op.add_column(f"findable_{name}", sa.Column("fingerprint", sa.Text(), nullable=True))
    op.add_column("findable_calls", sa.Column("reply", sa.Text(), nullable=True))
