"""Which values a person merged, and what the items had before."""

from alembic import op

from pipeline.store import tables

revision = "0014"
down_revision = "0012"


def upgrade() -> None:
    """Add the tables."""
    tables.metadata.create_all(op.get_bind(), tables.MERGES, checkfirst=False)
