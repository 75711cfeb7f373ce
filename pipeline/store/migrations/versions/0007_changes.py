"""Which items changed since a build, and the last counts that took long."""

from alembic import op

from pipeline.store import tables

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the tables; no change is listed before the next build."""
    tables.metadata.create_all(op.get_bind(), (tables.change_lists, tables.changes, tables.counts), checkfirst=False)
