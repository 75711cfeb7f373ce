"""The passages as they are indexed: their text with the names of their concepts, of any version in sight."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import Connection

from pipeline.core.ranking import Entry, FieldGroup, Ranking
from pipeline.engine.task import Indexed
from pipeline.passages import table
from pipeline.passages.schema import PassagesShape
from pipeline.tables.cells import cell_words

SHOWN = 1_000  # characters of the text that a hit shows
PAGE = 500  # passages whose concepts are read at once


def indexed_of(shape: PassagesShape) -> Indexed:
    """Return what of the passages is indexed: each that has concepts, once that is asked for."""
    return Indexed(
        task=table.TASK,
        folder="tasks/passages",
        word="passage",
        columns={"rank": "rank", "similarity": "similarity", "passage": "id", "concepts": "concepts", "text": "text"},
        ranking=Ranking((FieldGroup(("text",)), FieldGroup(("concepts",), 0.5))),
        count=lambda tx: table.item_table(shape).total(tx, table.has_concepts(shape, None)),
        entries=partial(_entries, shape),
        tags=lambda metadata: [str(name) for name in metadata["concepts"]],
        told=_told,
        when_asked=True,
    )


def _told(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {"id": metadata["id"], "concepts": metadata["concepts"], "text": metadata["text"][:SHOWN]}


def _entries(shape: PassagesShape, tx: Connection, among: Sequence[str] | None = None) -> Iterator[Entry]:
    items, found = table.item_table(shape), table.has_concepts(shape, None)
    if among is None:
        rows = items.cells(tx, ("id", "text"), found)
    else:
        rows = items.among(tx, among, [shape.passages.c[name] for name in ("id", "text")], found)
    while page := {cell_words(row[0]): cell_words(row[1]) for row in islice(rows, PAGE)}:
        named = table.concept_names(tx, shape, list(page))
        for key, text in page.items():
            yield _entry(key, text, named.get(key, []))


def _entry(key: str, text: str, concepts: list[str]) -> Entry:
    whole = f"{text} Concepts: {', '.join(concepts)}." if concepts else text
    metadata = {"id": key, "text": text, "concepts": concepts}
    return Entry(key, whole, metadata, concepts, {"text": text, "concepts": "\n".join(concepts)})
