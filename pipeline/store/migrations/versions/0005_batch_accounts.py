"""What batches came to, in a table of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from alembic import op

from pipeline.store import tables

revision = "0005"
down_revision = "0004"

COUNTS = ("answered", "refused", "invalid", "missing", "not_applied", "unknown", "duplicates", "unreadable")
ACCOUNT = (*COUNTS, "tokens_in", "tokens_out", "cost", "ended_at")


def upgrade() -> None:
    """Add the table of accounts, and move into it what stands in the table of batches."""
    tables.batch_accounts.create(op.get_bind())
    names, told = ", ".join(ACCOUNT), " OR ".join(f"{name} IS NOT NULL" for name in ACCOUNT)
    moved = f"SELECT number, {names} FROM findable_batches WHERE {told}"  # noqa: S608 - our names
    op.execute(f"INSERT INTO findable_batch_accounts (batch, {names}) {moved}")
    with _views_set_aside(op.get_bind()):
        for name in ACCOUNT:
            op.drop_column("findable_batches", name)


@contextmanager
def _views_set_aside(tx: sa.Connection) -> Iterator[None]:
    """Take every view and trigger out of an SQLite file for the length of a block.

    SQLite drops no column where any of them, of whatever program, names something that is not there.
    """
    query = "SELECT type, name, sql FROM sqlite_master WHERE type IN ('view', 'trigger') ORDER BY type, rowid"
    found = tx.exec_driver_sql(query).all() if tx.dialect.name == "sqlite" else []
    for kind, name, _ in found:  # triggers first: those of a view go with it
        quoted = str(name).replace('"', '""')
        tx.exec_driver_sql(f'DROP {kind} "{quoted}"')
    yield
    for _, _, sql in sorted(found, key=lambda one: one.type == "trigger"):
        tx.exec_driver_sql(sql)
