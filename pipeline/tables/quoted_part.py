"""Put beside the quotation in a JSON document the part of the text that it was taken from: in SQL, on either database.

A document of that kind is `{"support": [{"start", "end", …}, …], …}`, in code points of the text; the part that stands
round the first of them becomes its `source_text`. Any other document stays as it is.
"""

from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Text, and_, case, cast, func, literal_column, type_coerce
from sqlalchemy.dialects.postgresql import JSON, JSONB
from sqlalchemy.types import TypeEngine

from pipeline.tables.reflect import is_sqlite

MAX_SOURCE = 1200  # characters of the text that stand with a quotation
IS_JSON = (16,)  # the version of PostgreSQL that tells JSON from other text


def with_source(
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
