"""Describe the tables of passages and of concepts: as findable makes them, and as another program made them.

Ids are as the table has them; the engine sees text. In a `PassagesShape` a value takes its type from where it stands:
what goes out is text, numbers and None, and what comes in goes through `loaded` (JSON) and `cell_words` (text).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Identity, MetaData, Table, Text, cast
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from pipeline.passages import CONCEPTS, MARK
from pipeline.store.schema import NUMBER, AsTheColumn, BigId, IsoTime
from pipeline.tables.adopt import Columns, Holds, Ids, Pair, TableSpec, check_demands, ids_in, misfit, unfit
from pipeline.tables.reflect import columns_of, unique_keys

PASSAGES = "passages"
OPTIONAL = ("source", "metadata")

JSON = Text().with_variant(JSONB(), "postgresql"), Holds.JSON
WORDS = Text(), Holds.TEXT
# as which a column is made, and what it must hold in a table of another program
OF_PASSAGES: Mapping[str, tuple[TypeEngine[Any], Holds]] = {"text": WORDS, "source": WORDS, "metadata": JSON}
OF_CONCEPTS: Mapping[str, tuple[TypeEngine[Any], Holds]] = {
    "concept_name": WORDS,
    "concept_type": WORDS,
    "aliases": JSON,
    "confidence": (NUMBER, Holds.SHARE),
    "extractor_model": WORDS,
    "extractor_version": WORDS,
    "evidence": JSON,
    "created_at": (IsoTime(), Holds.TIME),
}
WRITTEN = ("passage_id", *OF_CONCEPTS)
CONCEPT_COLUMNS = ("id", *WRITTEN)
OWN = ("passage_id", "concept_name", "extractor_version")  # of which each concept of ours has others


@dataclass(frozen=True, eq=False)
class PassagesShape:
    """The two tables as they are in one database.

    `passages` has the columns that are there and read; `concepts` all of `CONCEPT_COLUMNS`. `own` is the id of concepts
    as it is there, None where that table is to be made. `blanks` stand for nothing where a column of passages takes no
    NULL. `missing` are the names of those tables that are not made yet, described as they will be.
    """

    passages: Table
    concepts: Table
    ids: Ids
    concept_ids: Ids
    own: Column[Any] | None
    blanks: dict[str, str]
    missing: frozenset[str] = frozenset()

    @property
    def item_id(self) -> ColumnElement[str]:
        """Return a passage's id as text."""
        return cast(self.passages.c.id, Text)

    @property
    def has_same_ids(self) -> bool:
        """Return whether concepts name passages as these are named; else both are compared as text."""
        return self.ids.kind == self.concept_ids.kind

    @property
    def concerns(self) -> ColumnElement[bool]:
        """Return the condition that a row of concepts is of a row of passages; both tables must stand in the query."""
        return self.concepts.c.passage_id == (self.passages.c.id if self.has_same_ids else self.item_id)

    def has(self, name: str) -> bool:
        """Return whether passages have a column of this name that is read and written."""
        return name in self.passages.c


def read_shape(tx: Connection, *, passages: str = PASSAGES) -> PassagesShape:
    """Return how the tables of this database are; for tables that were made or adopted, or will be."""
    found, concepts = columns_of(tx, passages), columns_of(tx, CONCEPTS)
    fits = [name for name in OPTIONAL if name in found and not misfit(tx, found[name], OF_PASSAGES[name][1])]
    empty = {"source": "", "metadata": "{}"}
    return PassagesShape(
        _as_there(passages, ("id", "text", *(fits if found else OPTIONAL))),
        _as_there(CONCEPTS, CONCEPT_COLUMNS),
        ids=ids_in(tx, found.get("id")),
        concept_ids=ids_in(tx, concepts.get("passage_id")),
        own=concepts.get("id"),
        blanks={name: empty[name] for name in fits if not found[name].nullable},
        missing=frozenset(name for name, columns in ((passages, found), (CONCEPTS, concepts)) if not columns),
    )


def _passages_spec(name: str) -> TableSpec:
    """Return what is needed of the table of passages: it is read in place, and nothing is added but an index."""
    own = Column("id", Text, primary_key=True)
    made = Table(name, MetaData(), own, *(_column(one, nullable=one != "text") for one in OF_PASSAGES))
    return TableSpec(
        made,
        needs=("id", "text"),
        judged={"id": Holds.ID, "text": Holds.TEXT},
        holds="passages",
        elsewhere="name another table with PASSAGES_TABLE=",
        prefix="findable_passages",
        found_by=("id",),
        tells_apart=True,
    )


def _concepts_spec(tx: Connection, passages_id: Column[Any]) -> TableSpec:
    """Return what is needed of the table of concepts, whose `passage_id` is of the type that the passages' ids have."""
    whose = Column("passage_id", passages_id.type, nullable=False)
    own: Column[Any] = Column("id", BigId, Identity(), primary_key=True)
    return TableSpec(
        Table(CONCEPTS, MetaData(), own, whose, *map(_column, OF_CONCEPTS)),
        needs=("id", "passage_id", "concept_name"),  # without these a table is one of other things
        judged={"id": Holds.ID} | {name: one[1] for name, one in OF_CONCEPTS.items()},
        refers=("passage_id", ids_in(tx, passages_id)),
        holds="concepts",
        adds=True,
        mark=(MARK, "(passage_id, extractor_version)"),
        refuses=_check_rows_fit,
    )


def tables_of(name: str) -> Pair:
    """Return what is needed of both tables, that of passages by its name."""
    return Pair(_passages_spec(name), _concepts_spec)


def _check_rows_fit(tx: Connection, concepts: Columns) -> None:
    """Refuse a table of concepts that could not take every row that is written."""
    check_demands(CONCEPTS, concepts, known=[name for name in CONCEPT_COLUMNS if name != "evidence"])
    table = concepts["id"].table
    for key in unique_keys(tx, table):
        if key <= set(WRITTEN) and not set(OWN) <= key:
            raise unfit(
                CONCEPTS,
                f"has a unique key that the concepts of several versions break: {', '.join(sorted(key))}",
                hint=f"let that key hold {', '.join(f'`{name}`' for name in OWN)}, or use another database",
            )


def _column(name: str, *, nullable: bool = True) -> Column[Any]:
    return Column(name, (OF_PASSAGES.get(name) or OF_CONCEPTS[name])[0], nullable=nullable)


def _as_there(name: str, columns: Iterable[str]) -> Table:
    """Return a table whose values take their types from where they stand."""
    kinds = {"created_at": IsoTime}
    return Table(name, MetaData(), *(Column(one, kinds.get(one, AsTheColumn)) for one in columns))
