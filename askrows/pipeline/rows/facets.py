"""Count the values in a cell of many rows, with the condition that lists the rows of each value.

A cell is a field of the answers, or another cell of WHERE=. Values are counted only if a cell has
few of them; numbers are counted by range.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import orjson

from askrows.pipeline.core.quotes import format_value_for_people
from askrows.pipeline.core.row_listing import (
    FieldCount,
)
from askrows.pipeline.rows.reflection import quote_name, quote_text
from askrows.pipeline.rows.where_sql import fold_value

# Values of a cell that are listed. Longer values are sentences, which are not listed.
MAX_VALUES = 12
_MAX_VALUE_CHARS = 30
# Cells without a value, as JSON.
_MISSING_JSON = frozenset({"null", '""'})
# Longer numbers are written with an exponent.
_MAX_NUMBER_CHARS = 15
# A text that is a number, but no code such as 007.
_NUMBER_TEXT = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?")
# A name that WHERE= accepts without quotation marks.
_PLAIN_NAME = re.compile(
    r"(?!(?:and|or|not|in|is|contains|null|true|false)$)[a-z_]\w*",
    re.IGNORECASE,
)


def is_countable_by_value(row_counts_by_json: Mapping[str | None, int]) -> bool:
    """Return whether more rows can be counted by the values of a cell.

    Up to MAX_VALUES + 1 different entries can always be counted; more only if none is an object or
    a text that is no number. Empty values do not matter.

    Args:
        row_counts_by_json: Number of rows by the cell's value as JSON; None without a value.
    """
    if len(row_counts_by_json) <= MAX_VALUES + 1:
        return True
    values = [orjson.loads(text) for text in row_counts_by_json if text]
    return not any(
        value and isinstance(value, str | dict) and parse_canonical_number(value) is None
        for value in values
    )


def list_value_or_range_counts(
    name: str, row_counts_by_json: Mapping[str | None, int], *, max_members: int = MAX_VALUES
) -> list[FieldCount]:
    """Return how many rows have each value of a cell, the commonest value first.

    - The members of a list are counted instead of the list. If a cell has lists, the `max_members`
      commonest values of at most 30 characters are returned.
    - None and "" are not counted.
    - Values that a condition does not distinguish, such as `Lid` and `lid`, are counted together,
      under the commonest spelling. Equally common values are ordered by their texts.
    - If all values are numbers, they ascend. More than 12 different numbers outside lists are
      counted in at most 12 ranges of equal width, in ascending order.

    Args:
        name: Name of the cell in WHERE=. Each count has a condition with this name, such as
            `tone = 'warm'`, that selects the rows with the value.
        row_counts_by_json: As in `is_countable_by_value`.
        max_members: The most values of a cell with lists.

    Returns:
        An empty list if a value is an object, or if the cell has no lists and either more than 12
        different texts or a text of more than 30 characters.
    """
    counted_values = [
        (orjson.loads(text), row_count)
        for text, row_count in row_counts_by_json.items()
        if text and text not in _MISSING_JSON
    ]
    # A column of numbers may have a different one in each row.
    rows_by_number = _sum_row_counts_by_number(counted_values)
    are_numbers = rows_by_number.total() == sum(row_count for _, row_count in counted_values)
    if are_numbers and len(rows_by_number) > MAX_VALUES:
        return _group_counts_into_ranges(name, rows_by_number)

    spellings_by_key: dict[str, Counter[Any]] = {}
    has_lists = False
    for value, row_count in counted_values:
        members = [value]
        if isinstance(value, list):
            has_lists = True
            members = value
        if any(isinstance(member, list | dict) for member in members):
            return []
        # A row with equal members counts once.
        members_by_key = {
            fold_value(format_value_for_people(member)): member
            for member in members
            if member not in {None, ""}
        }
        for key, member in members_by_key.items():
            spellings_by_key.setdefault(key, Counter())[member] += row_count
    # 1 equals True.
    row_counts = Counter[tuple[type, Any]]()
    for spellings in spellings_by_key.values():
        [(spelling, _)] = list_commonest(spellings.items(), 1)
        row_counts[type(spelling), spelling] = spellings.total()

    rows_by_number = _sum_row_counts_by_number(
        (spelling, row_count) for (_, spelling), row_count in row_counts.items()
    )
    are_numbers = rows_by_number.total() == row_counts.total()
    short_values = [
        (value, row_count)
        for (_, value), row_count in row_counts.items()
        if len(str(value)) <= _MAX_VALUE_CHARS
    ]
    has_long_values = len(short_values) < len(row_counts)
    if not has_lists and (has_long_values or len(row_counts) > MAX_VALUES):
        return []
    listed_values = list_commonest(short_values, max_members if has_lists else MAX_VALUES)
    if are_numbers:
        listed_values.sort(key=lambda pair: float(pair[0]))
    return [
        _make_value_count(name, value, row_count)._replace(is_number=are_numbers)
        for value, row_count in listed_values
    ]


def _sum_row_counts_by_number(counted_values: Iterable[tuple[Any, int]]) -> Counter[float]:
    """Return how many rows have each number; other values are left out."""
    rows_by_number = Counter[float]()
    for value, row_count in counted_values:
        number = parse_canonical_number(value)
        if number is not None:
            rows_by_number[number] += row_count
    return rows_by_number


def parse_canonical_number(value: Any) -> float | None:
    """Return a number, or the number in a text such as 3.5; None for others and for True or 007."""
    if isinstance(value, str) and _NUMBER_TEXT.fullmatch(value):
        return float(value) if "." in value else int(value)
    return value if type(value) in {int, float} else None


def list_commonest(row_counts: Iterable[tuple[Any, int]], limit: int) -> list[tuple[Any, int]]:
    """Return the commonest values with their counts; equally common values by their texts."""
    return sorted(row_counts, key=lambda pair: (-pair[1], str(pair[0])))[:limit]


def _group_counts_into_ranges(name: str, row_counts: Mapping[float, int]) -> list[FieldCount]:
    """Group numbers into at most 12 ranges; return how many rows each has.

    The ranges have an equal, round size, ascend, and cover all numbers. A range of whole numbers
    includes both bounds, any other range its lower bound only. Ranges without rows are left out.

    Args:
        name: Name of the cell.
        row_counts: Number of rows by number; at least one.
    """
    smallest = min(row_counts)
    largest = max(row_counts)
    step = round_up_to_1_2_or_5(Decimal(str(largest - smallest)) / (MAX_VALUES - 1))
    counts_by_index = Counter[int]()
    for value, row_count in row_counts.items():
        counts_by_index[math.floor(Decimal(str(value)) / step)] += row_count
    are_whole = all(isinstance(value, int) for value in row_counts)
    return [
        _make_range_count(
            name, index * step, (index + 1) * step, counts_by_index[index], are_whole=are_whole
        )
        for index in sorted(counts_by_index)
    ]


def round_up_to_1_2_or_5(width: Decimal) -> Decimal:
    """Return the smallest number of 1, 2 or 5 times a power of ten that is at least `width`."""
    magnitude = Decimal(1).scaleb(width.adjusted())
    steps = [factor * magnitude for factor in (1, 2, 5, 10)]
    return next(step for step in steps if step >= width)


def quote_where_name(name: str) -> str:
    """Return the name of a cell as WHERE= accepts it."""
    if _PLAIN_NAME.fullmatch(name):
        return name
    return quote_name(name)


def _make_range_count(
    name: str, low: Decimal, high: Decimal, row_count: int, *, are_whole: bool
) -> FieldCount:
    """Return the count of the numbers from `low` to below `high`.

    The range of whole numbers ends at the last number in it: 10 to 19, not 10 to 20. The count has
    the WHERE condition that selects the rows of the range.
    """
    low_text = _format_number(low)
    high_text = _format_number(high - 1 if are_whole else high)
    operator = "<=" if are_whole else "<"
    quoted_name = quote_where_name(name)
    condition = f"{quoted_name} >= {low_text} AND {quoted_name} {operator} {high_text}"
    return FieldCount(f"{low_text} to {high_text}", row_count, condition, is_number=True)


def _format_number(number: Decimal) -> str:
    shortest = number.normalize()
    text = f"{shortest:f}"
    return text if len(text) <= _MAX_NUMBER_CHARS else str(shortest)


def _make_value_count(name: str, value: Any, row_count: int) -> FieldCount:
    """Return the count of a value, with the WHERE= that selects its rows."""
    if isinstance(value, str):
        return FieldCount(value, row_count, format_where_any_equals([name], value))
    condition = f"{quote_where_name(name)} = {json.dumps(value)}"
    return FieldCount(format_value_for_people(value), row_count, condition)


def format_where_any_equals(names: Iterable[str], text: str) -> str:
    """Return the text of WHERE= that one of several cells equals a text."""
    return " OR ".join(f"{quote_where_name(name)} = {quote_text(text)}" for name in names)
