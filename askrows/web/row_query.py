"""The query parameters that select and display a task's rows.

The conditions of chosen facet values are joined: any value of a field, and all fields.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Annotated, Literal
from urllib.parse import urlencode

from fastapi import Query
from pydantic import BaseModel, Field

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.row_listing import RowFilter, RowListOptions
from askrows.pipeline.core.where_parser import (
    Comparison,
    Expression,
    Junction,
    iterate_comparisons,
    parse_where,
)
from askrows.web.render import to_text

# Parameters that change the display of the rows but not their selection.
DISPLAY_PARAMETERS = ("sort", "fields")
TextList = Annotated[list[str], Field(max_length=100)]


# The display texts of conditions on a column, by their operators.
CONDITION_FORMS = {
    ("=",): "{}",
    (">=",): "from {}",
    ("<=",): "up to {}",
    (">=", "<="): "{} to {}",
    # The end of a range that is counted belongs to the next range.
    (">=", "<"): "{} to {}",
}


class RowQuery(BaseModel):
    """Query parameters that select rows, named as the options of the command `items`."""

    task: str | None = None
    find: str = Field("", max_length=4_000)
    state: str = Field("", max_length=100)
    tag: TextList = []
    answer_version: str = Field("", max_length=200)
    where: str = Field("", max_length=4_000)
    # Conditions of clicked facet values, each in the syntax of `where`.
    only: TextList = []
    id: Annotated[list[str], Field(max_length=500)] = []
    # Whether the answer is doubtful.
    doubtful: Literal["", "yes", "no"] = ""
    # Whether a person corrected or reviewed the answer.
    checked: Literal["", "yes", "no"] = ""
    # Two versions whose answers differ.
    differ: Annotated[list[str], Field(max_length=2)] = []
    sort: str = Field("", max_length=200)
    # Column names; a text may contain several with commas.
    fields: TextList = []
    # The row that the page begins after.
    after: str = Field("", max_length=4_000)

    @property
    def row_filter(self) -> RowFilter:
        """Return the filter that selects the rows."""
        return RowFilter(
            words=self.find.split(),
            state=self.state or None,
            tags=list(dict.fromkeys(filter(None, self.tag))),
            answer_version=self.answer_version or None,
            where=self.where.strip(),
            choices=join_by_column(filter(None, self.only)),
            ids=self.id,
            is_doubtful={"yes": True, "no": False}.get(self.doubtful),
            is_checked={"yes": True, "no": False}.get(self.checked),
            differing_versions=self.differ if len(self.differ) > 1 else (),
        )

    def make_list_options(self, *, limit: int = 1, within_s: float | None = None) -> RowListOptions:
        """Return the options of the list of the selected rows, without columns."""
        return RowListOptions(
            limit,
            self.row_filter,
            self.after or None,
            sort=self.sort or None,
            fields=(),
            within_s=within_s,
        )

    @property
    def field_names(self) -> list[str] | None:
        """Return the columns to display, or None for the usual columns."""
        names = map(str.strip, ",".join(self.fields).split(","))
        return list(dict.fromkeys(filter(None, names))) or None

    @cached_property
    def pairs(self) -> list[tuple[str, str]]:
        """Return the parameters that are set, as (name, text), without `task` and `after`.

        A parameter with several values has a pair for each. Parameters of a subclass are left out.
        """
        names = set(RowQuery.model_fields) - {"task", "after"}
        parameters = self.model_dump(include=names, exclude_defaults=True)
        pairs = []
        for name, parameter in parameters.items():
            values = parameter if isinstance(parameter, list) else [parameter]
            pairs += [(name, str(value)) for value in values if value not in ("", None)]
        return pairs

    @property
    def filter_pairs(self) -> list[tuple[str, str]]:
        """Return the parameters that filter rows, as (name, text) pairs."""
        return [(name, text) for name, text in self.pairs if name not in DISPLAY_PARAMETERS]

    @property
    def is_draw(self) -> bool:
        """Return whether the list is that of the rows to check, for the quality page."""
        return self.filter_pairs == [("checked", "no")]

    def address(self, path: str, task: str, **replaced: Sequence[str]) -> str:
        """Return an address with the same parameters except `replaced`; () removes a parameter."""
        pairs = [("task", task)]
        pairs += [(name, text) for name, text in self.pairs if name not in replaced]
        for name, texts in replaced.items():
            pairs += [(name, text) for text in texts]
        return f"{path}?{urlencode(pairs)}"

    def position_address(self, path: str, task: str) -> str:
        """Return an address with the same parameters and the same position."""
        return self.address(path, task, after=list(filter(None, [self.after])))


# The query parameters of a request, validated.
RowQueryParameters = Annotated[RowQuery, Query()]


def make_row_names_for_addresses(run: Run, row_ids: Sequence[str]) -> dict[str, str]:
    """Return the names of rows in addresses, by id: the value of `file_key=`, else the id.

    A refused row is named by its id, because its value may be that of another row. So are all rows
    of a table that cannot have refused rows.
    """
    keys = {row_id: row_id for row_id in row_ids}
    file_key = run.task.record.file_key
    with run.workspace.store.read() as tx:
        table = run.task.rows
        if file_key and table.is_refused is not None:
            sound_ids = table.filter_ids(tx, row_ids, ~table.is_refused)
            rows = run.task.read_rows(tx, list(sound_ids))
            keys |= {row_id: str(row[file_key] or row_id) for row_id, row in rows.items()}
    return keys


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
