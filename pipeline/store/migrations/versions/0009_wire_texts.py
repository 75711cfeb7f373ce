"""The requests of live calls as they were sent, and their replies as they came; of earlier calls there are none."""

from alembic import op

from pipeline.store import tables

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the tables."""
    tables.metadata.create_all(op.get_bind(), (tables.wire_texts, tables.wire_forms), checkfirst=False)
