"""Tell in SQL what a cell of text says as a JSON list, as `pipeline.tables.cells.list_of` does of one that was read."""

from typing import Any

from sqlalchemy import ColumnElement, Text, and_, cast, func, or_

from pipeline.tables.cells import JSON_SPACE, NO_LIST


def holds_no_texts(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a cell is NULL, or says that there is no list or an empty one."""
    # equalities and not IN, which cannot stand in an UPDATE of many rows; what holds a string is not nothing, seen
    # first because it is quick
    says_nothing = or_(*(_squeezed(column) == empty for empty in sorted(NO_LIST)))
    return or_(column.is_(None), and_(~cast(column, Text).like('%"%'), says_nothing))


def looks_like_no_list(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a cell does not begin and end as a list; one that does may be none all the same."""
    begins_and_ends = cast(column, Text).like("[%]")  # as nearly all do: seen before anything is trimmed
    return and_(~begins_and_ends, ~holds_no_texts(column), ~func.trim(cast(column, Text), JSON_SPACE).like("[%]"))


def _squeezed(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Return a column's text without JSON's white space."""
    squeezed: ColumnElement[str] = cast(column, Text)
    for char in JSON_SPACE:
        squeezed = func.replace(squeezed, char, "")
    return squeezed
