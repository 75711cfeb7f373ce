"""What live calls cost since a budget began, and an index of those that are under way."""

import sqlalchemy as sa
from alembic import op

from pipeline.store import tables

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the table of sums, and the index."""
    tables.sums.create(op.get_bind())
    op.create_index(
        "findable_calls_under_way",
        "findable_calls",
        ["id"],
        sqlite_where=sa.text("outcome IS NULL"),
        postgresql_where=sa.text("outcome IS NULL"),
    )
