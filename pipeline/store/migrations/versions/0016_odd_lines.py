"""Examples of the lines of a result that belong to no request."""

from alembic import op

from pipeline.store import tables

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the table."""
    tables.metadata.create_all(op.get_bind(), tables.ODD_LINES, checkfirst=False)
