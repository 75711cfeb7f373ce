"""Take an answer apart into its values, each with its path: for a person who reads it, and to compare two of them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

_QUOTE = {"quote", "start", "end"}
LIKENESS = "likeness"  # of a quotation that was found by likeness alone
Path = tuple[str | int, ...]  # names of fields, and places in lists from 0


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield (path, value) of every value, in the order of the answer; a quotation with its place is one value.

    An empty list or object is a value of its own.
    """
    inside: list[tuple[str | int, Any]] = []
    if isinstance(value, Mapping) and not is_quotation(value):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    if not inside:
        yield path, value
    for name, one in inside:
        yield from leaves(one, (*path, name))


def is_quotation(value: Any) -> bool:
    """Return whether a value is a quotation with the place at which it stands."""
    return isinstance(value, Mapping) and value.keys() >= _QUOTE and isinstance(value["quote"], str)


def is_stored_quotation(value: Any) -> bool:
    """Return whether a value is what is stored of a quotation, and nothing beside."""
    return isinstance(value, Mapping) and value.keys() - {LIKENESS} == _QUOTE


def likeness_told(quotation: Mapping[str, Any]) -> str:
    """Return how a quotation was found, to be put behind its place: ", by likeness 0.93", or nothing."""
    found = quotation.get(LIKENESS)
    return f", by likeness {found:.2f}" if isinstance(found, float) else ""


def shown_value(value: Any) -> str:
    """Return a value as a person reads it: a quotation between its marks, with its place."""
    if is_quotation(value):
        return f"“{value['quote']}” ({value['start']}-{value['end']}{likeness_told(value)})"
    if value is None:
        return "-"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
