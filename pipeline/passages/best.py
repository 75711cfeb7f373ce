"""Find the best concept of each name: one query, as rows for commands and as a view for readers of the database.

Of the concepts of a passage with one name in any case (of ASCII letters on SQLite) it is that of the preferred version,
sure enough: those of `PREFER_VERSIONS` in order, then the newest begun, then those of other programs. Beside the
quotations in its evidence, `{"support": [{"start", "end", …}, …], …}` in code points of the text, stands the part of
the passage round the first of them, as `source_text`; a document of another shape stays as it is.
"""

from collections.abc import Callable, Iterator
from operator import call
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Float,
    Integer,
    Select,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    literal_column,
    null,
    select,
    type_coerce,
)
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.types import TypeEngine

from pipeline.core.settings import Settings
from pipeline.passages import CONCEPTS
from pipeline.passages.schema import PassagesShape
from pipeline.passages.table import TASK, ConceptRow, of_extractors
from pipeline.store import answers
from pipeline.store.database import streamed
from pipeline.store.schema import AsTheColumn
from pipeline.tables.cells import cell_words, loaded
from pipeline.tables.marked_view import is_view_made, make_view
from pipeline.tables.reflect import columns_of, is_sqlite
from pipeline.tables.rows import values_in_pages

VIEW, OF = "best_concepts", "PREFER_VERSIONS and MIN_CONFIDENCE"
PAGE = 500  # passages in one query, rows in one fetch
MAX_SOURCE = 1200  # characters of the text that stand with a quotation
IS_JSON = (16,)  # the version of PostgreSQL that tells JSON from other text
NUMBER = r"^\s*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,2})?\s*$"


class Preference(NamedTuple):
    """What is set: versions in the order of preference, None for the newest first, and the least confidence."""

    versions: tuple[str, ...] | None
    least: float


def preference_of(settings: Settings) -> Preference:
    """Return which concepts are the best ones, as it is set."""
    return Preference(settings.prefer_versions, settings.min_confidence)


COLUMNS = ConceptRow._fields
READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(COLUMNS, cell_words),
    **dict.fromkeys(("aliases", "evidence"), loaded),
    **dict.fromkeys(("confidence", "created_at"), lambda cell: cell),
}


def best_concepts(
    tx: Connection, shape: PassagesShape, preference: Preference, *, passage: str | None = None
) -> Iterator[ConceptRow]:
    """Yield the best concepts of one passage or of all, by passage, then by name; at flat memory."""
    yield from _rows(tx, shape, query(tx, shape, preference), passage=passage)


def all_concepts(
    tx: Connection, shape: PassagesShape, *, of: tuple[str, str] | None = None, passage: str | None = None
) -> Iterator[ConceptRow]:
    """Yield every concept of one passage or of all, or those `of` one label and model."""
    chosen = select(*(shape.concepts.c[name] for name in COLUMNS))
    if of is not None:
        chosen = chosen.where(of_extractors(shape, [of]))
    yield from _rows(tx, shape, _with_source(tx, shape, chosen), passage=passage)


def query(tx: Connection, shape: PassagesShape, preference: Preference) -> Select[Any]:
    """Return the SELECT of the best concepts; a condition on `passage_id` goes all the way down."""
    concepts, begun = shape.concepts.c, answers.begun().subquery("begun")
    sure = _confidence(tx, shape)
    order = [
        *([_rank(shape, preference.versions)] if preference.versions else []),
        begun.c.began_at.desc().nulls_last(),
        _moment(tx, shape).desc().nulls_last(),
        sure.desc(),
        concepts.id,
    ]
    place = func.row_number().over(
        partition_by=[concepts.passage_id, func.lower(concepts.concept_name)], order_by=order
    )
    label, model = (func.coalesce(concepts[f"extractor_{name}"], "") for name in ("version", "model"))
    whose = label.op("||")(literal_column("'/'")).op("||")(model)
    joined = shape.concepts.outerjoin(begun, and_(begun.c.task == TASK, begun.c.extractor == whose))
    chosen = select(*(concepts[name] for name in COLUMNS), place.label("place")).select_from(joined)
    there = concepts.concept_name.is_not(None)
    return _with_source(tx, shape, chosen.where(there, sure >= literal(preference.least, Float)))


def is_view_ready(tx: Connection, shape: PassagesShape, preference: Preference) -> bool:
    """Return whether the view is as it is set, or something else has its name."""
    return is_view_made(tx, VIEW, query(tx, shape, preference), of=OF)


def make_view_ready(tx: Connection, shape: PassagesShape, preference: Preference) -> list[str]:
    """Make the view as it is set; return a line where something else has that name, which stays."""
    if make_view(tx, VIEW, query(tx, shape, preference), of=OF):
        return []
    return [f"`{VIEW}` in this database is not ours and stays as it is; `make best-concepts` does without it"]


def _rows(tx: Connection, shape: PassagesShape, chosen: Select[Any], *, passage: str | None) -> Iterator[ConceptRow]:
    column = chosen.selected_columns.passage_id
    chosen = chosen.order_by(column, chosen.selected_columns.concept_name)
    one = [] if passage is None else [column.in_(shape.concept_ids.native([passage]))]
    for condition in one or _pages(tx, shape, column):
        for row in streamed(tx, chosen.where(condition), page=PAGE):
            yield ConceptRow(*map(call, READERS.values(), row))


def _pages(tx: Connection, shape: PassagesShape, column: ColumnElement[Any]) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that take the passages page by page, in the order of their ids; read from the index alone."""
    for ids in values_in_pages(tx, shape.concepts.c.passage_id, size=PAGE):
        yield column.between(literal(ids[0], AsTheColumn()), literal(ids[-1], AsTheColumn()))


def _rank(shape: PassagesShape, labels: tuple[str, ...]) -> ColumnElement[int]:
    """Return the place of a concept's version among those that are preferred, behind them where it is none."""
    version = shape.concepts.c.extractor_version
    places = [(version == literal(label, Text), literal(place, Integer)) for place, label in enumerate(labels)]
    return case(*places, else_=literal(len(labels), Integer))


def _moment(tx: Connection, shape: PassagesShape) -> ColumnElement[Any]:
    """Return when a concept was written, as what can be put in order."""
    created_at = shape.concepts.c.created_at
    return func.julianday(type_coerce(created_at, Text)) if tx.dialect.name == "sqlite" else created_at


def _confidence(tx: Connection, shape: PassagesShape) -> ColumnElement[float]:
    """Return a concept's confidence as a number, NULL where it is none; `0.7` of a narrow column is 0.7."""
    column = shape.concepts.c.confidence
    if tx.dialect.name == "sqlite":
        return cast(column, Float)
    if isinstance(columns_of(tx, CONCEPTS)["confidence"].type, Double):
        return type_coerce(column, Double)
    told = cast(column, Text)
    return case((told.op("~", is_comparison=True)(NUMBER), cast(told, Double)), else_=null())


def _with_source(tx: Connection, shape: PassagesShape, chosen: Select[Any]) -> Select[Any]:
    """Return a SELECT whose evidence holds the part of the passage that it speaks of; of numbered rows the first."""
    rows = chosen.subquery("chosen")
    passages = shape.passages.c
    key = passages.id if shape.has_same_ids else shape.item_id
    joined = rows.outerjoin(shape.passages, rows.c.passage_id == key)
    kind = columns_of(tx, CONCEPTS)["evidence"].type
    evidence = _with_part(tx, rows.c.evidence, cast(passages.text, Text), kind=kind)
    columns = [evidence.label(name) if name == "evidence" else rows.c[name] for name in COLUMNS]
    whole = select(*columns).select_from(joined)
    return whole.where(rows.c.place == literal_column("1")) if "place" in rows.c else whole


def _with_part(
    tx: Connection, document: ColumnElement[Any], text: ColumnElement[str], *, kind: TypeEngine[Any]
) -> ColumnElement[Any]:
    """Return documents with their part of a text; `kind` is the type of their column."""
    return _on_sqlite(document, text) if is_sqlite(tx) else _on_server(tx, document, text, kind=kind)


def _on_sqlite(document: ColumnElement[Any], text: ColumnElement[str]) -> ColumnElement[Any]:
    """Return a document with `source_text`; one of another shape, or with a source of its own, as it is."""
    first: dict[str, ColumnElement[Any]] = {name: literal_column(f"'$.support[0].{name}'") for name in ("start", "end")}
    here = [func.json_type(document, path) == "integer" for path in first.values()]
    start, end = (func.json_extract(document, path, type_=Integer) for path in first.values())
    source = _source(text, start, end, least=func.min, most=func.max)
    lacks = func.json_type(document, "$.source_text").is_(None)
    whole = case((and_(*here, start >= 0, lacks, text.is_not(None)), func.json_set(document, "$.source_text", source)))
    return case((func.json_valid(document) == 1, func.coalesce(whole, document)), else_=document)


def _on_server(
    tx: Connection, document: ColumnElement[Any], text: ColumnElement[str], *, kind: TypeEngine[Any]
) -> ColumnElement[Any]:
    """Return a document with `source_text`, as JSONB where the column is; of another shape, or with its own, as it is.

    Text is only taken for JSON where the server can tell (from 16 on), else it stays as it is.
    """
    if isinstance(kind, JSONB):
        return _source_in(type_coerce(document, JSONB), text)
    told = cast(document, Text)
    if isinstance(kind, JSON):
        is_json: ColumnElement[bool] = document.is_not(None)
    elif (tx.dialect.server_version_info or (0,)) >= IS_JSON:
        is_json = told.op("IS JSON OBJECT", is_comparison=True)(literal_column(""))
    else:
        return document
    safe = and_(is_json, ~told.contains("\\u0000"))  # which JSONB does not take
    return case((safe, cast(_source_in(cast(told, JSONB), text), Text)), else_=told)


def _source_in(document: ColumnElement[Any], text: ColumnElement[str]) -> ColumnElement[Any]:
    """Return a document of JSONB with `source_text` where it has that shape."""
    paths: Any = (literal_column(f"'{{support,0,{name}}}'") for name in ("start", "end"))
    first = [cast(document.op("#>")(path), Text) for path in paths]  # a text would have its quotation marks
    here = [one.op("~", is_comparison=True)("^[0-9]{1,9}$") for one in first]
    start, end = (cast(case((is_number, one), else_="0"), Integer) for is_number, one in zip(here, first, strict=True))
    source = _source(text, start, end, least=func.least, most=func.greatest)
    lacks = document.op("->")(literal_column("'source_text'")).is_(None)
    is_like = and_(func.jsonb_typeof(document) == "object", *here, lacks, text.is_not(None))
    added = document.op("||")(func.jsonb_build_object("source_text", source))
    return case((is_like, added), else_=document)


def _source(
    text: ColumnElement[str], start: ColumnElement[int], end: ColumnElement[int], *, least: Any, most: Any
) -> ColumnElement[str]:
    """Return the text where it is short, of a long one the part round text[start:end]; `least(a, b)` is SQL."""
    whole = func.length(text)
    room = literal_column(str(MAX_SOURCE), Integer)
    before = (room - least(most(end - start, literal_column("0", Integer)), room)) // literal_column("2", Integer)
    first = most(least(start - before, whole - room), literal_column("0", Integer))
    return case((whole <= room, text), else_=func.substr(text, first + literal_column("1", Integer), room))
