"""The engine's own tables of the test lab: questions, judgements, and what is still to be judged."""

from sqlalchemy import Column, ForeignKeyConstraint, Integer, Table, Text

from pipeline.store.table_base import METADATA
from pipeline.store.times import UtcTime


def _of_question() -> ForeignKeyConstraint:
    """Return what ties a row to its question."""
    return ForeignKeyConstraint(
        ("task", "qid"), ("findable_lab_questions.task", "findable_lab_questions.qid"), ondelete="CASCADE"
    )


lab_questions = Table(
    "findable_lab_questions",
    METADATA,
    Column("task", Text, primary_key=True),
    Column("qid", Text, primary_key=True),
    Column("text", Text, nullable=False),
    Column("type", Text, nullable=False),  # empty where none is given
    Column("language", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
)

lab_judgements = Table(
    "findable_lab_judgements",
    METADATA,
    Column("task", Text, primary_key=True),
    Column("qid", Text, primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("grade", Integer, nullable=False),  # 0: not relevant
    Column("judge", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    _of_question(),
)

# what variants found, shuffled, to be judged without telling which of them did; those without `acted_at` are left
lab_pool = Table(
    "findable_lab_pool",
    METADATA,
    Column("task", Text, primary_key=True),
    Column("qid", Text, primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("place", Integer, nullable=False),
    Column("acted_at", UtcTime),  # judged then, or without a judgement: skipped
    _of_question(),
)

LAB = (lab_questions, lab_judgements, lab_pool)
