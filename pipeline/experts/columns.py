"""Read the columns of a person: their names in a file's header, and what a cell of the table says.

A header is matched by folded names, so that `First Name`, `first_name`, `FIRST-NAME` and `firstname` are one column;
`aliases` has the other names. A cell holds text, a number, or a list of tags, whichever program wrote it.
"""

import math
from typing import Any

import orjson

from pipeline.tables.cells import cell_words
from pipeline.tables.names import fold

JSON_SPACE = " \t\r\n"
EMPTY_TAGS = frozenset({"", "[]", "null"})  # without JSON's white space; these mean untagged

_NO_SPACE = dict.fromkeys(map(ord, JSON_SPACE))


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


def tags_of(cell: Any) -> list[str] | None:
    """Return the tags a cell holds, the empty list where it means untagged, and None where it is no JSON list."""
    if cell is None:
        return []
    text = cell_words(cell)
    if not text.startswith('["') and text.translate(_NO_SPACE) in EMPTY_TAGS:
        return []
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, list):
        return None
    if set(map(type, found)) == {str}:
        return found
    return [tag if isinstance(tag, str) else orjson.dumps(tag).decode() for tag in found]


def has_tags(cell: Any) -> bool:
    """Return whether a cell holds a JSON list with a tag in it, whatever the tags are."""
    if cell.__class__ is str and cell.startswith('["'):
        try:
            return bool(orjson.loads(cell))
        except orjson.JSONDecodeError:
            return False
    return bool(tags_of(cell))


USERNAME = "username"

# table column -> header, in the order of the product's CSV header
HEADERS: dict[str, str] = {
    USERNAME: "Username",
    "first_name": "First Name",
    "last_name": "Last Name",
    "job_title": "Job Title",
    "company": "Company",
    "bio": "Bio",
    "hourly_rate": "Hourly Rate",
    "currency": "Currency",
    "profile_url": "Profile URL",
    "profile_url_utm": "Profile URL with UTM",
    "category": "category",
}

_BY_FOLDED = {fold(name): column for pair in HEADERS.items() for column in (pair[0],) for name in pair}


def column_of(name: str) -> str | None:
    """Return the table column that a header's name stands for; None for a column that is not ours."""
    return _BY_FOLDED.get(fold(name))


def expected() -> str:
    """Return the header a file should have, for messages."""
    return ", ".join(HEADERS.values())
