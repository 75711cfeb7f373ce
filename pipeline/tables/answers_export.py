"""The answers of one extractor as rows of a file, each beside its row, or a row for each member of a list.

All that is written is read in the caller's transaction, by the key, at flat memory.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

from sqlalchemy import Connection, Select, Text, cast, collate

from pipeline.core.errors import InputError
from pipeline.store.answers import is_shown
from pipeline.store.database import PAGE, streamed
from pipeline.store.schema import answers
from pipeline.tables.cells import loaded
from pipeline.tables.reflect import is_sqlite
from pipeline.tables.view import AnswersSpec, ShownAnswers

COSTS = {"tokens_in": "integer", "tokens_out": "integer", "cost": "real"}  # what an answer took, and the kinds of it
PREFIX = "findable_"  # of such a column where the answers or their rows have one of its name
_KINDS: Mapping[type, str] = {bool: "boolean", int: "integer", float: "real", str: "text"}
Rows = tuple[Iterator[dict[str, Any]], dict[str, str]]  # by the names of their columns, and the kinds of these


def answers_rows(
    tx: Connection,
    spec: AnswersSpec,
    sources: Mapping[str, str],
    *,
    extractor: str,
    field: str | None = None,
    cost: bool = False,
) -> Rows:
    """Return the rows to be written, and the kinds of their columns; `sources` are those of the items' columns.

    With `field` each member of that list is a row, and with `cost` what the whole answer took stands in each.
    """
    shown = ShownAnswers(tx, spec, sources)
    kinds = shown.kinds
    for name in (one for one, kind in kinds.items() if kind == "json"):
        shown.columns[name] = cast(shown.columns[name].element, Text).label(name)
    by_bytes = [
        one if kind == "integer" or is_sqlite(tx) else collate(one, "C")
        for one, kind in ((shown.columns[name].element, kind) for name, kind in spec.key)
    ]
    query = shown.query(is_shown(spec.task, each=True), answers.c.extractor == extractor).order_by(*by_bytes)
    if cost:
        query = query.add_columns(*(answers.c[name] for name in COSTS))
        kinds |= {f"{PREFIX}{name}" if _is_in(name, kinds) else name: kind for name, kind in COSTS.items()}
    if field is None:
        return _read(tx, query, kinds), kinds
    lists = [name for name, kind in spec.fields if kind == "json"]
    if field not in lists:
        raise InputError(
            f"ROWS={field} names no list of these answers; nothing was written",
            hint=f"lists may be {', '.join(lists)}" if lists else "they have none",
        )
    return _exploded(tx, query, kinds, field)


def _exploded(tx: Connection, query: Select[Any], kinds: Mapping[str, str], field: str) -> Rows:
    """Return a row for each member of a list; the columns of the members stand in the place of the list's."""
    seen: dict[str, set[str]] = {}
    for row in _read(tx, query, kinds):
        for name, value in (pair for member in _members(row[field], field) for pair in member.items()):
            seen.setdefault(name, set()).update([] if value is None else [_KINDS.get(type(value), "json")])
    columns = {name: _common(some) for name, some in seen.items() if some or not _has_parts(name, seen)}
    others = [name for name in kinds if name != field]
    named = {name: f"{field}_{name}" if _is_in(name, others) else name for name in columns}
    whole: dict[str, str] = {}
    for name, kind in kinds.items():
        whole |= {named[one]: columns[one] for one in columns} if name == field else {name: kind}

    def rows() -> Iterator[dict[str, Any]]:
        for row in _read(tx, query, kinds):
            for member in _members(row.pop(field), field):
                own = {named[name]: value for name, value in member.items() if name in named}
                yield dict.fromkeys(whole) | row | own

    return rows(), whole


def _read(tx: Connection, query: Select[Any], kinds: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a SELECT, as JSON has values; but times and dates are themselves."""
    for row in streamed(tx, query, page=PAGE):
        yield {name: _value(cell, kind) for (name, kind), cell in zip(kinds.items(), row, strict=True)}


def _value(cell: Any, kind: str) -> Any:
    if kind == "json":
        return loaded(cell)
    return date.fromisoformat(str(cell)) if kind == "date" and cell is not None else cell


def _members(members: Any, field: str) -> Iterator[dict[str, Any]]:
    """Yield the members of a list by the names of their columns; of none there are none."""
    if members is not None and not isinstance(members, list):
        raise InputError(f"ROWS={field}: an answer has no list there; nothing was written", hint="export without ROWS=")
    for one in members or ():
        yield dict(_spread(one if isinstance(one, dict) else {field: one}))


def _spread(document: Mapping[str, Any], prefix: str = "", own: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value of an object, those of objects in it by both names."""
    for name, value in document.items():
        full = prefix if name == own else f"{prefix}_{name}" if prefix else name
        if isinstance(value, dict) and value:
            yield from _spread(value, full, name)
        else:
            yield full, value


def _is_in(name: str, names: Iterable[str]) -> bool:
    return name.casefold() in {one.casefold() for one in names}


def _has_parts(name: str, names: Iterable[str]) -> bool:
    """Return whether an object, missing wherever else it could stand, is told by its parts."""
    return any(other.startswith(f"{name}_") for other in names)


def _common(kinds: set[str]) -> str:
    if kinds == {"integer", "real"}:
        return "real"
    return "json" if len(kinds) > 1 else next(iter(kinds), "text")
