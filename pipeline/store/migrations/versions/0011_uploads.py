"""The images that were uploaded because they are too large for a request, and what needs them."""

from alembic import op

from pipeline.store import tables

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the tables."""
    tables.metadata.create_all(op.get_bind(), tables.UPLOADS, checkfirst=False)
