"""How the two tables of passages are: as we make them, and what some that somebody else made may have otherwise.

Ids are text, whole numbers or UUIDs, as the table has them; the engine sees text. Columns have no type of SQLAlchemy's,
so that a value takes its type from where it stands: what goes out is text, numbers and None (JSON as JSON text), and
what comes in goes through `loaded` (JSON) and `words` (text).
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Dialect,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    cast,
    text,
    types,
)

from pipeline.passages.column_types import Found, Ids, Kind, columns_of, misfits

PASSAGES = "passages"
CONCEPTS = "passage_concepts"
OPTIONAL = ("source", "metadata")
CONCEPT_COLUMNS = (
    "id",
    "passage_id",
    "concept_name",
    "concept_type",
    "aliases",
    "confidence",
    "extractor_model",
    "extractor_version",
    "evidence",
    "created_at",
)


class AsTheColumn(types.UserDefinedType[Any]):
    """A value that takes its type from where it stands; PostgreSQL's driver passes it on without a cast."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        """Return a name for SQL that is shown to a person; no table is made of it."""
        return "TEXT"


class Moment(TypeDecorator[datetime]):
    """An aware UTC time, whatever the column: text on SQLite, and in another program's table maybe a naive time."""

    impl = AsTheColumn
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Return what the column takes; refuse naive times."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive time")
        moment = value.astimezone(UTC)
        return moment.isoformat(" ") if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002 - theirs
        """Return the time that a cell tells; None where it tells none. One without a zone is UTC."""
        try:
            moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).strip())
        except ValueError:
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


@dataclass(frozen=True, eq=False)
class Shape:
    """The two tables as they are in one database.

    `passages` has the columns id and text, and of source and metadata those that are there; `concepts` all that
    `CONCEPT_COLUMNS` names. `ids` and `concept_ids` tell what their ids of passages are. `fills_ids` tells whether a
    new concept gets its id from the database. `blanks` stands for nothing where a column of passages takes no NULL.
    """

    passages: Table
    concepts: Table
    ids: Ids
    concept_ids: Ids
    own_ids: Ids
    fills_ids: bool
    blanks: dict[str, str]

    @property
    def item_id(self) -> ColumnElement[str]:
        """Return a passage's id as text."""
        return cast(self.passages.c.id, Text)

    @property
    def concerns(self) -> ColumnElement[bool]:
        """Return the condition that a row of concepts is of a row of passages; both tables must stand in the query."""
        whose = self.concepts.c.passage_id
        if self.keeps_types:
            return whose.in_([self.passages.c.id, self.item_id])  # older rows have the text of a number
        return whose == (self.passages.c.id if self.ids.kind is self.concept_ids.kind else self.item_id)

    @property
    def keeps_types(self) -> bool:
        """Return whether neither table converts ids, so that a number and its text are two."""
        return self.ids.kind is self.concept_ids.kind is Kind.ANY

    def has(self, name: str) -> bool:
        """Return whether passages have a column of this name that is read and written."""
        return name in self.passages.c

    def native_ids(self, ids: Iterable[str]) -> list[Any]:
        """Return ids of passages as their table may hold them, for a condition."""
        return self.ids.native(ids)


def look(tx: Connection, *, passages: str = PASSAGES) -> Shape:
    """Return how the tables of this database are; for tables that `adoption` made or found to fit."""
    found, concepts = columns_of(tx, passages), columns_of(tx, CONCEPTS)
    optional = [name for name in OPTIONAL if name in found and not misfits(found, [name])]
    metadata = MetaData()
    here = Table(passages, metadata, *(_column(name) for name in ("id", "text", *optional)))
    there = Table(CONCEPTS, metadata, *(_column(name) for name in CONCEPT_COLUMNS))
    own = concepts.get("id")
    empty = {"source": "", "metadata": "{}"}
    return Shape(
        here,
        there,
        ids=_ids(found.get("id")),
        concept_ids=_ids(concepts.get("passage_id")),
        own_ids=_ids(own),
        fills_ids=own is None or fills(tx, own),
        blanks={name: empty[name] for name in optional if not found[name].nullable},
    )


def fills(tx: Connection, own: Found) -> bool:
    """Return whether a new row of concepts gets its id from the database; on SQLite where it is the row's number."""
    if tx.dialect.name != "sqlite":
        return own.fills
    if own.fills:
        return True
    query = text("SELECT lower(name) FROM pragma_table_info(:table) WHERE pk > 0")
    key = list(tx.execute(query, {"table": CONCEPTS}).scalars())
    query = text("SELECT wr FROM pragma_table_list WHERE schema = 'main' AND lower(name) = :table")
    without = tx.execute(query, {"table": CONCEPTS}).scalar()
    return key == ["id"] and own.told.upper() == "INTEGER" and not without


def loaded(value: Any) -> Any:
    """Return what a JSON cell holds, on either database; text that is no JSON is that text."""
    if not isinstance(value, str | bytes):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def words(value: Any) -> str:
    """Return a cell as text; another program may have put numbers or bytes into it, or nothing."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _column(name: str) -> Column[Any]:
    return Column(name, Moment if name == "created_at" else AsTheColumn)


def _ids(column: Found | None) -> Ids:
    """Return which ids a column holds; text where it is not there."""
    found = Ids() if column is None else column.ids
    return found or Ids(Kind.ANY)
