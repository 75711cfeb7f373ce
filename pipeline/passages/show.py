"""The preferred concepts: of one passage for a person, of all as they come for a program."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.settings import Settings
from pipeline.engine.workspace import OpenWorkspace
from pipeline.passages import best, export, table
from pipeline.passages.schema import PassagesShape, read_shape
from pipeline.tables.cells import cell_words

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection, Store


def best_of_passage(ws: OpenWorkspace, passage: str) -> list[dict[str, Any]]:
    """Return the best concepts of one passage, by name.

    Raises:
        InputError: there is no such passage.
    """
    with ws.store.read() as tx:
        shape = _shape(tx, ws.tasks, ws.settings)
        if not table.item_table(shape).ids_among(tx, [passage]):
            raise InputError(f"there is no passage {passage!r}", hint="its id is what the file of passages has")
        found = best.best_concepts(tx, shape, best.preference_of(ws.settings), passage=passage)
        return [export.concept_document(one) for one in found]


class QuotedConcept(NamedTuple):
    """One concept: its name, its type, and the (start, end, quotation) that its evidence says, whoever wrote it."""

    name: str
    type: str
    quotations: Sequence[tuple[int, int, str]]


class QuotedPassage(NamedTuple):
    """A passage, and by extractor what each version found in it, those that wrote last at the end."""

    id: str
    source: str
    text: str
    concepts: dict[str, list[QuotedConcept]]


def quoted_passage(store: "Store", tasks: "Sequence[Task]", settings: Settings, passage: str) -> QuotedPassage:
    """Return a passage with what its versions quote.

    Raises:
        InputError: there is no such passage.
    """
    from pipeline.passages.quality import quotations_of

    with store.read() as tx:
        shape = _shape(tx, tasks, settings)
        row = table.passage_rows(tx, shape, [passage]).get(passage)
        if row is None:
            raise InputError(f"there is no passage {passage!r}", hint="its id is what the file of passages has")
        found: dict[str, list[QuotedConcept]] = {}
        for one in sorted(best.all_concepts(tx, shape, passage=passage), key=lambda one: str(one.created_at or "")):
            extractor = "/".join(filter(None, (cell_words(one.extractor_version), cell_words(one.extractor_model))))
            quotations = list(quotations_of(one.evidence))
            concept = QuotedConcept(cell_words(one.concept_name), cell_words(one.concept_type), quotations)
            found.setdefault(extractor, []).append(concept)
        return QuotedPassage(passage, cell_words(row.get("source")), cell_words(row["text"]), found)


def write_all_best(ws: OpenWorkspace, write: Callable[[bytes], object], *, as_list: bool = False) -> int:
    """Write the best concepts of every passage as JSON lines, or as one JSON list; return how many there are."""
    count = 0

    def counted() -> Iterator[table.ConceptRow]:
        nonlocal count
        for count, one in enumerate(best.best_concepts(tx, shape, preference), start=1):  # noqa: B007 - returned
            yield one

    preference = best.preference_of(ws.settings)
    with ws.store.read() as tx:
        shape = _shape(tx, ws.tasks, ws.settings)
        for piece in export.encode_concepts(counted(), "json" if as_list else "jsonl"):
            write(piece)
    return count


def _shape(tx: "Connection", tasks: "Sequence[Task]", settings: Settings) -> "PassagesShape":
    if all(one.subject != "passages" for one in tasks):
        raise ConfigurationError("there are no passages in this workspace", hint="`make import-passages PASSAGES=…`")
    return read_shape(tx, passages=settings.passages_table)
