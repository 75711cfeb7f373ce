"""What a cell of the `experts` table says, whoever wrote it: text, a number, or a list of tags."""

import math
from typing import Any

EMPTY_TAGS = frozenset({"", "[]", "null"})  # without white space; these mean untagged


def text_of(cell: Any) -> str:
    """Return a cell's text without surrounding white space; NULL is the empty text, bytes are read as UTF-8."""
    if cell is None:
        return ""
    if isinstance(cell, bytes):
        cell = cell.decode("utf-8", "replace")
    return str(cell).strip()


def number_of(cell: Any) -> float | None:
    """Return a cell's number, or None where it holds none: a rate that is text counts only where it parses."""
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def tags_of(cell: Any) -> list[str] | None:
    """Return the tags a cell holds, the empty list where it means untagged, and None where it is no JSON list."""
    import orjson

    text = text_of(cell)
    if "".join(text.split()) in EMPTY_TAGS:
        return []
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, list):
        return None
    return [tag if isinstance(tag, str) else orjson.dumps(tag).decode() for tag in found]
