"""WHERE= selects the entries that plain Python selects, for any expression."""

import itertools
import operator
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast

import orjson
from hypothesis import given
from hypothesis import strategies as st

from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.where_parser import (
    Comparison,
    Expression,
    Junction,
    Negation,
    parse_where,
)
from askrows.pipeline.index.build_reader import Index
from askrows.pipeline.index.query import find_column_paths, find_matching_rows

TEXTS = st.sampled_from(["", "EUR", "eur", "it's", 'a "b"', "ÅR", "水", "AND", "12"])
NUMBERS = st.integers(-(2**60), 2**60) | st.integers(-3, 3) | st.floats(-4, 4)
CELLS: dict[str, st.SearchStrategy[Any]] = {
    "rate": st.none() | NUMBERS,
    "Hourly Currency": st.none() | TEXTS,
    "tags": st.lists(TEXTS, max_size=3),
}
MOODS: st.SearchStrategy[Any] = st.lists(st.lists(TEXTS, max_size=2), max_size=2)
CELLS["mood"] = TEXTS | MOODS
CELLS["price"] = st.none() | st.integers(-3, 3).map(str)
# The operands that fit a column.
KINDS = {
    "rate": NUMBERS,
    "price": st.integers(-3, 3),
    "Hourly Currency": TEXTS,
    "tags": TEXTS,
    "mood": TEXTS,
}
# Accepted spellings of column names.
NAMES = {
    "Hourly Currency": ["Hourly Currency", "hourly_currency", "HOURLY-CURRENCY"],
    "mood": ["answer.mood", "Mood"],
}
BIOS = st.lists(st.sampled_from(["rate", '"', "\\", ":", "5", ",", "[", "}"]), max_size=7).map(
    "".join
)
ROWS = st.tuples(st.fixed_dictionaries(CELLS), BIOS)
OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "contains": operator.contains,
}


def comparisons(expression: Expression) -> Iterator[Comparison]:
    """Yield the comparisons of an expression in their order."""
    if isinstance(expression, Comparison):
        yield expression
    elif isinstance(expression, Negation):
        yield from comparisons(expression.negated)
    else:
        for part in expression.parts:
            yield from comparisons(part)


@st.composite
def draw_comparison(draw: st.DrawFn) -> Comparison:
    """Draw a comparison that the columns permit."""
    name = draw(st.sampled_from(sorted(KINDS)))
    sign = draw(st.sampled_from([*OPERATORS, "null"]))
    if sign == "null":
        return Comparison(name, "null")
    if sign == "contains" and name in {"rate", "price"}:
        sign = "="
    values = draw(st.lists(KINDS[name], min_size=1, max_size=3 if sign == "=" else 1))
    return Comparison(name, sign, tuple(values))  # type: ignore[arg-type]


EXPRESSIONS = st.recursive(
    draw_comparison(),
    lambda inner: (
        inner.map(Negation)
        | st.builds(Junction, st.booleans(), st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=8,
)


def format_expression(expression: Expression, spellings: random.Random) -> str:
    """Return an expression as a user types it."""
    if isinstance(expression, Negation):
        return f"not ({format_expression(expression.negated, spellings)})"
    if isinstance(expression, Junction):
        word = " AND " if expression.requires_all else " or "
        return word.join(f"({format_expression(part, spellings)})" for part in expression.parts)

    column = spellings.choice(NAMES.get(expression.column, [expression.column]))
    if expression.operator == "null":
        return f"{column} IS NULL"
    literals = [
        f"'{literal.replace(chr(39), chr(39) * 2)}'" if isinstance(literal, str) else repr(literal)
        for literal in expression.values
    ]
    if len(literals) > 1:
        return f'"{column}" in ({", ".join(literals)})'
    return f"{column} {expression.operator} {literals[0]}"


def evaluate(expression: Expression, row: dict[str, Any]) -> bool | None:
    """Return an expression's value in plain Python: None if a cell is empty, also under NOT."""
    if isinstance(expression, Negation):
        negated = evaluate(expression.negated, row)
        return None if negated is None else not negated
    if isinstance(expression, Junction):
        outcomes = [evaluate(part, row) for part in expression.parts]
        if (not expression.requires_all) in outcomes:
            return not expression.requires_all
        return None if None in outcomes else expression.requires_all

    cell = row[expression.column]
    cell = int(cell) if expression.column == "price" and cell else cell
    members = [member for member in flatten(cell) if member not in (None, "")]
    if expression.operator == "null":
        return not members
    if not members:
        return None
    quantifier = all if expression.operator == "!=" else any
    compare = OPERATORS[expression.operator]
    pairs = itertools.product(members, expression.values)
    return quantifier(compare(fold_case(member), fold_case(operand)) for member, operand in pairs)


def flatten(cell: Any) -> list[Any]:
    """Return the members of a list and of its inner lists; another cell is its only member."""
    if not isinstance(cell, list):
        return [cell]
    members: list[Any] = []
    for inner in cell:
        members += flatten(inner)
    return members


def fold_case(cell: Any) -> Any:
    """Return a text without its case."""
    return cell.casefold() if isinstance(cell, str) else cell


@given(expression=EXPRESSIONS, rows=st.lists(ROWS, max_size=12), spellings=st.randoms())
def test_an_expression_selects_the_rows_that_python_selects(
    expression: Expression, rows: list[tuple[dict[str, Any], str]], spellings: random.Random
) -> None:
    """A typed expression is parsed as meant, and selects the rows that plain Python selects."""
    parsed = parse_where(format_expression(expression, spellings))
    for parsed_comparison, drawn_comparison in zip(
        comparisons(parsed), comparisons(expression), strict=True
    ):
        assert parsed_comparison.operator == drawn_comparison.operator
        assert parsed_comparison.values == drawn_comparison.values

    stored = [
        {"id": 1, **row, "Bio": bio, "answer": {"mood": row["mood"], "Bio": None}}
        for row, bio in rows
    ]
    # The mood is only inside the answer.
    for row in stored:
        del row["mood"]
    columns = find_column_paths(
        {"rate": 1, "price": "1", "Hourly Currency": "x", "tags": [], "answer": {"mood": "x"}}
    )

    with closing(sqlite3.connect(":memory:")) as entries:
        entries.execute("CREATE TABLE entries (row, metadata)")
        documents = [orjson.dumps(row).decode() for row in stored]
        entries.executemany("INSERT INTO entries VALUES (?, ?)", enumerate(documents))
        entries.execute("CREATE TABLE extra_cells (row, cells)")
        index = cast(Index, SimpleNamespace(entries=entries, read_extra_column_names=list))
        matching_rows = [*find_matching_rows(index, parsed, columns, {})]
    assert matching_rows == [
        index for index, (row, _) in enumerate(rows) if evaluate(expression, row) is True
    ]


@given(text=st.text(st.sampled_from("ab <>=!()'\",.0129-NOTANDORIN\u2019\n水"), max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """An invalid expression is refused with a position in it; no other error is raised."""
    try:
        parse_where(text)
    except InputError as error:
        position = int(error.message.partition("at character ")[2].partition(":")[0])
        assert 1 <= position <= len(text) + 1
