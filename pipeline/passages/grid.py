"""Say what a list of passages shows, what it is looked through for, and by which concepts it tells them apart."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, cast, func, select

from pipeline.passages import table
from pipeline.passages.schema import PassagesShape
from pipeline.tables.cells import cell_words, loaded
from pipeline.tables.grid import Grid, GridFacet
from pipeline.tables.item_table import ItemTable
from pipeline.tables.reflect import is_sqlite


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
    """Return what tells passages apart by what is said of their concepts, each word once."""
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
    if slash:
        return table.of_extractors(shape, [(label, model)])
    return table.is_named(shape.concepts.c.extractor_version, label)


def _concepts(tx: Connection, ids: Sequence[str], *, shape: PassagesShape) -> dict[str, dict[str, Any]]:
    return {key: {"concepts": names} for key, names in table.concept_names(tx, shape, ids).items()}
