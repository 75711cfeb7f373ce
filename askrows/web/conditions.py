"""Combine the conditions of chosen facet values: any value of a field, and all fields."""

from collections.abc import Iterable, Sequence

from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.where_parser import (
    Comparison,
    Expression,
    Junction,
    iterate_comparisons,
    parse_where,
)
from askrows.web.render import to_text

# The display texts of conditions on a column, by their operators.
CONDITION_FORMS = {
    ("=",): "{}",
    (">=",): "from {}",
    ("<=",): "up to {}",
    (">=", "<="): "{} to {}",
    # The end of a range that is counted belongs to the next range.
    (">=", "<"): "{} to {}",
}


def find_condition_column(condition: str) -> str | None:
    """Return the column of a condition; None if it has several columns or is invalid."""
    try:
        columns = {comparison.column for comparison in iterate_comparisons(parse_where(condition))}
    except InputError:
        return None
    return columns.pop() if len(columns) == 1 else None


def join_by_column(conditions: Iterable[str]) -> dict[str, str]:
    """Join the conditions on the same column by OR; return the joined conditions by column.

    A condition on several columns, or an invalid condition, is not joined, and is its own key. The
    results have the order of their first conditions. Duplicates are left out.
    """
    groups: dict[str, list[str]] = {}
    for condition in dict.fromkeys(conditions):
        groups.setdefault(find_condition_column(condition) or condition, []).append(condition)
    return {column: " OR ".join(f"({text})" for text in texts) for column, texts in groups.items()}


def describe_condition(condition: str) -> str:
    """Return the display text of the condition of a chosen facet value or range.

    "tone = 'mixed'" becomes "tone: mixed", "price >= 10 AND price < 20" becomes "price: 10 to 20",
    and "price >= 10" becomes "price: from 10". Any other or invalid condition is returned
    unchanged.
    """
    column = find_condition_column(condition)
    if column is None:
        return condition

    expression = parse_where(condition)
    parts: Sequence[Expression] = [expression]
    if isinstance(expression, Junction) and expression.requires_all:
        parts = expression.parts
    comparisons = [part for part in parts if isinstance(part, Comparison)]
    form = CONDITION_FORMS.get(tuple(comparison.operator for comparison in comparisons))
    if form is None or len(comparisons) < len(parts):
        return condition
    values = [to_text(list(comparison.values)) for comparison in comparisons]
    return f"{column.replace('_', ' ')}: {form.format(*values)}"
