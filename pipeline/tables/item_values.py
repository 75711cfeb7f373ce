"""What a value of a source is in a column of an items table: text, a whole number, a number, a truth value, or JSON."""

import json
import math
from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from typing import Any

from pipeline.tables.cells import cell_words

KINDS = ("text", "integer", "real", "boolean", "json")
WORDS: Mapping[str, str] = {
    "text": "text",
    "integer": "a whole number",
    "real": "a number",
    "boolean": "true or false",
    "json": "JSON",
}
LARGEST = 2**63 - 1
_JSON = [json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=sort) for sort in (False, True)]

_BYTES = (bytes, bytearray, memoryview)


def plain_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row's values by column as JSON has them."""
    return {str(name): plain_value(value) for name, value in row.items()}


def plain_value(value: Any) -> Any:
    """Return a value of a driver or a library as JSON has it.

    A date or a time is ISO text; a decimal number, a UUID and whatever else is the text it is shown as; bytes are read
    as UTF-8, and those that are none become lone surrogates. What is not a number is None, as pandas writes an empty
    cell.
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain_value(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(one) for one in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else _shown(value)
    return value.isoformat() if isinstance(value, date | time) else _shown(value)


def _shown(value: Any) -> str | None:
    """Return the text that a value without a kind of its own is shown as."""
    if isinstance(value, _BYTES):
        return bytes(value).decode("utf-8", "surrogateescape")
    if isinstance(value, float) and math.isnan(value):
        return None
    return format(value, "f") if isinstance(value, Decimal) and value.is_finite() else str(value)


def kind_of_value(value: Any) -> str | None:
    """Return which kind of column a plain value asks for; None where it says nothing. Long whole numbers are text."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if -LARGEST - 1 <= value <= LARGEST else "text"
    if isinstance(value, float):
        return "real"
    return "text" if isinstance(value, str) else "json"


def common_kind(one: str | None, other: str | None) -> str | None:
    """Return the kind of column that holds values of both kinds."""
    if one is None or other is None or one == other:
        return one or other
    if {one, other} == {"integer", "real"}:
        return "real"
    return "json" if "json" in {one, other} else "text"


def stored_value(value: Any, kind: str) -> Any:
    """Return a plain value as it is kept of a row whose column is of a kind: a list or an object as JSON."""
    if kind == "json" or isinstance(value, list | dict):
        return compact_json(value)
    if isinstance(value, int) and not -LARGEST - 1 <= value <= LARGEST:
        return str(value)
    return value


def compact_json(value: Any, *, sort: bool = False) -> str:
    """Return a value as JSON without blanks; where it is to be compared, with sorted names."""
    return _JSON[sort].encode(value)


def value_text(value: Any) -> str:
    """Return a cell as it is put to a model: NULL is the empty text, a truth value a word in lower case."""
    return str(value).lower() if isinstance(value, bool) else cell_words(value)
