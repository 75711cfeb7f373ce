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
OF_BATCHES = (tables.attempts, tables.requests, tables.tries, tables.twins)


def upgrade() -> None:
    """Make every table of the engine."""
    first = (column for column in tables.batches.c if column.name not in {"counted_in", "fingerprint"})
    account = (column for column in tables.batch_accounts.c if column.name != "batch")
    op.create_table("findable_batches", *first, *account)
    tables.metadata.create_all(op.get_bind(), (*BESIDE, *OF_BATCHES), checkfirst=False)
    given = (column for column in tables.answers.c if column.name != "fingerprint")
    op.create_table("findable_answers", *given, sa.ForeignKeyConstraint(["batch"], ["findable_batches.number"]))
    op.create_index("findable_answers_of_item", "findable_answers", ["task", "item_id"])
    op.create_index(
        "findable_claims",
        "findable_requests",
        ["task", "item_id"],
        unique=True,
        sqlite_where=sa.text("open"),
        postgresql_where=sa.text("open"),
    )
