"""Columns of the table of rows: which are displayed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from askrows.pipeline.rows.facets import (
    format_where_any_equals,
    parse_canonical_number,
    quote_where_name,
)

EMPTY_VALUES: tuple[Any, ...] = (None, "", [], {})
# Characters of a text in the example of a condition.
MAX_EXAMPLE_CHARS = 20


class ColumnMenuEntry(NamedTuple):
    """A column in the menu of columns."""

    name: str
    is_displayed: bool
    # Shows a hidden column or hides a displayed column.
    href: str


def list_empty_columns(
    names: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    kept_name: str,
) -> list[str]:
    """Return the columns that have no value in any of some rows, to hide them.

    The first column is never returned. If there are no rows, the result is empty.

    Args:
        names: The columns, in their order.
        rows: Rows with `values` by column name.
        kept_name: Another column that is never returned; "" for none.
    """
    if not rows:
        return []
    return [
        name
        for name in names[1:]
        if name != kept_name and all(row["values"].get(name) in EMPTY_VALUES for row in rows)
    ]


def has_only_numbers(name: str, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether all values of a column are numbers, also as texts; False without a value."""
    values = [row["values"].get(name) for row in rows]
    filled_values = [value for value in values if value not in EMPTY_VALUES]
    return bool(filled_values) and all(
        parse_canonical_number(value) is not None for value in filled_values
    )


def make_condition_example(names: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the example of a condition for a column of the first row; "" if no column fits.

    It is "column > number" or "column = 'text'", for the first column with a whole number or with a
    text of at most MAX_EXAMPLE_CHARS characters.

    Args:
        names: The columns, in their order. The first names the rows, and is left out.
        rows: Rows with `values` by column name.
    """
    if not rows:
        return ""
    first_values = rows[0]["values"]
    for name in names[1:]:
        value = first_values.get(name)
        if str(value).isdecimal():
            return f"{quote_where_name(name)} > {value}"
        if isinstance(value, str) and 0 < len(value) <= MAX_EXAMPLE_CHARS:
            return format_where_any_equals([name], value)
    return ""


def make_column_menu(
    names: Sequence[str],
    displayed_names: Sequence[str],
    make_address: Callable[[Sequence[str]], str],
) -> list[ColumnMenuEntry]:
    """Return the menu of columns, with the addresses that show or hide each of them.

    The displayed columns keep the order of all columns. The only displayed column is left out,
    because it cannot be hidden.

    Args:
        names: Names of all columns, in order.
        displayed_names: Names of the displayed columns.
        make_address: Returns the address of the table with the columns of some names.
    """
    entries = []
    for name in names:
        is_displayed = name in displayed_names
        new_names = [other for other in names if (other in displayed_names) is not (other == name)]
        if new_names:
            entries.append(ColumnMenuEntry(name, is_displayed, make_address(new_names)))
    return entries
