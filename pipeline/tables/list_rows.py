"""Make a row of each member of a list: a member's fields are columns, and what is nested in these has both names.

`quote: {start: 3}` is a column `quote_start`; a field that is called as what it stands in has that one name. Columns
and their kinds are found by seeing every member once, so that no declaration need be there.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from pipeline.core.errors import InputError
from pipeline.tables.cells import loaded

_KINDS: Mapping[type, str] = {bool: "boolean", int: "integer", float: "real", str: "text"}
JSON, NULL = "json", ""


def members_of(cell: Any, field: str) -> Iterator[dict[str, Any]]:
    """Yield the members of a list by the names of their columns; of none there are none.

    Raises:
        InputError: it is no list.
    """
    members = loaded(cell)
    if members is not None and not isinstance(members, list):
        raise InputError(f"ROWS={field}: an answer has no list there; nothing was written", hint="export without ROWS=")
    for one in members or ():
        found: dict[str, Any] = {}
        _spread(found, one if isinstance(one, dict) else {field: one}, prefix="", own="")
        yield found


def _spread(found: dict[str, Any], document: Mapping[str, Any], *, prefix: str, own: str) -> None:
    """Put every value of an object into `found`, those of objects in it by both names."""
    for name, value in document.items():
        full = f"{prefix}_{name}" if prefix else name
        if name == own:
            full = prefix
        if isinstance(value, dict) and value:
            _spread(found, value, prefix=full, own=name)
        else:
            found[full] = value


class MemberColumns:
    """The columns of the members of lists, in the order in which they were first seen."""

    def __init__(self) -> None:
        """Begin with none."""
        self._seen: defaultdict[str, set[str]] = defaultdict(set)

    def see(self, member: Mapping[str, Any]) -> None:
        """Take the columns of one member in."""
        for name, value in member.items():
            self._seen[name].add(NULL if value is None else _KINDS.get(type(value), JSON))

    def kinds(self) -> dict[str, str]:
        """Return the kind of each column; an object that is missing everywhere else is no column of its own."""
        seen = {name: kinds - {NULL} for name, kinds in self._seen.items()}
        return {name: _one_of(kinds) for name, kinds in seen.items() if kinds or not _has_parts(name, seen)}


def _has_parts(name: str, names: Mapping[str, set[str]]) -> bool:
    return any(other.startswith(f"{name}_") for other in names)


def _one_of(kinds: set[str]) -> str:
    if len(kinds) < 2:  # noqa: PLR2004 - one or none
        return next(iter(kinds), "text")
    return "real" if kinds == {"integer", "real"} else JSON
