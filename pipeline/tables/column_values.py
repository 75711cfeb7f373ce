"""Find the column kinds of answer fields, and convert their JSON values to column values.

A kind is text, integer, real, decimal, boolean, date, time or json. A quotation is a text of the
row that an answer cites; it is stored as an object with its place in the row.

`find_unstorable_reason` finds values that one of the two databases could not store unchanged.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any, get_args

from pipeline.core.quotes import OPTIONAL_QUOTE_FORMAT, QUOTE_FORMAT, iterate_leaves
from pipeline.core.text import INVALID_TEXT
from pipeline.store.schema import to_utc_time
from pipeline.tables.cells import MAX_INTEGER, parse_number, to_compact_json

if TYPE_CHECKING:
    from pydantic import BaseModel
from pipeline.tables.answer_views import JSON

# Kinds by JSON schema type, and of strings by their format.
_SCHEMA_KINDS = {
    "string": "text",
    "integer": "integer",
    "number": "real",
    "boolean": "boolean",
}
_FORMAT_KINDS = {
    "date": "date",
    "date-time": "time",
    QUOTE_FORMAT: JSON,
    OPTIONAL_QUOTE_FORMAT: JSON,
}


def list_fields(answer: "type[BaseModel]") -> tuple[tuple[str, str], ...]:
    """Return (field, column kind) for each field of an answer's model, in the model's order.

    The kind is "text", "integer", "real", "decimal", "boolean", "date" or "time".
    It is "json" for lists, objects, quotations, and fields of several types. A field that may also
    be None has the kind of its other values.
    """
    schema = answer.model_json_schema(mode="serialization", by_alias=False)
    definitions = schema.get("$defs", {})
    model_schema = schema
    if "$ref" in schema:
        model_schema = definitions[schema["$ref"].rpartition("/")[2]]

    kinds: dict[str, str] = {}
    for name, model_field in answer.model_fields.items():
        kind = _find_kind_of_schema(model_schema["properties"][name], definitions)
        types = {model_field.annotation, *get_args(model_field.annotation)}
        # The JSON schema of a decimal number is a string.
        if kind == "text" and Decimal in types:
            kind = "decimal"
        kinds[name] = kind
    return tuple(kinds.items())


def _find_kind_of_schema(schema: Mapping[str, Any], definitions: Mapping[str, Any]) -> str:
    """Return the kind of a column for the values of a JSON schema, such as "text" or "integer".

    A `$ref` is followed into the definitions. Null is not counted as a kind. The kind is JSON for
    lists, objects and quotations (texts cited from the row), and if the schema allows values of
    several kinds (also int and float), only null, or names no type.
    """
    if "$ref" in schema:
        return _find_kind_of_schema(definitions[schema["$ref"].rpartition("/")[2]], definitions)

    if "anyOf" in schema:
        options = [option for option in schema["anyOf"] if option.get("type") != "null"]
        kinds = {_find_kind_of_schema(option, definitions) for option in options}
        return kinds.pop() if len(kinds) == 1 else JSON

    kind = _SCHEMA_KINDS.get(schema.get("type", ""), JSON)
    if kind != "text":
        return kind
    return _FORMAT_KINDS.get(schema.get("format", ""), kind)


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


def _to_text(value: Any) -> str:
    """Return a text unchanged, and any other value as JSON."""
    if isinstance(value, str):
        return value
    return to_compact_json(value)


def _to_decimal_text(value: Any) -> str | None:
    """Return the text of a finite decimal number with all its digits, and None for others."""
    return None if parse_number(value) is None else str(value)


def _to_boolean(value: Any) -> bool | None:
    """Return a truth value unchanged, and None for any other value."""
    return value if isinstance(value, bool) else None


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
    "text": _to_text,
    "integer": _to_integer,
    "real": parse_number,
    "decimal": _to_decimal_text,
    "boolean": _to_boolean,
    "date": lambda value: date.fromisoformat(value).isoformat(),
    "time": _to_time_text,
    JSON: to_compact_json,
}


def find_unstorable_reason(answer: "BaseModel") -> str:
    """Return why an answer cannot be stored unchanged; "" if SQLite and PostgreSQL both can.

    The reason names the first place with a lone surrogate, NUL, a whole number of more than 64
    bits, or a number that is infinite or NaN. Nested names and values are checked, too. An answer
    that cannot be turned into JSON also gets a reason; no error is raised.
    """
    try:
        for path, leaf in iterate_leaves(answer.model_dump(mode="json")):
            leaf_values = leaf.values() if isinstance(leaf, dict) else [leaf]
            reasons = map(_find_scalar_fault, [*path, *leaf_values])
            reason = next(filter(None, reasons), "")
            if reason:
                return f"{reason} in `{_format_path(path)}`"
    except UnicodeError:
        return "a text that is half a character (a lone surrogate)"
    except (ValueError, RecursionError):
        return "it is not valid JSON"
    return ""


def _format_path(path: Iterable[str | int]) -> str:
    """Return a path like `tags[0].name`, without the parts that cannot be printed."""
    printable_parts = [part for part in path if not _find_scalar_fault(part)]
    steps = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in printable_parts]
    return "".join(steps).removeprefix(".")


def _find_scalar_fault(value: Any) -> str:
    """Return why a text or number cannot be stored in both databases; "" if it can.

    Checks texts for NUL and lone surrogates, whole numbers for 64 bits, and floats for finiteness.
    All other values give "": members of lists and objects are not checked here.
    """
    if isinstance(value, str):
        match = INVALID_TEXT.search(value)
        if match is None:
            return ""
        if match[0] == "\0":
            return "a text with NUL"
        return "a text with half a character (a lone surrogate)"

    if isinstance(value, int) and not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        return "a whole number of more than 64 bits"
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that is NaN or infinite"
    return ""
