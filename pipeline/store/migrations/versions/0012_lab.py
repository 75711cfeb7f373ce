"""The questions and judgements of the test lab."""

from alembic import op

from pipeline.store import tables

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    """Add the tables."""
    tables.metadata.create_all(op.get_bind(), tables.LAB, checkfirst=False)
