"""WHERE= says of every entry what plain Python says of it, however an expression is made and written."""

import operator
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import InputError
from pipeline.core.where_parser import Comparison, Expression, Junction, Negation, parse_where
from pipeline.index.query import find_column_paths, find_matching_rows
from tests.unit.index.toy import comparisons

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
KINDS = {
    "rate": NUMBERS,
    "price": st.integers(-3, 3),
    "Hourly Currency": TEXTS,
    "tags": TEXTS,
    "mood": TEXTS,
}
NAMES = {
    "Hourly Currency": ["Hourly Currency", "hourly_currency", "HOURLY-CURRENCY"],
    "mood": ["answer.mood", "Mood"],
}
BIOS = st.lists(st.sampled_from(["rate", '"', "\\", ":", "5", ",", "[", "}"]), max_size=7).map(
    "".join
)
ROWS = st.tuples(st.fixed_dictionaries(CELLS), BIOS)
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
    name = draw(st.sampled_from(sorted(KINDS)))
    sign = draw(st.sampled_from([*PLAIN, "null"]))
    if sign == "null":
        return Comparison(name, "null")
    if sign == "contains" and name in {"rate", "price"}:
        sign = "="
    values = draw(st.lists(KINDS[name], min_size=1, max_size=3 if sign == "=" else 1))
    return Comparison(name, sign, tuple(values))  # type: ignore[arg-type]


EXPRESSIONS = st.recursive(
    compared(),
    lambda inner: (
        inner.map(Negation)
        | st.builds(Junction, st.booleans(), st.lists(inner, min_size=2, max_size=3).map(tuple))
    ),
    max_leaves=8,
)


def written(one: Expression, spellings: random.Random) -> str:
    """Return an expression as it is typed."""
    if isinstance(one, Negation):
        return f"not ({written(one.negated, spellings)})"
    if isinstance(one, Junction):
        return (" AND " if one.requires_all else " or ").join(
            f"({written(part, spellings)})" for part in one.parts
        )
    column = spellings.choice(NAMES.get(one.column, [one.column]))
    if one.operator == "null":
        return f"{column} IS NULL"
    values = [
        f"'{one.replace(chr(39), chr(39) * 2)}'" if isinstance(one, str) else repr(one)
        for one in one.values
    ]
    if len(values) > 1:
        return f'"{column}" in ({", ".join(values)})'
    return f"{column} {one.operator} {values[0]}"


def plainly(one: Expression, row: dict[str, Any]) -> bool | None:
    """Return what plain Python says of an expression: None where a cell is empty, which NOT does not turn."""
    if isinstance(one, Negation):
        inner = plainly(one.negated, row)
        return None if inner is None else not inner
    if isinstance(one, Junction):
        found = [plainly(part, row) for part in one.parts]
        return (
            (not one.requires_all)
            if (not one.requires_all) in found
            else None
            if None in found
            else one.requires_all
        )
    cell = row[one.column]
    cell = int(cell) if one.column == "price" and cell else cell
    members = [each for each in flat(cell) if each not in (None, "")]
    if one.operator == "null":
        return not members
    if not members:
        return None
    asked = all if one.operator == "!=" else any
    return asked(
        PLAIN[one.operator](folded(each), folded(value)) for each in members for value in one.values
    )


def flat(cell: Any) -> list[Any]:
    """Return the members of a list, of lists in it, too; of anything else itself."""
    return [inner for one in cell for inner in flat(one)] if isinstance(cell, list) else [cell]


def folded(value: Any) -> Any:
    """Return a text without its case."""
    return value.casefold() if isinstance(value, str) else value


@given(expression=EXPRESSIONS, rows=st.lists(ROWS, max_size=12), spellings=st.randoms())
def test_an_expression_is_what_plain_python_says(
    expression: Expression, rows: list[tuple[dict[str, Any], str]], spellings: random.Random
) -> None:
    """It is read as it was meant, and the entries that pass are those that plain Python lets pass."""
    read = parse_where(written(expression, spellings))
    for one, other in zip(comparisons(read), comparisons(expression), strict=True):
        assert (one.operator, one.values) == (other.operator, other.values)
    stored = [
        {"id": 1, **row, "Bio": bio, "answer": {"mood": row["mood"], "Bio": None}}
        for row, bio in rows
    ]
    for row in stored:
        del row["mood"]
    columns = find_column_paths(
        {"rate": 1, "price": "1", "Hourly Currency": "x", "tags": [], "answer": {"mood": "x"}}
    )
    with closing(sqlite3.connect(":memory:")) as entries:
        entries.execute("CREATE TABLE entries (row, metadata)")
        documents = [orjson.dumps(one).decode() for one in stored]
        entries.executemany("INSERT INTO entries VALUES (?, ?)", enumerate(documents))
        found = [*find_matching_rows(entries, read, columns)]
    assert found == [
        index for index, (row, _) in enumerate(rows) if plainly(expression, row) is True
    ]


@given(text=st.text(st.sampled_from("ab <>=!()'\",.0129-NOTANDORIN\u2019\n水"), max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    """What is no expression is refused with a position in it; nothing else is raised."""
    try:
        parse_where(text)
    except InputError as error:
        at = int(error.message.partition("at character ")[2].partition(":")[0])
        assert 1 <= at <= len(text) + 1
