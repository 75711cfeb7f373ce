"""Take an answer apart into its values, each with its path: for a person who reads it, and to compare two of them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

_QUOTE = {"quote", "start", "end"}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, value) of every value, in the order of the answer; a quotation with its place is one value.

    A path is like `aspects.0.verdict`; an empty list or object is a value of its own.
    """
    inside = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    parts = [] if is_quotation(value) else list(inside)
    if not parts:
        yield path, value
    for name, one in parts:
        yield from leaves(one, f"{path}.{name}" if path else str(name))


def is_quotation(value: Any) -> bool:
    """Return whether a value is a quotation with the place at which it stands."""
    return isinstance(value, Mapping) and value.keys() >= _QUOTE and isinstance(value["quote"], str)


def shown_value(value: Any) -> str:
    """Return a value as a person reads it: a quotation between its marks, with its place."""
    if is_quotation(value):
        return f"“{value['quote']}” ({value['start']}-{value['end']})"
    return value if isinstance(value, str) else "-" if value is None else json.dumps(value, ensure_ascii=False)
