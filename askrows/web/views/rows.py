"""Rows page: the rows of a task with their answers, filtered and sorted, page by page."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Literal, NamedTuple

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, StreamingResponse
from starlette.responses import Response

from askrows.pipeline.core.answer_fields import AnswerField
from askrows.pipeline.core.settings import Settings
from askrows.pipeline.ops import listed_rows
from askrows.pipeline.passages.show import QuotedPassage, read_passage_and_newest_concepts
from askrows.pipeline.passages.task import PassagesTask
from askrows.pipeline.rows.folder_files import render_thumbnail
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.rows.stored_rows import read_input_changes
from askrows.pipeline.store import edits, workspace
from askrows.pipeline.store.database import Store
from askrows.pipeline.tasks import row_export
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_values import ExportOptions
from askrows.web import columns, corrections_form
from askrows.web.answer_differences import mark_change
from askrows.web.app_state import AppState
from askrows.web.corrections_form import LastEditor
from askrows.web.errors import RequestRefusedError
from askrows.web.facets import FilterLink, build_facets, make_filter_link
from askrows.web.render import (
    Mark,
    PageState,
    column_label,
    find_used_tasks,
    render_page,
    state_label,
    version_label,
)
from askrows.web.row_query import RowQuery, RowQueryParameters, describe_condition
from askrows.web.uploads import NEW_TASK
from askrows.web.views.command_api import ROWS_CHANGED_EVENT
from askrows.web.views.imports import render_drop_area

router = APIRouter()

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
EXPORT_LABELS = {"csv": "CSV", "xlsx": "Excel (.xlsx)", "jsonl": "JSON, a line for each row"}
# Members of lists, such as tags, that a facet has.
MAX_MEMBERS = 1_000
# Time limits for counting values, which are loaded after the rows, and for sorting by a column
# without an index: a page waits for the rows.
COUNT_TIMEOUT_S = 3.0
SORT_TIMEOUT_S = 10.0
# Event in the browser after which the counts of values load themselves again.
ANSWER_CHANGED_EVENT = "answer-changed"
# Characters of a passage without quotations.
MAX_PASSAGE_CHARS = 400
# What the states of rows mean, by their display names.
STATE_MEANINGS = {
    "answered": "has an answer",
    "waiting": "not asked yet",
    "being asked": "its question was sent; the answer is not here yet",
    "out of date": "changed, or to be asked again; its old answer counts until then",
    "no text": "has nothing to ask about",
    "unusable": "its image cannot be sent",
    "left out": "cannot be asked; click the bar, and the list says why",
    "set aside": "got no usable answer twice; it is asked again only if you say so",
    "gone": "is no longer in the table",
}
# What precedes the text of a filter on the page, by parameter.
FILTER_PREFIXES = {
    "find": "Find: ",
    "answer_version": "answered by: ",
    "id": "row ",
    "doubtful": "doubtful: ",
    "checked": "corrected or checked: ",
}


@router.get(
    "/rows.{format_}",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "the rows as a file",
            "content": {media_type: {} for media_type in EXPORT_MEDIA_TYPES.values()},
        }
    },
)
def export_rows(
    app_state: PageState,
    format_: Literal["csv", "xlsx", "jsonl"],
    query: RowQueryParameters,
) -> StreamingResponse:
    """Stream the selected rows with their answers, as the command `export` writes them.

    The name of the file says whether the answers are placeholders. An error of the first chunk is
    raised before the response begins.
    """
    with app_state.open_to_read(query.task) as run:
        kind = "invented-answers" if run.workspace.has_placeholder_answers else "answers"
    chunks = _read_export_chunks(app_state, query, format_)
    # Read the first chunk now: an error must be the response, not break off the stream.
    first_chunk = next(chunks, b"")
    name = f"{query.task or 'rows'}-{kind}.{format_}"
    return StreamingResponse(
        chain([first_chunk], chunks),
        media_type=EXPORT_MEDIA_TYPES[format_],
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


def _read_export_chunks(app_state: AppState, query: RowQuery, format_: str) -> Iterator[bytes]:
    """Yield the bytes of the file of the selected rows, in chunks for the response.

    A chunk joins EXPORT_PIECES pieces of the exporter, such as lines of CSV. The file has all rows
    that pass the filter, or all rows of the task if there is no filter. The workspace is open until
    the last chunk.

    Raises:
        AskrowsError: The task is unknown or the filter is invalid. This is raised before the first
            chunk.
    """
    options = ExportOptions(format_=format_)
    if query.filter_pairs:
        options = options._replace(row_filter=query.row_filter)
    with app_state.open_to_read(query.task) as run:
        chunks = row_export.iterate_export_chunks(run.workspace, run.task, options)
        while chunk := b"".join(islice(chunks, EXPORT_PIECES)):
            yield chunk


@router.get("/", include_in_schema=False)
def render_rows_page(
    app_state: PageState, query: RowQueryParameters, last_editor: LastEditor
) -> HTMLResponse:
    """Render a page of a task's rows, below the state of the task.

    If the query names no task, and the workspace uses none, render the page to add a file instead.
    """
    with app_state.open_to_read(query.task) as run:
        if not (query.task or find_used_tasks(run)):
            return render_drop_area(app_state, run, task=NEW_TASK)
        # It is read before the rows: a later change loads them again.
        position = run.workspace.store.query(workspace.read_last_row_change, run.task.name)
        values = _read_rows_template_values(
            run.workspace.store, run.task, settings=run.workspace.settings, query=query
        )
        return render_page(
            app_state,
            "rows.html",
            run,
            "rows",
            is_part=False,
            editor=last_editor,
            row_position=position,
            **values,
        )


@router.get("/parts/rows", include_in_schema=False)
def render_rows(app_state: PageState, query: RowQueryParameters) -> HTMLResponse:
    """Render the list of selected rows; htmx then shows its address in the browser."""
    with app_state.open_to_read(query.task) as run:
        values = _read_rows_template_values(
            run.workspace.store, run.task, settings=run.workspace.settings, query=query
        )
        response = render_page(app_state, "parts/rows.html", run, "rows", is_part=True, **values)
        response.headers["hx-replace-url"] = query.position_address(
            "/", run.workspace.settings.task
        )
    return response


@router.get("/parts/facets", include_in_schema=False)
def render_facets(app_state: PageState, query: RowQueryParameters) -> HTMLResponse:
    """Render the facets of the selected rows with counts, and their number.

    All counting ends after COUNT_TIMEOUT_S. If it takes that long, only states are counted.
    """
    with app_state.open_to_read(query.task) as run:
        task = run.workspace.settings.task
        counts = listed_rows.count_rows(
            run.workspace,
            run.task,
            query.row_filter,
            within_s=COUNT_TIMEOUT_S,
            max_members=MAX_MEMBERS,
        )
        return render_page(
            app_state,
            "parts/facets.html",
            run,
            "rows",
            total=counts.total,
            gone=counts.gone,
            max_values=MAX_MEMBERS,
            facets=build_facets(counts, query, task),
            is_counted=counts.versions is not None,
            state_meanings=STATE_MEANINGS,
        )


@router.get("/api/{task}/thumbnail")
def get_thumbnail(
    app_state: PageState,
    task: str,
    key: str,
    side: Literal["160", "320", "640"] = "320",
) -> Response:
    """Return a small JPEG of an image of a task whose source is a `Folder`.

    Args:
        app_state: The state of the page.
        task: The name of the task.
        key: The id of the image.
        side: The longer side in pixels.

    Raises:
        RequestRefusedError: 404, the task is unknown or its source is not a `Folder`.
    """
    with app_state.open_to_read(task) as run:
        if not run.task.folder_table:
            raise RequestRefusedError(404, f"the rows of {task!r} are not imported images")
        store = run.workspace.store
        row_id = store.query(run.task.require_row_id, key)
        thumbnail = render_thumbnail(store, run.task.folder_table, row_id, side=int(side))
    return Response(thumbnail, media_type="image/jpeg")


def _read_rows_template_values(
    store: Store, task: Task, *, settings: Settings, query: RowQuery
) -> dict[str, Any]:
    """Read a page of rows; return the variables of the template `parts/rows.html`.

    Columns without a value on the page are left out, unless the query names the columns. Images and
    passages have a layout of their own, except in the list of refused rows. Passages are read with
    their quotations and cut to MAX_PASSAGE_CHARS if they have none.
    """
    task_name = task.subject
    page = _read_page(store, task, query=query)
    layout = "table"
    if query.state != RowState.REFUSED:
        if task.folder_table:
            layout = "gallery"
            for row in page.rows:
                row.update(_describe_picture(row["values"], page.answer_fields))
        elif isinstance(task, PassagesTask):
            layout = "passages"
            for row in page.rows:
                passage = store.query(read_passage_and_newest_concepts, task.shape, task, row["id"])
                row["passage"] = make_passage_values(passage, max_chars=MAX_PASSAGE_CHARS)

    empty_names = []
    if not query.field_names:
        empty_names = columns.list_empty_columns(
            page.column_names, page.rows, query.sort.removeprefix("-")
        )
    displayed_names = [name for name in page.column_names if name not in empty_names]
    column_choices = columns.make_column_menu(
        page.available_names,
        displayed_names,
        lambda names: query.address("/", task_name, fields=[",".join(names)]),
    )
    cleared_filters: dict[str, Sequence[str]] = {name: () for name, _ in query.filter_pairs}
    next_address = None
    if page.last_row:
        next_address = query.address("/", task_name, after=[page.last_row])
    return {
        "layout": layout,
        "doubt_threshold": settings.doubtful,
        "has_row_pages": query.state != RowState.REFUSED,
        "query": query,
        "rows": page.rows,
        "headers": [_make_column_header(query, task, page, name) for name in displayed_names],
        "column_choices": column_choices,
        "condition_example": columns.make_condition_example(displayed_names, page.rows),
        "usual_columns_address": query.address("/", task_name, fields=()) if query.fields else None,
        "filter_chips": _list_filter_chips(query, task_name),
        "next_address": next_address,
        "first_address": query.address("/", task_name) if query.after else None,
        "export_addresses": [
            (label, query.address(f"/rows.{format_}", task_name))
            for format_, label in EXPORT_LABELS.items()
        ],
        "list_address": query.position_address("/parts/rows", task_name),
        "rows_changed_event": ROWS_CHANGED_EVENT,
        "answer_changed_event": ANSWER_CHANGED_EVENT,
        "facets_address": query.address("/parts/facets", task_name),
        "unfiltered_address": query.address("/", task_name, **cleared_filters),
        "has_filters": bool(query.filter_pairs),
        "row_address": query.address("/row", task_name),
        "kept_pairs": [pair for pair in query.pairs if pair[0] not in {"find", "where"}],
    }


def _describe_picture(values: Mapping[str, Any], answer_columns: Iterable[str]) -> dict[str, Any]:
    """Return the first text of an answer as `caption`, and its lists as `tag_lists`."""
    cells = [values.get(name) for name in answer_columns]
    lists = list[Any]()
    for cell in cells:
        lists += cell.values() if isinstance(cell, dict) else [cell]
    return {
        "caption": next((cell for cell in cells if isinstance(cell, str)), ""),
        "tag_lists": [tags for tags in lists if isinstance(tags, list)],
    }


class _RowsPage(NamedTuple):
    """One page of rows."""

    # Each row has `id`, `name`, `title`, `state`, `values` and `confidences` by column, the fields
    # of the answer that a person set, as `corrected`, and the `changes` of a stale row by column.
    rows: list[dict[str, Any]]
    column_names: Sequence[str]
    # Position of the next page, or None on the last page.
    last_row: str | None
    sortable_names: Collection[str]
    # Names of all columns that can be displayed; none if the columns cannot be chosen.
    available_names: Sequence[str]
    # Columns of the source that are not in the prompt.
    unsent_names: Collection[str]
    # Answer fields by column, and those with a list of choices.
    answer_fields: Mapping[str, str]
    closed_fields: Mapping[str, AnswerField]


def _read_page(store: Store, task: Task, *, query: RowQuery) -> _RowsPage:
    """Read a page of the selected rows with the columns that the query or the task names.

    If the query names no columns, the page has the columns of the source and of the answers, and
    those of the selected state, but not the columns with the version, review and confidences of
    the answer. Each row also has its name, title, state, confidences, corrected fields, and the
    changes of its input if it is stale. The name of a refused row is its id. A page has PAGE_ROWS
    rows, or PAGE_PASSAGES passages.

    Raises:
        InputError: A parameter of the query is invalid.
    """
    grid = store.query(task.make_grid)

    shown_names = [
        name
        for name in grid.list_default_column_names(query.row_filter)
        if name not in grid.judgements.columns
    ]
    if task.folder_table:
        shown_names.append(grid.reason_name)
    # Columns that were not sent come last: a reader wants the answers beside the text.
    usual_names = dict.fromkeys([*shown_names, *task.record.columns])
    column_names = query.field_names or list(usual_names)
    # The confidences of displayed fields are bars in the cells of the fields.
    bar_names = {
        name: grid.judgements.confidence_names[field]
        for name, field in grid.answer_fields.items()
        if name in column_names and field in grid.judgements.confidence_names
    }
    limit = PAGE_PASSAGES if isinstance(task, PassagesTask) else PAGE_ROWS
    options = query.make_list_options(limit=limit, within_s=SORT_TIMEOUT_S)
    options = options._replace(fields=[*column_names, *bar_names.values()])
    page = listed_rows.read_rows_page(store, task, options)
    displayed_names = [
        name for name in page.names if name in column_names or name not in bar_names.values()
    ]
    hidden_names = {*grid.cost_names}
    if not grid.judgements.confidence_names:
        hidden_names.add(grid.judgements.doubtful_name)
    other_names = [name for name in grid.columns if name not in hidden_names]
    available_names = list(dict.fromkeys([*usual_names, *other_names]))
    row_ids = [row.id for row in page.rows]
    with store.read() as tx:
        names = task.rows.read_names(tx, row_ids)
        titles = task.rows.read_titles(tx, row_ids)
        edits_by_id = edits.list_edits_by_row_id(tx, task.name, row_ids)
        stale_ids = [row.id for row in page.rows if row.state == RowState.STALE]
        changes_by_id = read_input_changes(tx, task.record, task.prompt_version, stale_ids)

    rows = [
        {
            "id": row.id,
            # A refused row may have the name of another row, which addresses would lead to.
            "name": row.id if row.state == RowState.REFUSED else names.get(row.id, row.id),
            "title": titles.get(row.id, row.id),
            "state": row.state,
            "values": dict(row.values),
            "confidences": {name: row.values.get(bar) for name, bar in bar_names.items()},
            "corrected": edits.list_fields_set_by_people(edits_by_id[row.id]),
            "changes": {
                name: mark_change(*change) for name, change in changes_by_id.get(row.id, {}).items()
            },
        }
        for row in page.rows
    ]
    return _RowsPage(
        rows,
        displayed_names,
        page.after,
        [name for name, column in grid.columns.items() if column.sort_keys],
        [] if query.state == RowState.REFUSED else available_names,
        set(task.record.columns) - set(grid.default_names),
        grid.answer_fields,
        corrections_form.list_closed_fields(task),
    )


def make_passage_values(passage: QuotedPassage, *, max_chars: int | None = None) -> dict[str, Any]:
    """Return the source, text, marks and concepts of a passage, for templates.

    Each type of concept has its own hue, by the order of types in the passage. Concepts are
    (name, type, hue), without duplicates. Marks are a flat list with one `Mark` (start, end, quote,
    concept name, hue) for each quotation of a concept.

    Args:
        passage: The passage with its concepts.
        max_chars: Cut a text without marks to this length, and add " …"; None means never. A text
            with marks stays whole.
    """
    source, text, found_concepts = passage
    type_names = list(dict.fromkeys(type_name for _, type_name, _ in found_concepts))
    marks = []
    concepts = []
    for name, type_name, quotations in found_concepts:
        hue = type_names.index(type_name)
        concepts.append((name, type_name, hue))
        marks += [
            Mark(quotation["start"], quotation["end"], quotation["quote"], name, hue)
            for quotation in quotations
        ]

    if max_chars is not None and not marks and len(text) > max_chars:
        text = f"{text[:max_chars].rstrip()} …"
    return {
        "source": source,
        "text": text,
        "marks": marks,
        "concepts": list(dict.fromkeys(concepts)),
    }


def _list_filter_chips(query: RowQuery, task: str) -> list[FilterLink]:
    """Return the filters of the list, each with the address that removes it alone.

    The filter for rows to which two versions gave different answers is a single filter, the first.
    """
    chips = []
    if query.differ:
        label = f"different answers: {' and '.join(map(version_label, query.differ))}"
        address = query.address("/", task, differ=())
        chips.append(FilterLink(label, 0, address, is_selected=True))
    chips += [
        make_filter_link(query, task, name, text, label=_make_filter_label(name, text))
        for name, text in query.filter_pairs
        if name != "differ"
    ]
    return chips


def _make_filter_label(parameter: str, text: str) -> str:
    """Return the display text of a filter: the prefix of its query parameter, and its text.

    A condition, a state or a version is displayed in words. A condition or a state has no prefix.
    """
    if parameter in {"where", "only"}:
        return describe_condition(text)
    if parameter == "state":
        return state_label(text)
    if parameter == "answer_version":
        text = version_label(text)
    return f"{FILTER_PREFIXES.get(parameter, '')}{text}"


def _make_column_header(query: RowQuery, task: Task, page: _RowsPage, name: str) -> dict[str, Any]:
    """Return the header of a column: `name`, `label`, `href`, `order`, `is_number`, `is_unsent`.

    `href` is the address that a click opens; it is None if the column cannot be sorted. The first
    click sorts in ascending order, or numbers with the largest first. A click on a sorted column
    reverses the order. `order` is the present order, as the value of `aria-sort`. `field` is the
    field of the answer in the column, or "", `is_closed` whether it has listed choices, and
    `choices` these; a choice has the colour of its place.
    """
    order = {name: "ascending", f"-{name}": "descending"}.get(query.sort, "none")
    is_number = columns.has_only_numbers(name, page.rows)
    is_next_descending = order == "ascending" or (is_number and order == "none")
    next_sort = f"-{name}" if is_next_descending else name
    is_sortable = name in page.sortable_names
    field = page.answer_fields.get(name, "")
    closed_field = page.closed_fields.get(field)
    return {
        "name": name,
        "label": column_label(task, name),
        "href": query.address("/", task.subject, sort=[next_sort]) if is_sortable else None,
        "order": order,
        "is_number": is_number,
        "is_unsent": name in page.unsent_names,
        "field": field,
        "is_closed": closed_field is not None,
        "choices": closed_field.choices if closed_field else (),
    }
