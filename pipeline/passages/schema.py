"""Describe the tables of passages and of concepts: as findable makes them, and as another program made them.

Ids are as the table has them; the engine sees text. In a `PassagesShape` a value takes its type from where it stands:
what goes out is text, numbers and None, and what comes in goes through `loaded` (JSON) and `cell_words` (text).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Connection, Identity, MetaData, Table, Text, cast
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from pipeline.passages import CONCEPTS, MARK
from pipeline.store.column_types import AsTheColumn, BigId, IsoTime
from pipeline.tables.adopt import TableSpec, check_demands, unfit
from pipeline.tables.columns import (
    NUMBER,
    TEXT,
    Accepts,
    IdKind,
    Ids,
    ReflectedColumn,
    id_type,
    ids_in,
    ids_of,
    misfits,
)
from pipeline.tables.reflect import columns_of, counts_up, unique_keys
from pipeline.tables.rows import NewIds

PASSAGES = "passages"
OPTIONAL = ("source", "metadata")

JSON = Text().with_variant(JSONB(), "postgresql"), Accepts(("jsonb", "json", *TEXT.types), "JSON or text")
WORDS = Text(), TEXT
# as which a column is made, and what it must be in a table of another program
OF_PASSAGES: Mapping[str, tuple[TypeEngine[Any], Accepts]] = {"text": WORDS, "source": WORDS, "metadata": JSON}
OF_CONCEPTS: Mapping[str, tuple[TypeEngine[Any], Accepts]] = {
    "concept_name": WORDS,
    "concept_type": WORDS,
    "aliases": JSON,
    "confidence": (NUMBER, Accepts(("float8", "float4", "numeric", *TEXT.types), "numbers or text", places=3)),
    "extractor_model": WORDS,
    "extractor_version": WORDS,
    "evidence": JSON,
    "created_at": (IsoTime(), Accepts(("timestamptz", "timestamp", *TEXT.types), "times or text")),
}
WRITTEN = ("passage_id", *OF_CONCEPTS)
CONCEPT_COLUMNS = ("id", *WRITTEN)
OWN = ("passage_id", "concept_name", "extractor_version")  # of which each concept of ours has others


@dataclass(frozen=True, eq=False)
class PassagesShape:
    """The two tables as they are in one database.

    `passages` has the columns that are there and read; `concepts` all of `CONCEPT_COLUMNS`. `new_ids` are
    of concepts. `blanks` stands for nothing where a column of passages takes no NULL. `missing` are the names of those
    that are not made yet, described as they will be.
    """

    passages: Table
    concepts: Table
    ids: Ids
    concept_ids: Ids
    new_ids: NewIds
    blanks: dict[str, str]
    missing: frozenset[str] = frozenset()

    @property
    def item_id(self) -> ColumnElement[str]:
        """Return a passage's id as text."""
        return cast(self.passages.c.id, Text)

    @property
    def concerns(self) -> ColumnElement[bool]:
        """Return the condition that a row of concepts is of a row of passages; both tables must stand in the query."""
        whose = self.concepts.c.passage_id
        return whose == (self.passages.c.id if self.ids.kind is self.concept_ids.kind else self.item_id)

    def has(self, name: str) -> bool:
        """Return whether passages have a column of this name that is read and written."""
        return name in self.passages.c


def read_shape(tx: Connection, *, passages: str = PASSAGES) -> PassagesShape:
    """Return how the tables of this database are; for tables that were made or adopted, or will be."""
    found, concepts = columns_of(tx, passages), columns_of(tx, CONCEPTS)
    fits = [name for name in OPTIONAL if name in found and not misfits(found, {name: OF_PASSAGES[name][1]})]
    optional = fits if found else OPTIONAL
    own = concepts.get("id")
    empty = {"source": "", "metadata": "{}"}
    return PassagesShape(
        _as_there(passages, ("id", "text", *optional)),
        _as_there(CONCEPTS, CONCEPT_COLUMNS),
        ids=ids_in(found.get("id")),
        concept_ids=ids_in(concepts.get("passage_id")),
        new_ids=NewIds(ids_in(own).kind is not IdKind.WHOLE, own is None or _fills(tx, own)),
        blanks={name: empty[name] for name in fits if not found[name].nullable},
        missing=frozenset(name for name, columns in ((passages, found), (CONCEPTS, concepts)) if not columns),
    )


def passages_spec(name: str) -> TableSpec:
    """Return what is needed of the table of passages: it is read in place, and nothing is added but an index."""
    own = Column("id", Text, primary_key=True)
    made = Table(name, MetaData(), own, *(_column(one, nullable=one != "text") for one in OF_PASSAGES))
    return TableSpec(
        made,
        needs=("id", "text"),
        judged={
            "id": ids_of(IdKind.TEXT, IdKind.WHOLE, IdKind.UUID, words="text, whole numbers or UUIDs"),
            "text": TEXT,
        },
        holds="passages",
        elsewhere="name another table with PASSAGES_TABLE=",
        prefix="findable_passages",
        found_by=("id",),
        takes_empty_id=True,
    )


def concepts_spec(passages_id: ReflectedColumn) -> TableSpec:
    """Return what is needed of the table of concepts, whose `passage_id` is of the type that the passages' ids have."""
    kind = ids_in(passages_id).kind
    whose = Column("passage_id", AsTheColumn(passages_id.declared), nullable=False)
    own: Column[Any] = Column("id", BigId, Identity(), primary_key=True)
    return TableSpec(
        Table(CONCEPTS, MetaData(), own, whose, *map(_column, OF_CONCEPTS)),
        needs=("id", "passage_id", "concept_name"),  # without these a table is one of other things
        judged={"passage_id": ids_of(kind, IdKind.TEXT, words=kind)}
        | {name: one[1] for name, one in OF_CONCEPTS.items()},
        holds="concepts",
        adds=True,
        mark=(MARK, "(passage_id, extractor_version)"),
        refuses=_check_rows_fit,
    )


def tables_as_found(tx: Connection, *, passages: str) -> tuple[Table, Table]:
    """Return the two tables as they are to be in PostgreSQL after a move; ids that are no whole numbers become text."""
    found, concepts = columns_of(tx, passages), columns_of(tx, CONCEPTS)
    rows = [_column(name, nullable=found[name].nullable) for name in OF_PASSAGES if name in found]
    here = Column("id", id_type(found["id"]), primary_key=True, autoincrement=False)
    kind = id_type(concepts["id"])
    own: Column[Any] = Column("id", kind, *([Identity()] if kind is BigInteger else []), primary_key=True)
    whose = Column("passage_id", id_type(concepts["passage_id"]), nullable=concepts["passage_id"].nullable)
    others = [_column(name, nullable=concepts[name].nullable) for name in OF_CONCEPTS]
    return Table(passages, MetaData(), here, *rows), Table(CONCEPTS, MetaData(), own, whose, *others)


def _check_rows_fit(tx: Connection, concepts: Mapping[str, ReflectedColumn]) -> None:
    """Refuse a table of concepts that could not take every row that is written."""
    own = concepts["id"]
    if own.ids is None and not _fills(tx, own):
        raise unfit(CONCEPTS, "has an `id` that cannot be filled", hint="give it a default")
    demanding = [one.name for one in concepts.values() if not one.nullable and not one.fills]
    check_demands(tx, CONCEPTS, concepts, known=CONCEPT_COLUMNS)
    if "evidence" in demanding:
        raise unfit(CONCEPTS, "demands `evidence`, which not every concept has", hint="let it be NULL")
    for key in unique_keys(tx, CONCEPTS, version="extractor_version"):
        if (columns := key & concepts.keys()) <= set(WRITTEN) and not set(OWN) <= columns:
            raise unfit(
                CONCEPTS,
                f"has a unique key that the concepts of several versions break: {', '.join(sorted(key))}",
                hint=f"let that key hold {', '.join(f'`{name}`' for name in OWN)}, or use another database",
            )


def _fills(tx: Connection, own: ReflectedColumn) -> bool:
    return own.fills or counts_up(tx, CONCEPTS, own)


def _column(name: str, *, nullable: bool = True) -> Column[Any]:
    return Column(name, (OF_PASSAGES.get(name) or OF_CONCEPTS[name])[0], nullable=nullable)


def _as_there(name: str, columns: Iterable[str]) -> Table:
    """Return a table whose values take their types from where they stand."""
    kinds = {"created_at": IsoTime}
    return Table(name, MetaData(), *(Column(one, kinds.get(one, AsTheColumn)) for one in columns))
