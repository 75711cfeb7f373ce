"""What a cell of a table says, whichever program wrote it."""

import json
import math
from typing import Any

import orjson

JSON_SPACE = " \t\r\n"
NO_LIST = frozenset({"", "[]", "null"})  # without JSON's white space; these say that there is none

_NO_SPACE = dict.fromkeys(map(ord, JSON_SPACE))


def cell_words(cell: Any) -> str:
    """Return a cell as text: NULL is the empty text, bytes are read as UTF-8."""
    if isinstance(cell, str):
        return cell
    if cell is None:
        return ""
    return cell.decode("utf-8", "replace") if isinstance(cell, bytes) else str(cell)


def loaded(cell: Any) -> Any:
    """Return what a JSON cell holds, on either database; text that is not JSON is that text."""
    if not isinstance(cell, str | bytes):
        return cell
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def text_of(cell: Any) -> str:
    """Return a cell's text without surrounding white space; NULL is the empty text, bytes are read as UTF-8."""
    if cell.__class__ is str:
        return str.strip(cell)
    return cell_words(cell).strip()


def number_of(cell: Any) -> float | None:
    """Return a cell's number, or None where it holds none: a rate that is text counts only where it parses."""
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def list_of(cell: Any) -> list[str] | None:
    """Return the texts of the JSON list in a cell, the empty list for none, and None where it is no list."""
    if cell is None:
        return []
    text = cell_words(cell)
    if not text.startswith('["') and text.translate(_NO_SPACE) in NO_LIST:
        return []
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, list):
        return None
    if set(map(type, found)) == {str}:
        return found
    return [one if isinstance(one, str) else orjson.dumps(one).decode() for one in found]
