"""SQL that adds the part of a passage around the first quotation to an evidence document."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
)

from pipeline.tables.reflection import is_sqlite

# Length of `source_text`.
MAX_SOURCE_CHARS = 1200


def make_document_with_source_text(
    tx: Connection,
    document: ColumnElement[Any],
    text: ColumnElement[str],
) -> ColumnElement[Any]:
    """Return an SQL expression: the evidence document with the passage's text as `source_text`.

    The text is whole if it has at most MAX_SOURCE_CHARS characters. A longer text is cut to the
    part around the first quotation. The expression gives the document unchanged if the text is
    NULL, if the document has a `source_text`, or if it has no offsets of a first quotation. No
    query is run.

    Args:
        tx: Connection that decides the dialect of the expression.
        document: The evidence: JSON text on SQLite, jsonb on PostgreSQL.
        text: The text of the passage.
    """
    quotation = document.op("->")(literal_column("'support'")).op("->")(literal_column("0"))
    offsets = [_offset_member(tx, quotation, name) for name in ("start", "end")]
    start, end = (cast(offset, Integer) for offset in offsets)
    source_text = _select_text_around(tx, text, start, end)
    if is_sqlite(tx):
        are_integers = [func.typeof(offset) == literal_column("'integer'") for offset in offsets]
        has_offsets = and_(*are_integers, start >= _integer(0))
        extended: ColumnElement[Any] = func.json_set(
            document,
            literal_column("'$.source_text'"),
            source_text,
        )
    else:
        pattern: ColumnElement[str] = literal_column("'^[0-9]{1,9}$'")
        has_offsets = and_(*(offset.op("~", is_comparison=True)(pattern) for offset in offsets))
        addition = func.jsonb_build_object(literal_column("'source_text'"), source_text)
        extended = document.op("||")(addition)

    lacks_source = document.op("->")(literal_column("'source_text'")).is_(None)
    return case((and_(has_offsets, lacks_source, text.is_not(None)), extended), else_=document)


def _offset_member(tx: Connection, quotation: ColumnElement[Any], name: str) -> ColumnElement[Any]:
    """Return a member of a quotation: a value on SQLite, JSON text on PostgreSQL.

    PostgreSQL's `->>` would make an integer of the JSON string "3", so `->` is cast to text.
    """
    member: ColumnElement[str] = literal_column(f"'{name}'")
    if is_sqlite(tx):
        return quotation.op("->>")(member)
    return cast(quotation.op("->")(member), Text)


def _select_text_around(
    tx: Connection,
    text: ColumnElement[str],
    start: ColumnElement[int],
    end: ColumnElement[int],
) -> ColumnElement[str]:
    """Return the SQL expression of at most MAX_SOURCE_CHARS of a text, around [start, end).

    A text that is not longer is returned whole. The quotation is in the middle, except near an end
    of the text. The beginning of a quotation that is longer than MAX_SOURCE_CHARS is returned.

    Args:
        tx: The connection, whose kind of database decides on the names of functions.
        text: The text.
        start: Offset of the quotation in the text, in characters.
        end: Offset of its end.
    """
    minimum, maximum = (func.min, func.max) if is_sqlite(tx) else (func.least, func.greatest)
    length = func.length(text)
    max_length = _integer(MAX_SOURCE_CHARS)
    quotation_length = minimum(maximum(end - start, _integer(0)), max_length)
    lead_length = (max_length - quotation_length) // _integer(2)
    offset = maximum(minimum(start - lead_length, length - max_length), _integer(0))
    # SQL counts characters from 1.
    part = func.substr(text, offset + _integer(1), max_length)
    return case((length <= max_length, text), else_=part)


def _integer(number: int) -> ColumnElement[int]:
    return literal_column(str(number), Integer)
