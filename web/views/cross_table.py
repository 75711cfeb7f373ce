"""Cross table: the numbers of rows by the values of two answer fields."""

import time
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse
from pydantic import Field

from pipeline.core.row_listing import FieldCount
from pipeline.engine.task import Task
from pipeline.ops import items
from pipeline.store.database import Store
from web import charts, conditions
from web.render import PageState, render_page
from web.row_query import RowQuery
from web.views.rows import COUNT_TIMEOUT_S

router = APIRouter()


class CrossQuery(RowQuery):
    """Query parameters that select rows and name two fields."""

    # The fields whose values are the rows and the columns of the table.
    down: str = Field("", max_length=200)
    across: str = Field("", max_length=200)


class CrossCell(NamedTuple):
    """The number of rows with a value in each of two fields."""

    row_count: int
    # Address of these rows.
    href: str
    shade: int


# The query parameters of a request, validated.
CrossQueryParameters = Annotated[CrossQuery, Query()]


@router.get("/parts/cross", include_in_schema=False)
def render_cross_table(app_state: PageState, query: CrossQueryParameters) -> HTMLResponse:
    """Render the table, or that counting takes longer than COUNT_TIMEOUT_S."""
    with app_state.open_to_read(query.task) as ws:
        return render_page(
            app_state,
            "parts/cross.html",
            ws,
            "rows",
            query=query,
            table=_count_cells(ws.store, ws.task, query=query),
        )


def _count_cells(store: Store, task: Task, *, query: CrossQuery) -> dict[str, Any] | None:
    """Count the rows with each pair of values of two fields; return the table of the counts.

    For each value of the field `down`, the rows with this value are counted by their values of the
    field `across`.

    Returns:
        `headings` and `rows`, see `_make_table`. The result is None if counting takes over
        COUNT_TIMEOUT_S, or if the values of one of the two fields are not counted: it does not
        exist, or no selected row has a value that can be counted.
    """
    deadline = time.monotonic() + COUNT_TIMEOUT_S
    row_filter = query.row_filter
    fields = items.count_rows(store, task, row_filter, within_s=COUNT_TIMEOUT_S).fields
    if query.down not in fields or query.across not in fields:
        return None

    counts_by_value = []
    for value in fields[query.down]:
        seconds_left = deadline - time.monotonic()
        if seconds_left <= 0:
            return None
        parts = filter(None, [row_filter.where, f"({value.condition})"])
        value_filter = row_filter._replace(where=" AND ".join(parts))
        counts = items.count_rows(store, task, value_filter, within_s=seconds_left)
        if counts.tags is None and counts.versions is None:
            return None
        across_counts = counts.fields.get(query.across, ())
        counts_by_value.append((value, {count.condition: count.items for count in across_counts}))
    return _make_table(query, task.subject, fields[query.across], counts_by_value)


def _make_table(
    query: CrossQuery,
    task: str,
    headings: Sequence[FieldCount],
    counts_by_value: Sequence[tuple[FieldCount, Mapping[str, int]]],
) -> dict[str, Any]:
    """Return the table for its template.

    If all values of the columns or of the rows are numbers, they are sorted as numbers. Each cell
    has its count, a shade by the highest count, and a link to the rows that it counts.

    Args:
        headings: The values of the field `across`, one for each column.
        counts_by_value: For each value of the field `down`, the value and its row counts. The
            counts are by the condition (`FieldCount.condition`) of a column.

    Returns:
        `headings` (the values of the columns) and `rows` (the value of each row, and its cells).
    """
    highest = max((max(counts.values(), default=0) for _, counts in counts_by_value), default=0)
    kept_choices = conditions.without_columns(query.only, [query.down, query.across])
    parameters = query.model_dump(exclude={"down", "across", "after"}, exclude_defaults=True)
    row_query = RowQuery(**parameters)

    def make_cell(value: FieldCount, heading: FieldCount, count: int) -> CrossCell:
        choices = dict.fromkeys([*kept_choices, value.condition, heading.condition])
        href = row_query.address("/", task, only=list(choices))
        return CrossCell(count, href, charts.shade_level(count, highest))

    if charts.are_numbers(heading.value for heading in headings):
        headings = sorted(headings, key=lambda heading: float(heading.value))
    if charts.are_numbers(value.value for value, _ in counts_by_value):
        counts_by_value = sorted(counts_by_value, key=lambda pair: float(pair[0].value))
    rows = [
        (
            value.value,
            [make_cell(value, heading, counts.get(heading.condition, 0)) for heading in headings],
        )
        for value, counts in counts_by_value
    ]
    return {"headings": [heading.value for heading in headings], "rows": rows}
