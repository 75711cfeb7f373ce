"""Show the concepts of a passage, list passages, and write concepts to a file."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, cast, func, select

from pipeline.engine.workspace import WorkspaceSession
from pipeline.passages import table
from pipeline.passages.table import ConceptRow, PassagesShape, read_shape
from pipeline.tables import export
from pipeline.tables.adopt import is_sqlite
from pipeline.tables.cells import cell_words, loaded, number_of
from pipeline.tables.lists import Grid, GridFacet, RowTable

# source, text, and concepts, each (name, type, each (start, end, quotation))
Passage = tuple[str, str, list[tuple[str, str, list[tuple[int, int, str]]]]]


def quoted_passage(ws: WorkspaceSession, passage: str) -> Passage:
    """Return source and text of a passage, and what the version that wrote last found in it, whoever that was."""
    from pipeline.passages.quality import quotations_of

    with ws.store.read() as tx:
        shape = read_shape(tx, passages=ws.settings.passages_table)
        row = table.item_table(shape).rows(tx, [ws.task.id_of(tx, passage)], shape.names)[passage]
        found = sorted(
            table.all_concepts(tx, shape, passage=passage),
            key=lambda one: str(one.created_at or ""),
        )
    last = {(one.extractor_version, one.extractor_model) for one in found[-1:]}
    concepts = [
        (one.concept_name, one.concept_type, list(quotations_of(one.evidence)))
        for one in found
        if (one.extractor_version, one.extractor_model) in last
    ]
    return cell_words(row.get("source")), cell_words(row["text"]), concepts


def passages_grid(tx: Connection, shape: PassagesShape, items: RowTable) -> Grid:
    """Return what lists passages, looked for in id, source and text; their tags are the types of their concepts."""
    names = ["id", *(name for name in ("source", "text") if name in shape.names)]
    mine = shape.concepts.c
    version = cast(mine.extractor_version, Text) + func.coalesce(
        "/" + cast(mine.extractor_model, Text), ""
    )
    return Grid(
        table=items,
        cells=names,
        columns={name: partial(_words, name) for name in names},
        usual=names,
        searched=[items.table.c[name] for name in names],
        tags=_facet(tx, shape, mine.concept_type, lambda word: mine.concept_type == word),
        versions=_facet(tx, shape, version, partial(_is_by, shape)),
        more=("concepts",),
        more_of=lambda tx, ids: {
            key: {"concepts": names} for key, names in table.concept_names(tx, shape, ids).items()
        },
    )


def _words(name: str, row: Mapping[str, Any]) -> str:
    return cell_words(row[name])


def _facet(
    tx: Connection, shape: PassagesShape, told: ColumnElement[Any], is_word: Any
) -> GridFacet:
    here = (shape.concerns, told.is_not(None))
    listed = (
        func.json_group_array(told.distinct())
        if is_sqlite(tx)
        else cast(func.json_agg(told.distinct()), Text)
    )
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


KINDS = {
    **dict.fromkeys(ConceptRow._fields, "text"),
    "aliases": export.TEXTS,
    "confidence": "real",
    "created_at": "time",
}


def encode_concepts(
    concepts: Iterable[ConceptRow], format_: str, guard: Callable[[str], str], *, full: bool
) -> Iterator[bytes]:
    """Return the bytes of a file with these concepts, a text once unless it is `full`; see `export.encoded`."""
    chosen = concepts if full else _once(concepts)
    rows = ({**one._asdict(), "confidence": number_of(one.confidence)} for one in chosen)
    return export.encoded(rows, format_, guard, kinds=KINDS)


def _once(concepts: Iterable[ConceptRow]) -> Iterator[ConceptRow]:
    """Yield concepts, those of a passage together: the first with evidence has its text, and none the context."""
    passage = None
    for one in concepts:
        evidence = one.evidence
        if isinstance(evidence, dict) and "support" in evidence:
            less = ("context", "source_text") if one.passage_id == passage else ("context",)
            passage = one.passage_id if "source_text" in evidence else passage
            evidence = {name: value for name, value in evidence.items() if name not in less}
        yield one._replace(evidence=evidence)
