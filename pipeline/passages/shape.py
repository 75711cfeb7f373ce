"""Columns and id types of the tables of passages and concepts in a database."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Connection, MetaData, Table, Text, cast
from sqlalchemy.engine.interfaces import ReflectedColumn
from sqlalchemy.types import TypeEngine

from pipeline.passages import CONCEPTS, PASSAGES
from pipeline.store.schema import ColumnTyped, IsoTime
from pipeline.tables.reflection import (
    ColumnNeed,
    IdColumnFacts,
    ReflectedColumns,
    describe_ids,
    read_columns,
)

OPTIONAL_COLUMNS = ("source", "metadata")


class ConceptRow(NamedTuple):
    """A concept of a passage.

    To be written, `aliases` and `evidence` are JSON text, and `created_at` is aware. As read from
    the table they are decoded, and `confidence` can have any type.
    """

    passage_id: str
    concept_name: str
    concept_type: str
    aliases: Any
    confidence: Any
    extractor_model: str
    extractor_version: str
    evidence: Any
    created_at: datetime | None


COLUMNS = ConceptRow._fields


@dataclass(frozen=True, eq=False)
class PassagesShape:
    """Columns and id types of the two tables of a database."""

    # The existing columns of passages that are read.
    passages: Table
    # All columns of concepts that are read and written.
    concepts: Table
    # Ids of passages, which `passage_id` of concepts stores, too.
    ids: IdColumnFacts
    # The id column of concepts, or None if it is missing or the table does not exist yet.
    concept_id_column: ReflectedColumn | None
    # Names of tables that do not exist yet. They are described as they will be made.
    missing: frozenset[str] = frozenset()

    @property
    def row_id(self) -> ColumnElement[str]:
        """The id of a passage as text."""
        return cast(self.passages.c.id, Text)

    @property
    def is_of_passage(self) -> ColumnElement[bool]:
        """The SQL condition that a concept belongs to a passage, for queries on both tables."""
        return self.concepts.c.passage_id == self.passages.c.id

    @property
    def value_columns(self) -> list[str]:
        """The columns of passages that are read and written, except the id."""
        return ["text", *(name for name in OPTIONAL_COLUMNS if name in self.passages.c)]


def read_shape(tx: Connection, *, passages: str = PASSAGES) -> PassagesShape:
    """Return the columns and keys of the tables of passages and concepts in this database.

    Only the schema is read. The tables may be made by findable or belong to another program. A
    table that does not exist is listed in `missing`, and described with the columns that findable
    would give it.

    The shape also has the kind of the ids. A column for source or metadata whose type does not fit
    is left out.

    Args:
        tx: The transaction that reads.
        passages: Name of the table of passages. That of concepts is always CONCEPTS.
    """
    passage_columns = read_columns(tx, passages)
    concept_columns = read_columns(tx, CONCEPTS)
    contents = {"source": ColumnNeed.TEXT, "metadata": ColumnNeed.JSON}
    fitting_columns = [
        name
        for name in OPTIONAL_COLUMNS
        if name in passage_columns and contents[name].accepts(tx, passage_columns[name])
    ]
    optional_columns = fitting_columns if passage_columns else OPTIONAL_COLUMNS

    id_type: TypeEngine[Any] = Text()
    if "id" in passage_columns:
        id_type = passage_columns["id"]["type"]
    columns_by_table = {passages: passage_columns, CONCEPTS: concept_columns}
    return PassagesShape(
        _untyped_table(passages, ("id", "text", *optional_columns)),
        _untyped_table(CONCEPTS, (*id_columns(concept_columns), *COLUMNS)),
        ids=describe_ids(tx, id_type),
        concept_id_column=concept_columns.get("id"),
        missing=frozenset(name for name, columns in columns_by_table.items() if not columns),
    )


def id_columns(concept_columns: ReflectedColumns) -> tuple[str, ...]:
    """Return ("id",), or () if another program's table of concepts has no id column."""
    return ("id",) if not concept_columns or "id" in concept_columns else ()


def _untyped_table(name: str, column_names: Iterable[str]) -> Table:
    """Return a table whose columns have the types of the database, except the time."""
    types = {"created_at": IsoTime}
    columns = (Column(column, types.get(column, ColumnTyped)) for column in column_names)
    return Table(name, MetaData(), *columns)
