"""Say where in a JSON text something stands, by line and column, for messages about it."""

import json
import re
from typing import NamedTuple

_SPACE = re.compile(r"[ \t\r\n]*")


class ElementPlaces(NamedTuple):
    """Where one element of a list, or the document itself, begins, and where the value of each of its names does."""

    start: int
    values: dict[str, int]


def line_and_column(text: str, at: int) -> str:
    """Return `line 3, column 5` of a character, both counted from 1."""
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


def places_of_bytes(data: bytes, error: UnicodeDecodeError) -> str:
    """Return the line and column of the first byte that is no UTF-8."""
    before = data[: error.start].decode("utf-8", "replace")
    return line_and_column(before, len(before))


def element_places(text: str) -> list[ElementPlaces]:
    """Return the place of each element of a JSON list, or of the one document that is none; the text is valid JSON."""
    at = _after_space(text, 0)
    if text[at : at + 1] != "[":
        return [ElementPlaces(at, _value_places(text, at))]
    found: list[ElementPlaces] = []
    at = _after_space(text, at + 1)
    while text[at : at + 1] not in {"]", ""}:
        found.append(ElementPlaces(at, _value_places(text, at)))
        _, end = _DECODER.raw_decode(text, at)
        at = _after_sign(text, end)
    return found


_DECODER = json.JSONDecoder()


def _value_places(text: str, start: int) -> dict[str, int]:
    """Return where the value of each name of an object stands; nothing where it is no object."""
    found: dict[str, int] = {}
    if text[start : start + 1] != "{":
        return found
    at = _after_space(text, start + 1)
    while text[at : at + 1] == '"':
        name, end = _DECODER.raw_decode(text, at)
        value = _after_sign(text, end)
        found[name] = value
        _, end = _DECODER.raw_decode(text, value)
        at = _after_sign(text, end)
    return found


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _after_sign(text: str, at: int) -> int:
    """Return where the next value begins: behind white space, one comma or colon, and white space."""
    at = _after_space(text, at)
    return _after_space(text, at + 1) if text[at : at + 1] in {",", ":"} else at
