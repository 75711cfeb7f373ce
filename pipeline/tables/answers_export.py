"""Write answers to a file, each beside its row and with typed columns, or a row for each member of a list.

All that is written is read in the caller's transaction, by the key, at flat memory.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from sqlalchemy import Connection, Select, Text, cast, collate

from pipeline.core.errors import InputError
from pipeline.store.answers import is_shown
from pipeline.store.database import PAGE, streamed
from pipeline.store.tables import answers
from pipeline.tables.cells import loaded
from pipeline.tables.reflect import is_sqlite
from pipeline.tables.view import AnswersSpec, ShownAnswers

COSTS = {"tokens_in": "integer", "tokens_out": "integer", "cost": "real"}  # what an answer took, and the kinds of it
PREFIX = "findable_"  # of such a column where the answers or their rows have one of its name


@dataclass(frozen=True)
class AnswersExport:
    """What to write of a task: the answers of one extractor, each beside its row.

    `sources` are the kinds of the rows' columns. With `field` each member of that list is a row, and with `cost` what
    the whole answer took stands in each.
    """

    spec: AnswersSpec
    sources: Mapping[str, str]
    extractor: str
    field: str | None = None
    cost: bool = False

    def rows(self, tx: Connection) -> tuple[Iterator[dict[str, Any]], dict[str, str]]:
        """Return the rows by the names of their columns, and the kinds of these.

        Raises:
            InputError: there is no such list.
        """
        shown = ShownAnswers(tx, self.spec, self.sources)
        kinds = shown.kinds
        for name in (one for one, kind in kinds.items() if kind == "json"):
            shown.columns[name] = cast(shown.columns[name].element, Text).label(name)
        query = shown.query(is_shown(self.spec.task, each=True), answers.c.extractor == self.extractor)
        by_bytes = [
            one if kind == "integer" or is_sqlite(tx) else collate(one, "C")
            for one, kind in ((shown.columns[name].element, kind) for name, kind in self.spec.key)
        ]
        query = query.order_by(*by_bytes)
        if self.cost:
            query = query.add_columns(*(answers.c[name] for name in COSTS))
            kinds |= {f"{PREFIX}{name}" if _is_in(name, kinds) else name: kind for name, kind in COSTS.items()}
        if self.field is None:
            return _read(tx, query, kinds), kinds
        return self._exploded(tx, query, kinds, self.field)

    def _exploded(
        self, tx: Connection, query: Select[Any], kinds: Mapping[str, str], field: str
    ) -> tuple[Iterator[dict[str, Any]], dict[str, str]]:
        """Return a row for each member of a list, whose columns stand in the place of the list's."""
        lists = [name for name, kind in self.spec.fields if kind == "json"]
        if field not in lists:
            raise InputError(
                f"ROWS={field} names no list of these answers; nothing was written",
                hint=f"lists may be {', '.join(lists)}" if lists else "they have none",
            )
        found = MemberColumns()
        for row in _read(tx, query, kinds):
            for member in members_of(row[field], field):
                found.see(member)
        before, members = list(kinds), found.kinds()
        others = {name: kind for name, kind in kinds.items() if name != field}
        named = {name: f"{field}_{name}" if _is_in(name, others) else name for name in members}
        place = before.index(field)
        whole = {name: kinds[name] for name in before[:place]}
        whole |= {named[name]: kind for name, kind in members.items()}
        whole |= {name: kinds[name] for name in before[place + 1 :]}
        rows = (
            {name: parts.get(name) for name in whole}
            for row in _read(tx, query, kinds)
            for member in members_of(row[field], field)
            for parts in [row | {field: None} | {named[name]: value for name, value in member.items() if name in named}]
        )
        return rows, whole


def _read(tx: Connection, query: Select[Any], kinds: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a SELECT, as JSON has values; but times and dates are themselves."""
    for row in streamed(tx, query, page=PAGE):
        yield {name: _value(cell, kind) for (name, kind), cell in zip(kinds.items(), row, strict=True)}


def _value(cell: Any, kind: str) -> Any:
    if cell is None:
        return None
    if kind == "json":
        return loaded(cell)
    if kind == "date":
        return date.fromisoformat(str(cell))
    return cell


def _is_in(name: str, names: Iterable[str]) -> bool:
    return name.casefold() in {one.casefold() for one in names}


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
