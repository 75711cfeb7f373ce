"""What was asked, so that items which ask the same share one request, and whose request an answer is of."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the columns; of what was asked before nothing is shared."""
    op.add_column("findable_requests", sa.Column("question", sa.Text(), nullable=True))
    for name in ("requests", "attempts", "answers"):
        op.add_column(f"findable_{name}", sa.Column("shares", sa.BigInteger(), nullable=True))
    for name, column in (("findable_questions", "question"), ("findable_shared", "shares")):
        there = sa.text(f"{column} IS NOT NULL")
        op.create_index(name, "findable_requests", [column], sqlite_where=there, postgresql_where=there)
