"""Make of what WHERE= says the condition that a row is listed: columns of its source, fields of the answer to it.

It means what a search means by it: texts are compared without regard to case, a list holds what any of its members is,
and a comparison with an empty cell is neither true nor false. Values are bound, and nothing that was typed is SQL.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, literal, or_

from pipeline.core.declaration import column_named
from pipeline.core.errors import InputError
from pipeline.core.where import Comparison, Expression, Negation, Scalar, parse_where
from pipeline.tables.lists import forms_of, mentions, says_text

_SHOWN = 12  # columns in a message
_COMPARED: Mapping[str, Callable[[Any, Any], Any]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Condition = ColumnElement[bool]


class Cell(NamedTuple):
    """A cell that may be named: `of` gives it as text, real or boolean; `holds` says where such a condition holds.

    It `is_list` where it is the JSON of one, or of an object.
    """

    of: Callable[[str], ColumnElement[Any]]
    holds: Callable[[Condition], Condition]
    is_list: bool = False

    @property
    def text(self) -> ColumnElement[Any]:
        """Return it as a text; NULL where it holds nothing."""
        return func.nullif(func.nullif(self.of("text"), ""), "[]")


def listed_where(tx: Connection, said: str, cells: Mapping[str, Cell]) -> Condition:
    """Return the condition that is said of cells, by the names of their columns."""
    return _condition(tx, parse_where(said), cells, is_negated=False)


def mentioned(tx: Connection, cells: Sequence[Cell], word: str) -> list[Condition]:
    """Return the conditions that a word stands in each of some cells, in any case."""
    return [one.holds(mentions(tx, [one.of("text")], word)) for one in cells]


def _condition(tx: Connection, said: Expression, cells: Mapping[str, Cell], *, is_negated: bool) -> Condition:
    if isinstance(said, Negation):
        return _condition(tx, said.inner, cells, is_negated=not is_negated)
    if not isinstance(said, Comparison):
        parts = (_condition(tx, one, cells, is_negated=is_negated) for one in said.parts)
        return and_(*parts) if said.is_every != is_negated else or_(*parts)
    name = column_named(said.column, cells)
    if name is None:
        there = ", ".join(list(cells)[:_SHOWN]) + (" …" if len(cells) > _SHOWN else "")
        raise InputError(f"{said.place}: there is no column {said.column!r}", hint=f"there are {there}")
    cell = cells[name]
    if said.operator == "null":
        found = cell.holds(cell.text.is_not(None))
        return found if is_negated else ~found
    is_not = is_negated != (said.operator == "!=")
    fits = or_(*(_fits(tx, cell, said.operator, value) for value in said.values))
    return cell.holds(and_(cell.text.is_not(None), ~fits if is_not else fits))


def _fits(tx: Connection, cell: Cell, sign: str, value: Scalar) -> Condition:
    """Return the condition that a cell fits a value; `!=` is where it is not equal, which the caller says."""
    if not isinstance(value, str):
        own = cell.of("boolean" if isinstance(value, bool) else "real")
        wanted = literal(value, own.type)
        return _COMPARED[sign](own, wanted) if sign in _COMPARED else own == wanted
    if sign == "contains":
        return mentions(tx, [cell.text], value)
    if cell.is_list:
        return says_text(tx, cell.text, value)
    folded = func.lower(cell.text)
    return _COMPARED[sign](folded, value.lower()) if sign in _COMPARED else folded.in_([*forms_of(value)])
