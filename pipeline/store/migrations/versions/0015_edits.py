"""What a person wrote for one item in the place of its answer."""

from alembic import op

from pipeline.store import tables

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    """Add the table."""
    tables.metadata.create_all(op.get_bind(), tables.EDITS, checkfirst=False)
