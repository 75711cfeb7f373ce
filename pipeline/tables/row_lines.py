"""Format a row as a line of CSV or JSON lines, and convert values to the kinds of columns."""

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.tables.cells import MAX_INTEGER, parse_number, to_prompt_text
from pipeline.tables.stored_values import is_blank_cell

_BOOLEAN_BY_TEXT = {"true": True, "false": False}


def format_line(cells: Sequence[str] | Mapping[str, Any], *, delimiter: str = ",") -> str:
    """Return a line with a line feed at its end: JSON for a mapping, CSV for a sequence.

    Each cell of CSV is quoted.

    Args:
        cells: The values by name, or the cells of a line of CSV.
        delimiter: The sign between the cells of CSV.

    Raises:
        ValueError: The mapping contains NaN or infinity.
    """
    if isinstance(cells, Mapping):
        return f"{json.dumps(dict(cells), ensure_ascii=False, allow_nan=False)}\n"

    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerow(cells)
    return file.getvalue()


def convert_value(value: Any, kind: str) -> Any:
    """Return a value as a column of this kind stores it; a blank text is None.

    - integer, real, boolean: the value, parsed from its text, such as 7 from "7".
    - text: the value as text, such as "true" for True.
    - json: the value as it is.

    Args:
        value: A value that a user gave, of any type.
        kind: "text", "integer", "real", "boolean" or "json".

    Raises:
        ValueError: The value does not fit the kind; the message says what the column contains.
    """
    if is_blank_cell(value):
        return None
    if kind == "json":
        return value
    if kind == "text":
        return to_prompt_text(value)

    text = to_prompt_text(value).strip()
    return _PARSER_BY_KIND[kind](text)


def _parse_boolean(text: str) -> bool:
    """Parse a truth value in any case; raise ValueError for another text."""
    if text.lower() not in _BOOLEAN_BY_TEXT:
        raise ValueError("the column is true or false")
    return _BOOLEAN_BY_TEXT[text.lower()]


def _parse_integer(text: str) -> int:
    """Parse a whole number as `int` does; raise ValueError for other texts or over 64 bits."""
    try:
        number = int(text)
    except ValueError:
        raise ValueError("the column has whole numbers") from None
    if not -MAX_INTEGER - 1 <= number <= MAX_INTEGER:
        raise ValueError("the column has whole numbers of at most 64 bits")
    return number


def _parse_number(text: str) -> float:
    """Parse a number; raise ValueError for another text, NaN or infinity."""
    number = parse_number(text)
    if number is None:
        raise ValueError("the column has numbers")
    return number


_PARSER_BY_KIND: Mapping[str, Callable[[str], Any]] = {
    "boolean": _parse_boolean,
    "integer": _parse_integer,
    "real": _parse_number,
}
