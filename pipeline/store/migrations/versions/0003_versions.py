"""Versions of what is asked, which can be taken back whole, and pilots before all are asked."""

from alembic import op

from pipeline.store import tables

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the tables of versions and pilots."""
    tables.versions.create(op.get_bind())
    op.create_table("findable_pilots", *(column for column in tables.pilots.c if column.name != "live"))
