"""SQL conditions on words in texts.

Words are compared in any case, though SQLite's lower() changes ASCII letters only.
"""

import unicodedata
from collections.abc import Iterable
from itertools import product
from typing import Any

import orjson
from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    cast,
    func,
    literal_column,
    or_,
    select,
)

from pipeline.store.schema import JSONB
from pipeline.tables.cells import iterate_texts
from pipeline.tables.reflection import is_sqlite

# A stored quotation as PostgreSQL writes JSON; the group is its text.
_SERVER_QUOTATION = (
    r'\{"end": \d+, "quote": ("(?:[^"\\]|\\.)*"), "start": \d+(?:, "likeness": [-+.\deE]+)?\}'
)
# All characters that `str.strip` removes, for SQL's trim.
_WHITE_SPACE = "".join(chr(code) for code in range(0x3001) if chr(code).isspace())


def strip_white_space(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Return an expression for a cell as text without surrounding white space."""
    return func.trim(cast(column, Text), _WHITE_SPACE)


def is_not_blank(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a cell contains more than white space."""
    return and_(column.is_not(None), strip_white_space(column) != "")


def contains_word(
    tx: Connection,
    columns: Iterable[ColumnElement[Any]],
    word: str,
) -> ColumnElement[bool]:
    """Return the condition that one of the columns contains a word, in upper or lower case."""
    position = func.instr if is_sqlite(tx) else func.strpos
    texts = [func.lower(cast(column, Text)) for column in columns]
    spelled_texts = product(texts, make_lowered_spellings(word))
    return or_(*(position(text, spelling) > 0 for text, spelling in spelled_texts))


def make_lowered_spellings(word: str) -> dict[str, None]:
    """Return the spellings of a word to search for in texts that a database's lower() changed.

    SQLite's lower() changes ASCII letters only. So all spellings have ASCII letters in lower case,
    and other letters as given, in lower, upper and title case: `ÖL` gives `Öl` and `öl`. Accents
    are tried composed and decomposed.

    Returns:
        The spellings as keys of a dict, in order and without repetitions; the values are None.
    """
    spellings: dict[str, None] = {}
    for cased_word in (word, word.lower(), word.upper(), word.title()):
        for form in ("NFC", "NFD"):
            normalized = unicodedata.normalize(form, cased_word)
            lowered = (char.lower() if char.isascii() else char for char in normalized)
            spellings["".join(lowered)] = None
    return spellings


def join_json_values(tx: Connection, document: ColumnElement[Any]) -> ColumnElement[Any]:
    """Return an SQL expression for a text with all values in a JSON document.

    Values are texts, numbers and truth values at any depth, one per line. Names are left out. A
    stored quotation counts as its text only.

    Args:
        tx: The connection that will run the query. An SQLite connection gets a function.
        document: The column with the JSON document.
    """
    if is_sqlite(tx):
        connection: Any = tx.connection.driver_connection
        connection.create_function("findable_values", 1, _join_values, deterministic=True)
        return func.findable_values(document)

    json_text = cast(cast(document, JSONB), Text)
    without_offsets = func.regexp_replace(json_text, _SERVER_QUOTATION, r"\1", "g")
    leaves = func.jsonb_path_query(cast(without_offsets, JSONB), literal_column("'strict $.**'"))
    leaf = leaves.table_valued("leaf").render_derived().c.leaf
    is_value = func.jsonb_typeof(leaf).in_(("string", "number", "boolean"))
    values = func.string_agg(leaf.op("#>>")(literal_column("'{}'")), "\n")
    return select(values).where(is_value).scalar_subquery()


def _join_values(document: str | None) -> str:
    return "\n".join(iterate_texts(orjson.loads(document or "{}")))
