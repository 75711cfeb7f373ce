"""Say which entries pass a WHERE=: columns of their metadata, and expressions that are evaluated over them.

A comparison is made once for each different text or number of a column, and not for each entry. A list holds where any
of its members does. A comparison with an empty cell (nothing, "" or an empty list) is neither true nor false, as in
SQL, so that NOT does not make it true. Texts are compared without regard to case.
"""

import operator
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.where import Comparison, Expression, Negation, Operator, Scalar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.index.metadata import MetadataColumns

    Mask = NDArray[np.bool_]

_COMPARED: Mapping[Operator, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "contains": operator.contains,
}
_NO_LETTER = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Column:
    """One column: its different scalars, the cells that are made of them, and for each entry which cell it has."""

    scalars: Sequence[Scalar]
    members: "NDArray[np.int64]"  # which scalars the cells have, one cell after another
    ends: "NDArray[np.int64]"  # (cells + 1,), where in `members` each cell begins and ends
    cells: "NDArray[np.int64]"  # (entries,)


class _Truth(NamedTuple):
    """For each entry whether something is true, and whether it is false; at most one of them."""

    true: "Mask"
    false: "Mask"


class _Places(dict[Any, int]):
    """Scalars by their keys, in the order in which they were met."""

    def __missing__(self, key: Any) -> int:
        self[key] = len(self)
        return self[key]


def _key(scalar: Scalar) -> Any:
    return scalar if isinstance(scalar, str) else (type(scalar), scalar)


def column_of(cells: Sequence[Any], entries: Sequence[int] | None = None) -> Column:
    """Return the column of some cells, JSON values; of `entries`, which cell each has, or of one entry for each."""
    import numpy as np

    places = _Places()
    members, ends = list[int](), [0]
    for cell in cells:
        is_flat = isinstance(cell, list) and set(map(type, cell)) == {str} and "" not in cell  # as nearly all are
        members += map(places.__getitem__, cell if is_flat else map(_key, _scalars(cell)))
        ends.append(len(members))
    which = np.arange(len(cells)) if entries is None else np.array(entries, dtype=np.int64)
    return Column(
        [one[1] if isinstance(one, tuple) else one for one in places],
        np.array(members, dtype=np.int64),
        np.array(ends, dtype=np.int64),
        which,
    )


def column_named(name: str, known: Sequence[str]) -> str | None:
    """Return which of the columns a name means: itself, or the first that is the same in snake case.

    A column inside of another one, as `answer.mood`, is meant by its own name, too.
    """
    if name in known:
        return name
    wanted, inner = _snake(name), [one.rpartition(".")[2] for one in known]
    return next(
        (
            one
            for one, other in [*zip(known, known, strict=True), *zip(known, inner, strict=True)]
            if _snake(other) == wanted
        ),
        None,
    )


def passing(expression: Expression, columns: "MetadataColumns") -> "Mask":
    """Return for each entry whether it passes, bool (n,).

    Raises:
        InputError: there is no such column, or it holds nothing of a value's kind.
    """
    return _truth(expression, columns).true


def _truth(expression: Expression, columns: "MetadataColumns") -> _Truth:
    if isinstance(expression, Comparison):
        return _compared(expression, columns.meant(expression))
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
    """Return where a comparison is true and where it is false; both are false where a cell holds nothing of its kind.

    Of a list, != holds where it holds of every member.
    """
    if comparison.operator == "null":
        is_there = _any(column, [True] * len(column.scalars))
        return _Truth(~is_there, is_there)
    _check_kinds(comparison, column)
    wanted = [(_kind(value), _folded(value)) for value in comparison.values]
    found = [_holds(comparison.operator, _kind(one), _folded(one), wanted) for one in column.scalars]
    true, false = _any(column, [one is True for one in found]), _any(column, [one is False for one in found])
    return _Truth(true & ~false, false) if comparison.operator == "!=" else _Truth(true, false & ~true)


def _holds(name: Operator, kind: str, scalar: Scalar, wanted: Sequence[tuple[str, Scalar]]) -> bool | None:
    """Return whether a scalar of a cell fits any that is wanted; None where none is of its kind."""
    found = [_COMPARED[name](scalar, other) for other_kind, other in wanted if other_kind == kind]
    return any(found) if found else None


def _any(column: Column, holds: Sequence[bool]) -> "Mask":
    import numpy as np

    until = np.concatenate([[0], np.cumsum(np.array(holds, dtype=bool)[column.members])])
    found: Mask = (until[column.ends[1:]] > until[column.ends[:-1]])[column.cells]
    return found


def _check_kinds(comparison: Comparison, column: Column) -> None:
    """Pass where the column has a scalar of the kind of each value that it is held against, or none at all."""
    there = set(map(_kind, column.scalars))
    for value in comparison.values:
        if there and _kind(value) not in there:
            raise InputError(
                f"{comparison.place}: no cell of {comparison.column} is {_kind(value)}, so none can be "
                f"compared with {value!r}",
                hint="a text stands between single quotes, a number does not",
            )


def _scalars(cell: Any) -> Iterator[Scalar]:
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
    return _NO_LETTER.sub("_", name.casefold()).strip("_")
