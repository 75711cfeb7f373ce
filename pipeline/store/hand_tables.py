"""The engine's own tables of what a person said: which values were merged, and what was written for one item."""

from sqlalchemy import Column, ForeignKey, Integer, Table, Text

from pipeline.store.table_base import METADATA, BigId
from pipeline.store.times import UtcTime

merges = Table(
    "findable_merges",
    METADATA,
    Column("number", BigId, primary_key=True),
    Column("task", Text, nullable=False),
    Column("old", Text, nullable=False),
    Column("new", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("undone_by", Text),
    Column("undone_at", UtcTime),  # NULL while it is in force
)

# what a person wrote for one item in the place of its answer, which is an answer of the extractor `person`
edits = Table(
    "findable_edits",
    METADATA,
    Column("answer", ForeignKey("findable_answers.id"), primary_key=True, autoincrement=False),
    Column("who", Text, nullable=False),
    Column("before", Text, nullable=False),  # JSON as of an answer: what stood there
    Column("undoes", Integer),  # the number of an earlier edit of the item, from 1
)

MERGES, EDITS = (merges,), (edits,)
