"""Combine the conditions of chosen facet values: any value of a field, and all fields."""

from collections.abc import Iterable

from pipeline.core.errors import InputError
from pipeline.core.where_parser import Comparison, Junction, iterate_comparisons, parse_where


def find_column(condition: str) -> str | None:
    """Return the column of a condition; None if it has several columns or is invalid."""
    try:
        columns = {comparison.column for comparison in iterate_comparisons(parse_where(condition))}
    except InputError:
        return None
    return columns.pop() if len(columns) == 1 else None


def join_chosen(conditions: Iterable[str]) -> dict[str, str]:
    """Join the conditions on the same column by OR; return the joined conditions by column.

    A condition on several columns, or an invalid condition, is not joined, and is its own key. The
    results have the order of their first conditions. Duplicates are left out.
    """
    groups: dict[str, list[str]] = {}
    for condition in dict.fromkeys(conditions):
        groups.setdefault(find_column(condition) or condition, []).append(condition)
    return {column: " OR ".join(f"({text})" for text in texts) for column, texts in groups.items()}


def describe_condition(condition: str) -> str:
    """Return the display text of the condition of a chosen facet value.

    "tone = 'mixed'" becomes "tone: mixed", and "price >= 10 AND price < 20" becomes "price: 10 to
    20". Any other or invalid condition is returned unchanged.
    """
    try:
        expression = parse_where(condition)
    except InputError:
        return condition

    if isinstance(expression, Comparison) and expression.operator == "=":
        values = ", ".join(
            str(value).lower() if isinstance(value, bool) else f"{value}"
            for value in expression.values
        )
        return f"{_to_label(expression.column)}: {values}"

    column = find_column(condition)
    if isinstance(expression, Junction) and expression.requires_all and column is not None:
        bounds = [part for part in expression.parts if isinstance(part, Comparison)]
        if [part.operator for part in bounds] == [">=", "<"]:
            low, high = (part.values[0] for part in bounds)
            return f"{_to_label(column)}: {low} to {high}"
    return condition


def _to_label(column: str) -> str:
    return column.replace("_", " ")
