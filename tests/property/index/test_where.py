"""WHERE= says of every entry what plain Python says of it, however an expression is made and written."""

import operator
from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.index.columns import column_of, passing
from pipeline.index.where import Comparison, Expression, Junction, Negation, comparisons, parse_where

TEXTS = st.sampled_from(["", "EUR", "eur", "it's", 'a "b"', "ÅR", "水", "AND", "12"])
NUMBERS = st.integers(-(2**60), 2**60) | st.integers(-3, 3) | st.floats(-4, 4)
CELLS = {"rate": st.none() | NUMBERS, "Hourly Currency": st.none() | TEXTS, "tags": st.lists(TEXTS, max_size=3)}
KINDS = {"rate": NUMBERS, "Hourly Currency": TEXTS, "tags": TEXTS}
PLAIN: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "contains": operator.contains,
}


@st.composite
def compared(draw: st.DrawFn) -> Comparison:
    """Return one comparison that the columns allow."""
    name = draw(st.sampled_from(sorted(CELLS)))
    sign = draw(st.sampled_from([*PLAIN, "null"]))
    if sign == "null":
        return Comparison(name, "null")
    if sign == "contains" and name == "rate":
        sign = "="
    values = draw(st.lists(KINDS[name], min_size=1, max_size=3 if sign == "=" else 1))
    return Comparison(name, sign, tuple(values))  # type: ignore[arg-type]


EXPRESSIONS = st.recursive(
    compared(),
    lambda inner: (
        inner.map(Negation) | st.builds(Junction, st.booleans(), st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=8,
)


def written(one: Expression) -> str:
    """Return an expression as it is typed."""
    if isinstance(one, Negation):
        return f"not ({written(one.inner)})"
    if isinstance(one, Junction):
        return (" AND " if one.is_every else " or ").join(f"({written(part)})" for part in one.parts)
    if one.operator == "null":
        return f"{one.column} IS NULL"
    values = [f"'{one.replace(chr(39), chr(39) * 2)}'" if isinstance(one, str) else repr(one) for one in one.values]
    if len(values) > 1:
        return f'"{one.column}" in ({", ".join(values)})'
    return f"{one.column} {one.operator} {values[0]}"


def plainly(one: Expression, row: dict[str, Any]) -> bool | None:
    """Return what plain Python says of an expression: None where a cell is empty, which NOT does not turn."""
    if isinstance(one, Negation):
        inner = plainly(one.inner, row)
        return None if inner is None else not inner
    if isinstance(one, Junction):
        found = [plainly(part, row) for part in one.parts]
        return (not one.is_every) if (not one.is_every) in found else None if None in found else one.is_every
    cell = row[one.column]
    members = [each for each in (cell if isinstance(cell, list) else [cell]) if each not in (None, "")]
    if one.operator == "null":
        return not members
    if not members:
        return None
    asked = all if one.operator == "!=" else any
    return asked(PLAIN[one.operator](folded(each), folded(value)) for each in members for value in one.values)


def folded(value: Any) -> Any:
    """Return a text without its case."""
    return value.casefold() if isinstance(value, str) else value


@given(expression=EXPRESSIONS, rows=st.lists(st.fixed_dictionaries(CELLS), max_size=12))
def test_an_expression_is_what_plain_python_says(expression: Expression, rows: list[dict[str, Any]]) -> None:
    """It is read as it was meant, and the entries that pass are those that plain Python lets pass."""
    read = parse_where(written(expression))
    for one, other in zip(comparisons(read), comparisons(expression), strict=True):
        assert (one.column, one.operator, one.values) == (other.column, other.operator, other.values)
    given_cells = {"rate": 1, "Hourly Currency": "x", "tags": ["x"]}  # each column holds what it is held against
    rows = [*rows, given_cells]
    columns = {name: column_of(row[name] for row in rows) for name in CELLS}
    assert passing(read, columns).tolist() == [plainly(expression, row) is True for row in rows]


@given(text=st.text(st.sampled_from("ab <>=!()'\",.0129-NOTANDORIN\u2019\n水"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """What is no expression is refused with a position in it; nothing else is raised."""
    try:
        parse_where(text)
    except InputError as error:
        at = int(error.message.partition("at character ")[2].partition(":")[0])
        assert 1 <= at <= len(text) + 1
