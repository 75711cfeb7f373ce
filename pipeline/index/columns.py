"""Say which entries pass a WHERE=: columns of their metadata, and expressions that are evaluated over them.

A column keeps each of its values once, so that a comparison is made once for each value and not for each entry. A list
holds where any of its members does. A comparison with an empty cell (nothing, "" or an empty list) is neither true nor
false, as in SQL, so that NOT does not make it true. Texts are compared without regard to case.
"""

import operator
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import InputError
from pipeline.index.where import Comparison, Expression, Negation, Operator, Scalar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

_COMPARED: Mapping[Operator, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "contains": operator.contains,
}
_NO_LETTER = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Column:
    """One column: its different values, each as its scalars, and for each entry which of them it has, int32 (n,)."""

    values: Sequence[tuple[Scalar, ...]]
    codes: "NDArray[np.int32]"


class _Truth(NamedTuple):
    """For each entry whether something is true, and whether it is false; at most one of them."""

    true: "Mask"
    false: "Mask"


def column_of(cells: Iterable[Any]) -> Column:
    """Return the column of some cells, JSON values in the order of entries."""
    import numpy as np

    places: dict[tuple[tuple[type, Scalar], ...], int] = {}
    codes = [
        places.setdefault(tuple((type(one), one) for one in _scalars(cell)), len(places)) for cell in cells
    ]  # by type, for True is 1 in Python
    values = [tuple(one for _, one in typed) for typed in places]
    return Column(values, np.array(codes, dtype=np.int32))


def column_named(name: str, known: Sequence[str]) -> str | None:
    """Return which of the columns a name means: itself, or the first that is the same in snake case."""
    if name in known:
        return name
    return next((one for one in known if _snake(one) == _snake(name)), None)


def passing(expression: Expression, columns: Mapping[str, Column]) -> "Mask":
    """Return for each entry whether it passes, bool (n,); the columns are under the names in the expression.

    Raises:
        InputError: a column holds nothing of a value's kind.
    """
    return _truth(expression, columns).true


def _truth(expression: Expression, columns: Mapping[str, Column]) -> _Truth:
    if isinstance(expression, Comparison):
        return _compared(expression, columns[expression.column])
    if isinstance(expression, Negation):
        inner = _truth(expression.inner, columns)
        return _Truth(inner.false, inner.true)
    first, *others = (_truth(part, columns) for part in expression.parts)
    for each in others:
        if expression.is_every:
            first = _Truth(first.true & each.true, first.false | each.false)
        else:
            first = _Truth(first.true | each.true, first.false & each.false)
    return first


def _compared(comparison: Comparison, column: Column) -> _Truth:
    """Return where a comparison is true and where it is false, made once for each value of the column."""
    import numpy as np

    if comparison.operator == "null":
        found: list[bool | None] = [not value for value in column.values]
    else:
        _check_kinds(comparison, column)
        wanted = [_folded(value) for value in comparison.values]
        found = [_holds(comparison.operator, value, wanted) for value in column.values]
    true = np.array([one is True for one in found], dtype=bool)
    false = np.array([one is False for one in found], dtype=bool)
    return _Truth(true[column.codes], false[column.codes])


def _holds(name: Operator, value: tuple[Scalar, ...], wanted: Sequence[Scalar]) -> bool | None:
    """Return whether any scalar of a value holds against any that is wanted; None where none can be compared."""
    compare = _COMPARED[name]
    pairs = [(_folded(one), other) for one in value for other in wanted if _kind(one) == _kind(other)]
    if not pairs:
        return None
    return any(compare(one, other) for one, other in pairs) != (name == "!=")


def _check_kinds(comparison: Comparison, column: Column) -> None:
    """Pass where the column has a value of the kind of each that it is held against, or none at all.

    Raises:
        InputError: it has others alone.
    """
    there = {_kind(one) for value in column.values for one in value}
    for value in comparison.values:
        if there and _kind(value) not in there:
            raise InputError(
                f"WHERE, character {comparison.at}: no cell of {comparison.column} is {_kind(value)}, so none can be "
                f"compared with {value!r}",
                hint="a text stands between single quotes, a number does not",
            )


def _scalars(cell: Any) -> Iterator[Scalar]:
    """Yield the texts, numbers and truths in a JSON value."""
    if isinstance(cell, list | dict):
        for one in cell.values() if isinstance(cell, dict) else cell:
            yield from _scalars(one)
    elif cell is not None and cell != "":
        yield cell


def _kind(value: Scalar) -> str:
    if isinstance(value, str):
        return "text"
    return "true or false" if isinstance(value, bool) else "a number"


def _folded(value: Scalar) -> Scalar:
    return value.casefold() if isinstance(value, str) else value


def _snake(name: str) -> str:
    """Return a name in lower case, with `_` for what is no letter or digit."""
    return _NO_LETTER.sub("_", name.casefold()).strip("_")
