"""The engine's own tables of values that a person merged: into which, and what the items they stood in had before."""

from sqlalchemy import Column, Table, Text

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

# items that hold merged values now
merged_items = Table(
    "findable_merged_items",
    METADATA,
    Column("task", Text, primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("given", Text, nullable=False),  # JSON list: the values before any merge
    Column("merged", Text, nullable=False),  # JSON list: what was written in their place
)

MERGES = (merges, merged_items)
