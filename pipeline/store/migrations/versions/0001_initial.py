"""The engine's tables, as they first were.

A migration makes a table from what `tables` says of it, without the columns that a later one adds to it; a test holds
each migration to the tables and columns that it always made.
"""

import sqlalchemy as sa
from alembic import op

from pipeline.store import tables

revision = "0001"
down_revision = None

BESIDE = (tables.builds, tables.events, tables.leases, tables.parked, tables.workspace)
OF_BATCHES = (tables.tries, tables.twins)
LATER = frozenset({"fingerprint", "question", "shares"})


def upgrade() -> None:
    """Make every table of the engine."""
    first = (column for column in tables.batches.c if column.name not in {"counted_in", "fingerprint"})
    account = (column for column in tables.batch_accounts.c if column.name != "batch")
    op.create_table("findable_batches", *first, *account)
    tables.metadata.create_all(op.get_bind(), (*BESIDE, *OF_BATCHES), checkfirst=False)
    for table in (tables.attempts, tables.requests, tables.answers):
        given = (column for column in table.c if column.name not in LATER)
        op.create_table(table.name, *given, sa.ForeignKeyConstraint(["batch"], ["findable_batches.number"]))
        for index in table.indexes:
            if len(index.columns) > 1:  # that of a single column comes with it
                op.create_index(index.name, table.name, [column.name for column in index.columns])
    op.create_index(
        "findable_claims",
        "findable_requests",
        ["task", "item_id"],
        unique=True,
        sqlite_where=sa.text("open"),
        postgresql_where=sa.text("open"),
    )
