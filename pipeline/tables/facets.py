"""Count and filter rows by facets: versions, texts in answers, and field values.

A facet is a property by which a list of rows can be narrowed, shown with the number of rows. A
`GridFacet` splits a cell of the row into words, such as its tags. Field values are counted only if
a field has few of them. WHERE= is the text filter that a user writes, such as `age >= 30`.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from decimal import Decimal
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
)

from pipeline.core.quotes import is_quotation, to_display_value
from pipeline.core.row_listing import (
    FieldCount,
)
from pipeline.store import answers
from pipeline.store.schema import answers as answers_table
from pipeline.tables.reflection import quote_name, quote_text
from pipeline.tables.text_match import contains_json_text

# Values of a field that are listed. Longer values are sentences, which are not listed.
_MAX_FIELD_VALUES = 12
_MAX_FIELD_VALUE_CHARS = 30
_COUNTABLE_TYPES = frozenset({str, int, float, bool, type(None)})
_NUMBER_TYPES = frozenset({int, float, type(None)})
_CONTAINER_TYPES = frozenset({list, dict})
# Longer numbers are written with an exponent.
_MAX_NUMBER_CHARS = 15
# A name that WHERE= accepts without quotation marks.
_PLAIN_NAME = re.compile(
    r"(?!(?:and|or|not|in|is|contains|null|true|false)$)[a-z_]\w*",
    re.IGNORECASE,
)


class GridFacet(NamedTuple):
    """Words by which rows are counted and filtered, such as tags."""

    # Expression for the cell with the words of a row, on its table or on its preferred answer.
    cell: ColumnElement[Any]
    # Returns the different words in a cell.
    split_words: Callable[[Any], Iterable[str]]
    # Returns the condition that a row has a word.
    match_word: Callable[[str], ColumnElement[bool]]


class FieldTally:
    """Counts of the values of an answer field, or of the texts in its lists.

    Only short values are counted. A field that is no list must have few of them, or numbers, which
    are counted by range.
    """

    def __init__(self) -> None:
        """Begin without values."""
        # Number of rows by type and value, because 1 equals True.
        self.row_counts = Counter[tuple[type, Any]]()
        self.has_lists = False
        self.is_countable = True
        self.has_only_numbers = True

    def add(self, values: Sequence[Any]) -> None:
        """Count the values of more rows, except None and "".

        If a value is a list, its members are counted instead. `is_countable` becomes False for good
        in three cases:

        - A value is an object, or a list contains anything but texts.
        - The values of one call contain both a list and anything else than lists and None.
        - The field has no lists, and more than 12 different values, of which not all are numbers.

        Args:
            values: The field's value in each answer; None if the answer lacks it.
        """
        if not self.is_countable:
            return
        types = {*map(type, values)}
        self.has_lists |= list in types
        if self.has_lists and types <= {list, type(None)}:
            values = [*chain.from_iterable(value or () for value in values)]
            types = {*map(type, values)}

        countable_types = _COUNTABLE_TYPES
        if self.has_lists:
            countable_types = frozenset({str})
        self.is_countable = types <= countable_types
        if self.is_countable:
            self.row_counts.update(zip(map(type, values), values, strict=True))
            for empty_value in (None, ""):
                self.row_counts.pop((type(empty_value), empty_value), None)
            self.has_only_numbers &= types <= _NUMBER_TYPES
            is_limited = self.has_lists or self.has_only_numbers
            self.is_countable = is_limited or len(self.row_counts) <= _MAX_FIELD_VALUES

    def list_counts(self, name: str) -> list[FieldCount]:
        """Return the counts of the 12 commonest values, the commonest first.

        Equally common values are ordered by their texts. Members of lists with more than 30
        characters are left out. If a field without lists has more than 12 different numbers, they
        are counted in at most 12 ranges of equal width, in ascending order.

        Args:
            name: Name of the field. Each count has a WHERE= text with this name, such as
                `tone = 'warm'`, that selects the rows with the value.

        Returns:
            An empty list if the values are not countable, or if the field has no lists and any of
            its values has more than 30 characters.
        """
        is_numeric = self.has_only_numbers and not self.has_lists
        if self.is_countable and is_numeric and len(self.row_counts) > _MAX_FIELD_VALUES:
            return self._group_into_ranges(_quote_name(name))

        short_values = [
            (value, row_count)
            for (_, value), row_count in self.row_counts.items()
            if len(str(value)) <= _MAX_FIELD_VALUE_CHARS
        ]
        has_long_values = len(short_values) < len(self.row_counts)
        if not self.is_countable or (has_long_values and not self.has_lists):
            return []

        name = _quote_name(name)
        short_values.sort(key=lambda pair: (-pair[1], str(pair[0])))
        return [
            _make_field_count(name, value, row_count)
            for value, row_count in short_values[:_MAX_FIELD_VALUES]
        ]

    def _group_into_ranges(self, name: str) -> list[FieldCount]:
        """Group the counted numbers (`row_counts`) into ranges; return how many rows each has.

        There are at most 12 ranges. They have an equal, round size, ascend, and cover all numbers.
        A range includes its lower bound, but not its upper bound. Ranges without rows are included.
        `row_counts` must have at least one number. Reads no database.

        Args:
            name: Name of the field, quoted for WHERE=.
        """
        row_counts = [(value, count) for (_, value), count in self.row_counts.items()]
        smallest = min(value for value, _ in row_counts)
        largest = max(value for value, _ in row_counts)
        step = round_up_step(Decimal(str(largest - smallest)) / (_MAX_FIELD_VALUES - 1))
        first_index = math.floor(Decimal(str(smallest)) / step)
        last_index = math.floor(Decimal(str(largest)) / step)

        counts_by_index = Counter[int]()
        for value, row_count in row_counts:
            counts_by_index[math.floor(Decimal(str(value)) / step)] += row_count
        return [
            _make_range_count(name, index * step, (index + 1) * step, counts_by_index[index])
            for index in range(first_index, last_index + 1)
        ]


def round_up_step(width: Decimal) -> Decimal:
    """Return the smallest number of 1, 2 or 5 times a power of ten that is at least `width`."""
    magnitude = Decimal(1).scaleb(width.adjusted())
    steps = [factor * magnitude for factor in (1, 2, 5, 10)]
    return next(step for step in steps if step >= width)


def _quote_name(name: str) -> str:
    """Return a field name as WHERE= accepts it."""
    if _PLAIN_NAME.fullmatch(name):
        return name
    return quote_name(name)


def _make_range_count(name: str, low: Decimal, high: Decimal, row_count: int) -> FieldCount:
    """Return the count of the numbers from `low` to below `high`."""
    low_text = _format_number(low)
    high_text = _format_number(high)
    condition = f"{name} >= {low_text} AND {name} < {high_text}"
    return FieldCount(f"{low_text} to {high_text}", row_count, condition, is_range=True)


def _format_number(number: Decimal) -> str:
    shortest = number.normalize()
    text = f"{shortest:f}"
    return text if len(text) <= _MAX_NUMBER_CHARS else str(shortest)


def _make_field_count(name: str, value: Any, row_count: int) -> FieldCount:
    """Return the count of a field's value, with the WHERE= that selects its rows."""
    if isinstance(value, str):
        return FieldCount(value, row_count, f"{name} = {quote_text(value)}")
    return FieldCount(to_display_value(value), row_count, f"{name} = {json.dumps(value)}")


# The facet of the versions of the preferred answers.
VERSION_FACET = GridFacet(
    cell=answers_table.c.extractor,
    split_words=lambda version: {version} - {None},
    match_word=partial(answers.has_version, answers_table.c.extractor),
)


def tag_facet(tx: Connection) -> GridFacet:
    """Return the facet of the texts in all lists of the preferred answers.

    Args:
        tx: A connection to the database that will run the queries.
    """
    return GridFacet(
        cell=answers_table.c.answer,
        split_words=_find_list_texts,
        match_word=partial(contains_json_text, tx, answers_table.c.answer),
    )


def _find_list_texts(answer: Any) -> set[str]:
    """Return the texts that are members of lists in a parsed answer, at any depth.

    Names, texts outside lists and quotations are left out.
    """
    texts = set[str]()
    containers = [answer]
    for container in containers:
        members = container
        if type(container) is list:
            texts.update(member for member in container if type(member) is str)
        elif "quote" in container and is_quotation(container):
            continue
        else:
            members = container.values()
        containers += [member for member in members if type(member) in _CONTAINER_TYPES]
    return texts
