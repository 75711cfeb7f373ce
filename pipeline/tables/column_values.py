"""Convert the JSON values of answer fields to column values.

A kind is text, integer, real, decimal, boolean, date, time or json. A quotation is a text of the
row that an answer cites; it is stored as an object with its place in the row.

`find_unstorable_reason` finds values that one of the two databases could not store unchanged.
"""

import math
from collections.abc import Callable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

from pipeline.core.quotes import iterate_leaves
from pipeline.core.text import INVALID_TEXT
from pipeline.store.schema import to_utc_time
from pipeline.tables.cells import MAX_INTEGER, parse_number, to_compact_json

if TYPE_CHECKING:
    from pydantic import BaseModel
from pipeline.tables.answer_views import JSON


def to_column_value(kind: str, value: Any) -> Any:
    """Convert the JSON value of a field to a column value that both database drivers accept.

    A text column accepts every value; lists, objects, numbers and truth values become JSON text.

    Returns:
        None if the value is None, cannot be converted to the column's kind, or is a whole number of
        more than 64 bits.
    """
    if value is None:
        return None
    try:
        return _CELL_CONVERTERS[kind](value)
    except (TypeError, ValueError, OverflowError):
        return None


def _to_integer(value: Any) -> int | None:
    """Return a whole number of at most 64 bits as int, else None."""
    is_integral = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not is_integral or not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        return None
    return int(value)


def _to_time_text(value: Any) -> str | None:
    """Return a time as UTC text, such as `2024-05-01 10:00:00.000000+00:00`, or None for others.

    Both databases sort such texts by time.
    """
    time = to_utc_time(value)
    if time is None:
        return None
    return time.isoformat(" ", "microseconds")


_CELL_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "text": lambda value: value if isinstance(value, str) else to_compact_json(value),
    "integer": _to_integer,
    "real": parse_number,
    # The text has all digits of a finite number.
    "decimal": lambda value: None if parse_number(value) is None else str(value),
    "boolean": lambda value: value if isinstance(value, bool) else None,
    "date": lambda value: date.fromisoformat(value).isoformat(),
    "time": _to_time_text,
    JSON: to_compact_json,
}


def find_unstorable_reason(answer: "BaseModel") -> str:
    """Return why an answer cannot be stored unchanged; "" if SQLite and PostgreSQL both can.

    The reason is the first text with a lone surrogate or NUL, or the first number of more than 64
    bits or that is infinite or NaN. Nested names and values are checked, too. An answer that cannot
    be turned into JSON also gets a reason; no error is raised.
    """
    try:
        for path, leaf in iterate_leaves(answer.model_dump(mode="json")):
            leaf_values = leaf.values() if isinstance(leaf, dict) else [leaf]
            reasons = map(_find_scalar_fault, [*path, *leaf_values])
            reason = next(filter(None, reasons), "")
            if reason:
                return reason
    except (ValueError, RecursionError):
        return "it is not valid JSON"
    return ""


def _find_scalar_fault(value: Any) -> str:
    """Return why a text or number cannot be stored in both databases; "" if it can.

    All other values give "": members of lists and objects are not checked here.
    """
    if isinstance(value, str) and INVALID_TEXT.search(value):
        return "a text with NUL or half a character"

    is_long = isinstance(value, int) and not -MAX_INTEGER - 1 <= value <= MAX_INTEGER
    is_infinite = isinstance(value, float) and not math.isfinite(value)
    if is_long or is_infinite:
        return "a number that is NaN, infinite or of more than 64 bits"
    return ""
