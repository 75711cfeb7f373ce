"""Show the concepts of a passage, list passages, and write concepts to a file."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Text, cast, func, select

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.settings import Settings
from pipeline.core.step import Step
from pipeline.passages import table
from pipeline.passages.table import ConceptRow, PassagesShape, read_shape
from pipeline.tables import export
from pipeline.tables.adopt import is_sqlite
from pipeline.tables.cells import cell_words, loaded, number_of
from pipeline.tables.lists import Grid, GridFacet, ItemTable

if TYPE_CHECKING:
    from pipeline.engine.task import Task
    from pipeline.store.database import Connection, Store


class QuotedConcept(NamedTuple):
    """One concept, and the (start, end, quotation) that its evidence says, whoever wrote it."""

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
    """Return a passage with what its versions quote."""
    from pipeline.passages.quality import quotations_of

    with store.read() as tx:
        shape = _shape(tx, tasks, settings)
        row = table.passage_rows(tx, shape, [passage]).get(passage)
        if row is None:
            raise InputError(f"there is no passage {passage!r}", hint="its id is what the file of passages has")
        found: dict[str, list[QuotedConcept]] = {}
        for one in sorted(table.all_concepts(tx, shape, passage=passage), key=lambda one: str(one.created_at or "")):
            extractor = "/".join(filter(None, (cell_words(one.extractor_version), cell_words(one.extractor_model))))
            quotations = list(quotations_of(one.evidence))
            concept = QuotedConcept(cell_words(one.concept_name), cell_words(one.concept_type), quotations)
            found.setdefault(extractor, []).append(concept)
        return QuotedPassage(passage, cell_words(row.get("source")), cell_words(row["text"]), found)


def _shape(tx: "Connection", tasks: "Sequence[Task]", settings: Settings) -> "PassagesShape":
    if all(one.subject != "passages" for one in tasks):
        raise ConfigurationError(
            "there are no passages in this workspace", hint=f"`{Step('import-passages', passages='…')}`"
        )
    return read_shape(tx, passages=settings.passages_table)


def passages_grid(tx: Connection, shape: PassagesShape, items: ItemTable) -> Grid:
    """Return what lists passages, looked for in id, source and text; their tags are the types of their concepts."""
    names = ["id", *(name for name in ("source", "text") if shape.has(name))]
    mine = shape.concepts.c
    version = cast(mine.extractor_version, Text) + func.coalesce("/" + cast(mine.extractor_model, Text), "")
    return Grid(
        table=items,
        cells=names,
        columns={name: partial(_words, name) for name in names},
        usual=names,
        searched=[items.table.c[name] for name in names],
        tags=_facet(tx, shape, mine.concept_type, lambda word: mine.concept_type == word),
        versions=_facet(tx, shape, version, partial(_is_by, shape)),
        more=("concepts",),
        more_of=partial(_concepts, shape=shape),
    )


def _words(name: str, row: Mapping[str, Any]) -> str:
    return cell_words(row[name])


def _facet(tx: Connection, shape: PassagesShape, told: ColumnElement[Any], is_word: Any) -> GridFacet:
    here = (shape.concerns, told.is_not(None))
    listed = func.json_group_array(told.distinct()) if is_sqlite(tx) else cast(func.json_agg(told.distinct()), Text)
    cell = select(listed).where(*here).correlate(shape.passages).scalar_subquery()
    some = select(shape.concepts.c.passage_id).where(*here)
    return GridFacet(
        cell,
        lambda found: map(cell_words, loaded(found) or ()),
        lambda word: some.where(is_word(word)).correlate(shape.passages).exists(),
    )


def _is_by(shape: PassagesShape, extractor: str) -> ColumnElement[bool]:
    """Return the condition that a concept is of a version, or of one with its model behind a slash."""
    label, slash, model = extractor.partition("/")
    is_named = table.is_named(shape.concepts.c.extractor_version, label)
    return table.of_extractors(shape, [(label, model)]) if slash else is_named


def _concepts(tx: Connection, ids: Sequence[str], *, shape: PassagesShape) -> dict[str, dict[str, Any]]:
    return {key: {"concepts": names} for key, names in table.concept_names(tx, shape, ids).items()}


KINDS = {
    **dict.fromkeys(ConceptRow._fields, "text"),
    "aliases": export.TEXTS,
    "confidence": "real",
    "created_at": "time",
}


def encode_concepts(concepts: Iterable[ConceptRow], format_: str) -> Iterator[bytes]:
    """Return the bytes of a file with these concepts; see `export.encoded`."""
    rows = ({**one._asdict(), "confidence": number_of(one.confidence)} for one in concepts)
    return export.encoded(rows, format_, kinds=KINDS)
