"""Rows page: the rows of a task with their answers, filtered and sorted, page by page."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import PurePath
from typing import Annotated, Any, Literal, NamedTuple
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, BeforeValidator, Field
from starlette.responses import Response

from pipeline.core.row_listing import FieldCount, RowCounts, RowFilter
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_parts import ExportOptions
from pipeline.engine.user_rows import UNUSABLE_REASON_COLUMN
from pipeline.images.table_names import TASK as IMAGES_TASK
from pipeline.images.task import render_thumbnail
from pipeline.ops import export, items
from pipeline.passages.show import QuotedPassage, read_quoted_passage
from pipeline.tables.answer_views import EXTRACTOR
from pipeline.tables.row_table import REFUSED_STATE
from web import charts, columns, conditions
from web.app_state import AppState
from web.render import Mark, get_app_state, render_page, state_label, version_label
from web.views.command_api import ROWS_CHANGED_EVENT

router = APIRouter()

PASSAGES_TASK = "passages"
# Rows of one page; passages are displayed in full, so a page has fewer.
PAGE_ROWS = 50
PAGE_PASSAGES = 12
# Pieces of an export, such as lines of CSV, in a chunk of the response.
EXPORT_PIECES = 500
EXPORT_MEDIA_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "jsonl": "application/jsonl",
}
# Formats that the page offers, with their labels; the first has the button.
EXPORT_LABELS = {"csv": "CSV", "xlsx": "Excel (.xlsx)", "jsonl": "JSON lines"}
# Time limits for counting values, which are loaded after the rows, and for sorting by a column
# without an index: a page waits for the rows.
COUNT_TIMEOUT_S = 3.0
SORT_TIMEOUT_S = 10.0
# Values of a facet before its "more" link.
MAX_FACET_VALUES = 8
# Characters of a passage without quotations.
MAX_PASSAGE_CHARS = 400
# Display names of columns and facets. Others are displayed with spaces for underscores.
COLUMN_LABELS = {
    "findability_score": "score",
    "job_title": "title",
    "versions": "version",
    "states": "state",
}
# Filters by review, with their labels.
REVIEW_LABELS = {"yes": "reviewed", "no": "not reviewed"}
# Parameters that change the display of the rows but not their selection.
DISPLAY_PARAMETERS = ("sort", "fields", "pin")
TextList = Annotated[list[str], Field(max_length=100)]
Score = Annotated[
    float | None,
    BeforeValidator(lambda text: text or None),
    Field(ge=0, le=100, allow_inf_nan=False),
]


class RowQuery(BaseModel):
    """Query parameters that select rows, named as the options of the command `items`."""

    task: str | None = None
    find: str = Field("", max_length=4_000)
    state: str = Field("", max_length=100)
    tag: TextList = []
    extractor: str = Field("", max_length=200)
    min_score: Score = None
    max_score: Score = None
    where: str = Field("", max_length=4_000)
    # Conditions of clicked facet values, each in the syntax of `where`.
    only: TextList = []
    id: Annotated[list[str], Field(max_length=500)] = []
    # Whether a person reviewed the answer.
    reviewed: Literal["", "yes", "no"] = ""
    # Two versions whose answers differ.
    differ: Annotated[list[str], Field(max_length=2)] = []
    sort: str = Field("", max_length=200)
    # Column names; a text may contain several with commas.
    fields: TextList = []
    # The column that stays in place while the table scrolls; it comes first.
    pin: str = Field("", max_length=200)
    # The row that the page begins after.
    after: str = Field("", max_length=4_000)

    @property
    def row_filter(self) -> RowFilter:
        """The rows to select."""
        parts = filter(None, [self.where.strip(), *conditions.join_chosen(self.only)])
        return RowFilter(
            words=self.find.split(),
            state=self.state or None,
            tags=list(dict.fromkeys(filter(None, self.tag))),
            extractor=self.extractor or None,
            min_score=self.min_score,
            max_score=self.max_score,
            where=" AND ".join(f"({part})" for part in dict.fromkeys(parts)),
            ids=self.id,
            is_reviewed={"yes": True, "no": False}.get(self.reviewed),
            differing_versions=self.differ if len(self.differ) > 1 else (),
        )

    @property
    def field_names(self) -> list[str] | None:
        """The columns to display, or None for the usual columns."""
        names = map(str.strip, ",".join(self.fields).split(","))
        return list(dict.fromkeys(filter(None, names))) or None

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """The parameters that are set, as (name, text) pairs, without the task and the position."""
        names = set(RowQuery.model_fields) - {"task", "after"}
        parameters = self.model_dump(include=names, exclude_defaults=True)
        pairs = []
        for name, parameter in parameters.items():
            values = parameter if isinstance(parameter, list) else [parameter]
            pairs += [(name, str(value)) for value in values if value not in ("", None)]
        return pairs

    @property
    def filter_pairs(self) -> list[tuple[str, str]]:
        """The parameters that filter rows, as (name, text) pairs."""
        return [(name, text) for name, text in self.pairs if name not in DISPLAY_PARAMETERS]

    def address(self, path: str, task: str, **replaced: Sequence[str]) -> str:
        """Return an address with the same parameters except `replaced`; () removes a parameter."""
        pairs = [("task", task)]
        pairs += [(name, text) for name, text in self.pairs if name not in replaced]
        for name, texts in replaced.items():
            pairs += [(name, text) for text in texts]
        return f"{path}?{urlencode(pairs)}"

    @property
    def list_query(self) -> "RowQuery":
        """The query without the parameters of a subclass."""
        names = set(RowQuery.model_fields)
        return RowQuery(**self.model_dump(include=names, exclude_defaults=True))

    def position_address(self, path: str, task: str) -> str:
        """Return an address with the same parameters and the same position."""
        return self.address(path, task, after=list(filter(None, [self.after])))


# The query parameters of a request, validated.
RowQueryParameters = Annotated[RowQuery, Query()]


class FacetValue(NamedTuple):
    """A value of a facet, with the number of its rows."""

    label: str
    row_count: int
    # Address of the rows with this value added as a filter, or removed if it is selected.
    href: str
    is_selected: bool
    is_range: bool = False


class _FacetOption(NamedTuple):
    """A possible value of a facet: its label, its text in the address, and its row count."""

    label: str
    text: str
    row_count: int
    is_range: bool = False


def build_facets(counts: RowCounts, query: RowQuery, task: str) -> dict[str, list[FacetValue]]:
    """Return the facets of a task's rows by name: tags, states, versions.

    Chosen values are listed even if no row has them. Facets without values are left out. Tags are
    left out if the answer fields were counted, because they are among them. Versions are left out
    if there is nothing to choose. "gone" is a state of rows that left their source.
    """
    facets: dict[str, list[FacetValue]] = {}
    tag_counts = {} if counts.fields else counts.tags or {}
    state_counts = {state: count for state, count in counts.states.items() if count}
    if counts.gone:
        state_counts["gone"] = counts.gone
    version_counts = counts.versions or {}
    can_choose_version = len(version_counts) > 1 or bool(query.extractor)
    for facet, parameter, selected, row_counts in (
        ("tags", "tag", query.tag, tag_counts),
        ("states", "state", [query.state], state_counts),
        ("versions", "extractor", [query.extractor], version_counts if can_choose_version else {}),
    ):
        options = [_FacetOption(text, text, count) for text, count in row_counts.items()]
        missing_texts = [text for text in selected if text and text not in row_counts]
        missing = [_FacetOption(text, text, 0) for text in missing_texts]
        values = _facet_values(query, task, parameter, selected, [*missing, *options])
        if values:
            facets[facet] = values
    return facets


def build_field_facets(
    counts_by_field: Mapping[str, Sequence[FieldCount]],
    query: RowQuery,
    task: str,
) -> dict[str, list[FacetValue]]:
    """Return the facets of answer fields by name.

    Chosen conditions that no field offers are in a facet "chosen", with 0 rows each.
    """
    facets = {}
    for field_name, counts in counts_by_field.items():
        options = [
            _FacetOption(count.value, count.condition, count.items, count.is_range)
            for count in counts
        ]
        facets[field_name] = _facet_values(query, task, "only", query.only, options)

    all_counts = chain.from_iterable(counts_by_field.values())
    offered_conditions = {count.condition for count in all_counts}
    other_conditions = [text for text in query.only if text not in offered_conditions]
    if other_conditions:
        options = [_FacetOption(condition, condition, 0) for condition in other_conditions]
        facets["chosen"] = _facet_values(query, task, "only", query.only, options)
    return facets


def _facet_values(
    query: RowQuery,
    task: str,
    parameter: str,
    selected: Sequence[str],
    options: Sequence[_FacetOption],
) -> list[FacetValue]:
    """Return the values of a facet, each with the address that chooses it or removes it.

    The addresses keep the other parameters of the query.

    Args:
        query: The query.
        task: The task of the addresses.
        parameter: The query parameter that contains the chosen values. Choosing a value of `tag`
            or `only` keeps the chosen values; other parameters have a single value.
        selected: Texts of that parameter in the query.
        options: The values to return.
    """
    selected_texts = [text for text in selected if text]
    kept_texts = selected_texts if parameter in {"tag", "only"} else []
    values = []
    for option in options:
        is_selected = option.text in selected_texts
        other_texts = [text for text in kept_texts if text != option.text]
        texts = other_texts if is_selected else [*kept_texts, option.text]
        address = query.address("/", task, **{parameter: texts})
        values.append(
            FacetValue(option.label, option.row_count, address, is_selected, option.is_range),
        )
    return values


@router.get("/items.{format_}", include_in_schema=False)
def export_items(
    request: Request,
    format_: Literal["csv", "xlsx", "jsonl"],
    query: RowQueryParameters,
) -> StreamingResponse:
    """Stream the selected rows with their answers, as the command `export` writes them."""
    chunks = _read_export_chunks(get_app_state(request), query, format_)
    # Read the first chunk now: an error must be the response, not break off the stream.
    first_chunk = next(chunks, b"")
    name = f"{query.task or 'rows'}.{format_}"
    return StreamingResponse(
        chain([first_chunk], chunks),
        media_type=EXPORT_MEDIA_TYPES[format_],
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _read_export_chunks(app_state: AppState, query: RowQuery, format_: str) -> Iterator[bytes]:
    options = ExportOptions()
    if query.filter_pairs:
        options = ExportOptions(row_filter=query.row_filter)
    with app_state.open_to_read(query.task) as ws:
        chunks = export.iterate_chunks(ws, format_, options)
        while chunk := b"".join(islice(chunks, EXPORT_PIECES)):
            yield chunk


@router.get("/", include_in_schema=False)
def render_rows_page(request: Request, query: RowQueryParameters) -> HTMLResponse:
    """Render a page of a task's rows, below the state of the task."""
    with get_app_state(request).open_to_read(query.task) as ws:
        values = _list_values(ws, query)
        return render_page(
            request,
            "rows.html",
            ws,
            "rows",
            is_part=False,
            source=describe_source(ws),
            **values,
        )


@router.get("/parts/rows", include_in_schema=False)
def render_rows(request: Request, query: RowQueryParameters) -> HTMLResponse:
    """Render the list of selected rows; htmx then shows its address in the browser."""
    with get_app_state(request).open_to_read(query.task) as ws:
        values = _list_values(ws, query)
        response = render_page(request, "parts/rows.html", ws, "rows", is_part=True, **values)
        response.headers["hx-replace-url"] = query.position_address("/", ws.settings.task)
    return response


@router.get("/parts/facets", include_in_schema=False)
def render_facets(request: Request, query: RowQueryParameters) -> HTMLResponse:
    """Render the facets, the charts of answer fields, and the number of the selected rows."""
    with get_app_state(request).open_to_read(query.task) as ws:
        task = ws.settings.task
        counts = _count_rows(ws, query)
        field_facets = build_field_facets(counts.fields, query, task)
        return render_page(
            request,
            "parts/facets.html",
            ws,
            "rows",
            total=counts.total,
            facets=build_facets(counts, query, task),
            distributions=[
                charts.make_distribution(name, values) for name, values in field_facets.items()
            ],
            fields=counts.fields,
            query=query,
            max_facet_values=MAX_FACET_VALUES,
            review_links=[
                (
                    label,
                    query.address("/", task, reviewed=() if text == query.reviewed else [text]),
                    text == query.reviewed,
                )
                for text, label in REVIEW_LABELS.items()
            ],
            differ_address=_find_differ_address(query, task, list(counts.versions or {})),
            is_counted=counts.versions is not None or counts.tags is not None,
            labels=COLUMN_LABELS,
        )


def _find_differ_address(query: RowQuery, task: str, versions: Sequence[str]) -> str | None:
    """Return the address of the rows in which two versions differ; None for other numbers."""
    model_versions = sorted(version for version in versions if "@" in version)
    if len(model_versions) <= 1 or query.differ:
        return None
    return query.address("/", task, differ=model_versions[-2:])


def _count_rows(ws: WorkspaceSession, query: RowQuery) -> RowCounts:
    """Count the selected rows in COUNT_TIMEOUT_S.

    The values of a field with chosen values are counted without this choice, so that more values
    can be chosen. In the time that is left, this is done for as many fields as possible.
    """
    deadline = time.monotonic() + COUNT_TIMEOUT_S
    counts = items.count_rows(ws.store, ws.task, query.row_filter, within_s=COUNT_TIMEOUT_S)
    fields = dict(counts.fields)
    for column in dict.fromkeys(filter(None, map(conditions.find_column, query.only))):
        seconds_left = deadline - time.monotonic()
        if seconds_left <= 0:
            break
        other_choices = conditions.without_columns(query.only, [column])
        row_filter = query.model_copy(update={"only": other_choices}).row_filter
        field_counts = items.count_rows(ws.store, ws.task, row_filter, within_s=seconds_left).fields
        if column in field_counts:
            fields[column] = field_counts[column]
    return counts._replace(fields=fields)


@router.get("/api/images/thumbnail")
def get_thumbnail(
    request: Request,
    key: str,
    side: Literal["160", "320", "640"] = "320",
) -> Response:
    """Return a small JPEG of an image; `key` is its id, `side` its longer side in pixels."""
    with get_app_state(request).open_to_read(IMAGES_TASK) as ws:
        thumbnail = render_thumbnail(ws.store, key, side=int(side))
    return Response(thumbnail, media_type="image/jpeg")


def _list_values(ws: WorkspaceSession, query: RowQuery) -> dict[str, Any]:
    """Read a page of rows; return the variables of the template `parts/rows.html`.

    Images and passages have a layout of their own, except in the list of refused rows. Passages are
    read with their quotations and cut to MAX_PASSAGE_CHARS if they have none.
    """
    task = ws.settings.task
    page = _read_page(ws, query)
    layout = "table"
    if task in {IMAGES_TASK, PASSAGES_TASK} and query.state != REFUSED_STATE:
        layout = task
    if layout == PASSAGES_TASK:
        for row in page.rows:
            passage = read_quoted_passage(ws.settings, ws.store, ws.task, row["id"])
            row["passage"] = passage_values(passage, max_chars=MAX_PASSAGE_CHARS)

    empty_names = []
    if not query.field_names:
        kept_names = [query.sort.removeprefix("-"), query.pin]
        empty_names = columns.find_empty(page.column_names, page.rows, kept_names)
    displayed_names = [name for name in page.column_names if name not in empty_names]
    column_choices = []
    if page.available_names:
        column_choices = columns.list_choices(
            displayed_names,
            [name for name in page.available_names if name not in displayed_names],
            query.pin,
            make_label=_column_label,
            make_address=lambda names, pinned: query.address(
                "/",
                task,
                fields=[",".join(names)],
                pin=[pinned] if pinned else [],
            ),
        )
    cleared_filters: dict[str, Sequence[str]] = {name: () for name, _ in query.filter_pairs}
    next_address = None
    if page.last_row:
        next_address = query.address("/", task, after=[page.last_row])
    return {
        "layout": layout,
        "has_row_pages": query.state != REFUSED_STATE,
        "query": query,
        "rows": page.rows,
        "headers": [_column_header(query, task, page, name) for name in displayed_names],
        "column_choices": column_choices,
        "usual_columns_address": (
            query.address("/", task, fields=(), pin=()) if query.fields or query.pin else None
        ),
        "empty_labels": [_column_label(name) for name in empty_names],
        "is_wide": len(displayed_names) > columns.MAX_NARROW_COLUMNS,
        "pinned_name": query.pin if query.pin in displayed_names else "",
        "filter_chips": list_filter_chips(query, task),
        "next_address": next_address,
        "first_address": query.address("/", task) if query.after else None,
        "export_addresses": [
            (label, query.address(f"/items.{format_}", task))
            for format_, label in EXPORT_LABELS.items()
        ],
        "list_address": query.position_address("/parts/rows", task),
        "rows_changed_event": ROWS_CHANGED_EVENT,
        "facets_address": query.address("/parts/facets", task),
        "unfiltered_address": query.address("/", task, **cleared_filters),
        "has_filters": bool(query.filter_pairs),
        "row_address": query.address("/row", task),
        "bulk_edit_address": query.address("/set", task),
        "kept_pairs": [pair for pair in query.pairs if pair[0] not in {"find", "where"}],
    }


def describe_source(ws: WorkspaceSession) -> str:
    """Return the source and the version of a user task's rows, or "" for a shipped task."""
    record = getattr(ws.task, "record", None)
    if record is None or ws.task.subject in {IMAGES_TASK, PASSAGES_TASK}:
        return ""
    source = "a query"
    if not record.is_query:
        source = PurePath(record.items).name
    return f"from {source} · version {record.version}"


class _RowsPage(NamedTuple):
    """One page of rows."""

    # Each row has `id`, `name`, `state`, and `values` by column name.
    rows: list[dict[str, Any]]
    column_names: Sequence[str]
    # Position of the next page, or None on the last page.
    last_row: str | None
    sortable_names: Collection[str]
    # Names of all columns that can be displayed; none if the columns cannot be chosen.
    available_names: Sequence[str]


def _read_page(ws: WorkspaceSession, query: RowQuery) -> _RowsPage:
    """Read a page of the selected rows with the columns that the query or the task names.

    Without named columns, the page has the task's usual and extra columns, without versions, and
    the columns of the selected state. A page has PAGE_ROWS rows, or PAGE_PASSAGES passages.

    Raises:
        InputError: A parameter of the query is invalid.
    """
    task_name = ws.settings.task
    with ws.store.read() as tx:
        grid = ws.task.rows.grid(tx)

    version_columns = {EXTRACTOR, f"answer_{EXTRACTOR}", grid.review_name}
    extra_columns = [name for name in grid.extra_names if name not in version_columns]
    if task_name == IMAGES_TASK:
        extra_columns.append(UNUSABLE_REASON_COLUMN)
    for name in grid.names_by_state.get(query.state, ()):
        if name not in extra_columns:
            extra_columns.append(name)

    page = items.read_page(
        ws.store,
        ws.task,
        query.row_filter,
        limit=PAGE_PASSAGES if task_name == PASSAGES_TASK else PAGE_ROWS,
        after=query.after or None,
        sort=query.sort or None,
        fields=query.field_names or [*grid.default_names, *extra_columns],
        within_s=SORT_TIMEOUT_S,
    )
    state_names = set(chain.from_iterable(grid.names_by_state.values())) - set(page.names)
    available_names = [
        name for name in (*grid.value_makers, *grid.extra_names) if name not in state_names
    ]
    with ws.store.read() as tx:
        names = ws.task.rows.table(tx).read_names(tx, [row.id for row in page.items])

    rows = [
        {
            "id": row.id,
            "name": names.get(row.id, row.id),
            "state": row.state,
            "values": dict(row.values),
        }
        for row in page.items
    ]
    return _RowsPage(
        rows,
        columns.pin_first(page.names, query.pin),
        page.after,
        {*grid.sort_expressions, *grid.slow_sort_expressions},
        [] if query.state == REFUSED_STATE else available_names,
    )


def passage_values(passage: QuotedPassage, *, max_chars: int | None = None) -> dict[str, Any]:
    """Return the source, text, marks and concepts of a passage, for templates.

    Each type of concept has its own hue, by the order of types in the passage. Concepts are
    (name, type, hue), without duplicates.

    Args:
        passage: The passage with its concepts.
        max_chars: Cut a text without marks to this length; None means never.
    """
    source, text, found_concepts = passage
    type_names = list(dict.fromkeys(type_name for _, type_name, _ in found_concepts))
    marks = []
    concepts = []
    for name, type_name, quotations in found_concepts:
        hue = type_names.index(type_name)
        concepts.append((name, type_name, hue))
        marks += [Mark(*quotation, name, hue) for quotation in quotations]

    if max_chars is not None and not marks and len(text) > max_chars:
        text = f"{text[:max_chars].rstrip()} …"
    return {
        "source": source,
        "text": text,
        "marks": marks,
        "concepts": list(dict.fromkeys(concepts)),
    }


class FilterChip(NamedTuple):
    """A filter of the list, with the address of the list without it."""

    label: str
    href: str


def list_filter_chips(query: RowQuery, task: str) -> list[FilterChip]:
    """Return the filters of the list, each with the address that removes it alone."""
    labels = {
        "find": "words: {}",
        "extractor": "version: {}",
        "min_score": "score from {}",
        "max_score": "score to {}",
        "id": "row {}",
    }
    chips = []
    if query.differ:
        label = " ≠ ".join(map(version_label, query.differ))
        chips.append(FilterChip(label, query.address("/", task, differ=())))
    for name, text in query.filter_pairs:
        if name == "differ":
            continue
        other_texts = [other_text for other, other_text in query.filter_pairs if other == name]
        other_texts.remove(text)
        label = labels.get(name, "{}").format(text)
        if name == "state":
            label = state_label(text)
        elif name == "reviewed":
            label = REVIEW_LABELS[text]
        elif name in {"only", "where"}:
            label = conditions.describe_condition(text)
        chips.append(FilterChip(label, query.address("/", task, **{name: other_texts})))
    return chips


def _column_label(name: str) -> str:
    return COLUMN_LABELS.get(name, name.replace("_", " "))


def _column_header(query: RowQuery, task: str, page: _RowsPage, name: str) -> dict[str, Any]:
    """Return the header of a column: name, label, `href`, `order` and `is_number`.

    `href` sorts by the column; it is None if the column cannot be sorted. `order` is the value of
    `aria-sort`. A click on numbers sorts the largest first; a click on a sorted column reverses the
    order.
    """
    order = {name: "ascending", f"-{name}": "descending"}.get(query.sort, "none")
    is_number = any(_is_number(row["values"].get(name)) for row in page.rows)
    is_next_descending = order == "ascending" or (is_number and order == "none")
    next_sort = f"-{name}" if is_next_descending else name
    is_sortable = name in page.sortable_names
    return {
        "name": name,
        "label": _column_label(name),
        "href": query.address("/", task, sort=[next_sort]) if is_sortable else None,
        "order": order,
        "is_number": is_number,
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
