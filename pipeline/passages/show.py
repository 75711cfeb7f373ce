"""The preferred concepts: of one passage for a person, of all as they come for a program."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.settings import Settings
from pipeline.engine.workspace import OpenWorkspace
from pipeline.passages import best, export, table
from pipeline.passages.marked import MarkedPassage, marked_passages
from pipeline.passages.schema import PassagesShape, read_shape
from pipeline.tables.cells import cell_words
from pipeline.tables.export import json_lines, json_list

if TYPE_CHECKING:
    from pipeline.core.task import Subject
    from pipeline.store.database import Connection, Store


def best_of_passage(ws: OpenWorkspace, passage: str) -> list[dict[str, Any]]:
    """Return the best concepts of one passage, by name.

    Raises:
        InputError: there is no such passage.
    """
    with ws.store.read() as tx:
        shape = _shape(tx, ws.subjects, ws.settings)
        if not table.item_table(shape).ids_among(tx, [passage]):
            raise InputError(f"there is no passage {passage!r}", hint="its id is what the file of passages has")
        found = best.best_concepts(tx, shape, best.preference_of(ws.settings), passage=passage)
        return [export.concept_document(one) for one in found]


def marked_of_passage(store: "Store", subjects: "Sequence[Subject]", settings: Settings, passage: str) -> MarkedPassage:
    """Return a passage in the parts that its versions quote, the two that wrote last.

    Raises:
        InputError: there is no such passage.
    """
    with store.read() as tx:
        shape = _shape(tx, subjects, settings)
        rows = table.passage_rows(tx, shape, [passage])
        if passage not in rows:
            raise InputError(f"there is no passage {passage!r}", hint="its id is what the file of passages has")
        found = marked_passages(tx, shape, best.all_concepts(tx, shape, passage=passage))
        row = rows[passage]
        bare = MarkedPassage(passage, cell_words(row.get("source")), cell_words(row["text"]), ())
        return next(found, bare)


def write_all_best(ws: OpenWorkspace, write: Callable[[bytes], object], *, as_list: bool = False) -> int:
    """Write the best concepts of every passage as JSON lines, or as one JSON list; return how many there are."""
    count = 0

    def documents() -> Iterator[dict[str, Any]]:
        nonlocal count
        for one in best.best_concepts(tx, _shape(tx, ws.subjects, ws.settings), preference):
            count += 1
            yield export.concept_document(one)

    preference = best.preference_of(ws.settings)
    with ws.store.read() as tx:
        for piece in (json_list if as_list else json_lines)(documents()):
            write(piece)
    return count


def _shape(tx: "Connection", subjects: "Sequence[Subject]", settings: Settings) -> "PassagesShape":
    """Return how the tables are."""
    if all(one.name != "passages" for one in subjects):
        raise ConfigurationError("there are no passages in this workspace", hint="`make import-passages PASSAGES=…`")
    return read_shape(tx, passages=settings.passages_table)
