"""A row of a task with its state, cells and preferred answer, and the columns that show its values.

All lists, exports and indexes read such rows. A column can be named by FIELDS=, SORT= and WHERE=.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson
from sqlalchemy import ColumnElement

from pipeline.store.answers import PreferredAnswer
from pipeline.store.confidences import decode_confidences
from pipeline.tables.where_sql import JsonCell


@dataclass(eq=False)
class ViewRow:
    """A row as a query of the view returned it."""

    id: str
    state: str
    # Why the row is refused, unusable, parked or stale; None for other states.
    reason: str | None
    # The preferred answer, or that of a requested version.
    answer: PreferredAnswer | None
    # Results of the expressions that the view reads, by name.
    cells: Mapping[str, Any]
    # The plain values of the row's own columns, by name.
    values: Mapping[str, Any]

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """Return the fields of the answer; empty without an answer."""
        if self.answer is None:
            return {}
        fields: dict[str, Any] = orjson.loads(self.answer.answer)
        return fields

    @cached_property
    def probabilities(self) -> Mapping[str, float]:
        """Return the confidences of the answer by field."""
        confidences = decode_confidences(self.answer and self.answer.confidences)
        return {field: member.probability for field, member in confidences.items()}


@dataclass(frozen=True, eq=False)
class ViewColumn:
    """A column of the view."""

    # Returns the value of a row: a JSON value.
    read: Callable[[ViewRow], Any]
    kind: str = "text"
    # What WHERE= compares, or None if it cannot name the column.
    cell: JsonCell | None = None
    # Expressions that rows can be sorted by, which are never NULL; none if they cannot.
    sort_keys: Sequence[ColumnElement[Any]] = ()
