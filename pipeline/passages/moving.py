"""The tables of passages as they go into another database: with the columns they have, of types that both keep."""

from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Float, Identity, MetaData, Table, Text

from pipeline.passages.column_types import Found, Ids, Kind, columns_of
from pipeline.passages.shape import CONCEPT_COLUMNS, CONCEPTS, OPTIONAL
from pipeline.store.copying import Json, Moment

TYPES = {"confidence": Float, "created_at": Moment} | dict.fromkeys(("metadata", "aliases", "evidence"), Json)


def tables(tx: Connection, *, passages: str) -> tuple[Table, Table]:
    """Return the tables of passages and of concepts as they are to be in PostgreSQL.

    Columns take what they took; ids that are whole numbers stay numbers, and all others are text.
    """
    found, concepts = columns_of(tx, passages), columns_of(tx, CONCEPTS)
    metadata = MetaData()
    names = ["text", *(name for name in OPTIONAL if name in found)]
    rows = [_column(found[name]) for name in names]
    here = Table(passages, metadata, Column("id", _id_type(found["id"]), primary_key=True, autoincrement=False), *rows)
    counts = _is_number(concepts["id"])
    own: Column[Any] = Column("id", _id_type(concepts["id"]), *([Identity()] if counts else []), primary_key=True)
    whose = Column("passage_id", _id_type(concepts["passage_id"]), nullable=concepts["passage_id"].nullable)
    others = [_column(concepts[name]) for name in CONCEPT_COLUMNS if name not in {"id", "passage_id"}]
    return here, Table(CONCEPTS, metadata, own, whose, *others)


def make(tx: Connection, some: tuple[Table, Table]) -> None:
    """Make these tables in an empty database; keys and indexes of ours come with adopting them."""
    for table in some:
        table.create(tx)


def _column(found: Found) -> Column[Any]:
    """Return a column that takes what one of SQLite's takes and PostgreSQL can give back."""
    return Column(found.name, TYPES.get(found.name, Text), nullable=found.nullable)


def _id_type(found: Found) -> type[BigInteger] | type[Text]:
    return BigInteger if _is_number(found) else Text


def _is_number(found: Found) -> bool:
    return (found.ids or Ids(Kind.ANY)).kind is Kind.WHOLE
