"""Set a field of all rows of a filter, or of the chosen rows, and undo that as a whole.

Such an edit of many rows is a bulk edit. It has a number, and runs as background work.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from pipeline.core.errors import FindableError, InputError
from pipeline.engine import bulk_edits, corrections
from pipeline.engine.task import Task
from pipeline.store.bulk_edits import list_bulk_edits
from pipeline.store.database import Store
from web.app_state import AppState
from web.background_work import BackgroundJob
from web.corrections_form import MAX_NUMBER_DIGITS, MISSING_NAME_MESSAGE
from web.editor_cookie import LastEditor, remember_editor
from web.errors import RequestRefusedError, to_line
from web.field_shapes import (
    Texts,
    empty_texts,
    make_shapes,
    nest_texts,
    parse_texts,
    to_plain_reason,
)
from web.render import FormFields, PageState, accepted_response, render_page
from web.row_query import RowQuery
from web.views.row import BULK_EDIT_WORK_KIND
from web.views.rows import list_filter_chips

router = APIRouter()


class BulkEditQuery(RowQuery):
    """Query parameters that select rows, and the field to set."""

    field: str = Field("", max_length=200)


BulkEditParameters = Annotated[BulkEditQuery, Query()]


@router.get("/set", include_in_schema=False)
def render_bulk_edit_page(
    app_state: PageState, query: BulkEditParameters, last_editor: LastEditor
) -> HTMLResponse:
    """Render the number of selected rows, the form of a field, and earlier edits of many rows."""
    return _render_bulk_edit(app_state, query, last_editor)


@router.get("/parts/set", include_in_schema=False)
def render_bulk_edit_work(
    app_state: PageState, query: BulkEditParameters, last_editor: LastEditor
) -> HTMLResponse:
    """Render the progress or the result of the newest edit of many rows."""
    with app_state.open_to_read(query.task) as ws:
        return render_page(
            app_state,
            "parts/bulk_edit_work.html",
            ws,
            "rows",
            is_part=True,
            editor=last_editor,
            **_work_values(app_state, query, ws.store, ws.task),
        )


@router.post("/set", include_in_schema=False)
def start_bulk_edit(
    app_state: PageState,
    query: BulkEditParameters,
    form: FormFields,
    last_editor: LastEditor,
) -> Response:
    """Start to set a field of all selected rows, or to undo an earlier edit of many rows.

    The form's `undo` is the number of the edit to undo. Without it, the field of the query gets the
    value of the form. The form's `count` is the number of rows that the person saw; an undo needs
    none. If the number has changed, or a part of the form is wrong or has no editor's name, nothing
    starts, and the form is rendered again with the message and status 200. Otherwise the name of
    the editor is stored in a cookie, and the browser is redirected (303) to the page.
    """
    texts = nest_texts(form)
    who = form.get("who", "")
    try:
        if not who.strip():
            raise InputError(MISSING_NAME_MESSAGE)
        if "undo" in form:
            _start_undo(app_state, query.task, form["undo"], who)
        else:
            value = _parse_value(app_state, query, texts)
            count_text = form.get("count", "")
            is_count = count_text.isdecimal() and len(count_text) <= MAX_NUMBER_DIGITS
            count = int(count_text) if is_count else -1
            _start_setting(app_state, query, BulkEditRequest(value=value, count=count, who=who))
    except FindableError as error:
        message = (
            to_plain_reason(error.message) if isinstance(error, InputError) else to_line(error)
        )
        editor = who or last_editor
        return _render_bulk_edit(app_state, query, editor, message=message, texts=texts)

    response = RedirectResponse(
        query.address("/set", query.task or app_state.settings.task, field=[query.field]),
        status_code=303,
    )
    remember_editor(response, who)
    return response


class BulkEditRequest(BaseModel):
    """A value for a field of all selected rows."""

    model_config = ConfigDict(extra="forbid")
    # A value as it is in an answer.
    value: Any
    # Number of the rows that the caller saw.
    count: int
    # Name of the editor.
    who: str


class UndoRequest(BaseModel):
    """Who undoes a bulk edit."""

    model_config = ConfigDict(extra="forbid")
    who: str


@router.post("/api/tasks/{task}/items/set", status_code=202)
def set_selected_rows(
    app_state: PageState,
    task: str,
    query: BulkEditParameters,
    body: BulkEditRequest,
) -> JSONResponse:
    """Start to set `field` in the answers to all rows of a filter, in the background.

    `count` is the number of these rows that the caller saw; if it has changed, the request is
    refused with 409. The result of the work has the number of the edit, which can be undone as a
    whole, and the refused rows.
    """
    selection = query.model_copy(update={"task": task})
    return accepted_response(_start_setting(app_state, selection, body))


@router.post("/api/tasks/{task}/edits/{number}/undo", status_code=202)
def undo_bulk_edit(app_state: PageState, task: str, number: int, body: UndoRequest) -> JSONResponse:
    """Start to undo all edits of the edit of many rows with this number."""
    return accepted_response(_start_undo(app_state, task, str(number), body.who))


def _parse_value(app_state: AppState, query: BulkEditQuery, texts: Texts) -> Any:
    """Return the value of the texts of a form.

    Raises:
        InputError: There is no such field, or a text does not have its shape.
    """
    with app_state.open_to_read(query.task) as ws:
        shape = make_shapes(ws.task.prompt.answer_model).get(query.field)
    if shape is None:
        raise InputError("choose a field", field="field")
    return parse_texts(shape, texts)


def _start_setting(
    app_state: AppState,
    query: BulkEditQuery,
    edit: BulkEditRequest,
) -> BackgroundJob:
    """Start to set a field of the selected rows; the result has the report of the edit.

    Raises:
        InputError: The name, the field or the filter is invalid; nothing was changed.
        RequestRefusedError: 409, another edit is running, or the number of rows has changed.
    """
    with app_state.open_to_write(query.task) as ws:
        editor_name = corrections.normalize_editor_name(edit.who)
        if query.field not in make_shapes(ws.task.prompt.answer_model):
            raise InputError("choose a field", field="field")
        row_count = _count_rows(ws.store, ws.task, query=query)
        task = ws.settings.task
    if edit.count != row_count:
        raise RequestRefusedError(
            409,
            f"the filter now has {row_count:,} rows; nothing was changed. Check, then press again",
        )

    change = bulk_edits.FieldChange(query.row_filter, query.field, edit.value)

    def set_field(display: BackgroundJob) -> dict[str, Any]:
        with (
            app_state.open_to_write(task, display) as ws,
            display.bar(f"set {query.field}", row_count) as progress,
        ):
            report = bulk_edits.set_field_of_rows(
                ws.store, ws.task, ws.now, change, editor_name=editor_name, progress=progress
            )
        return {**asdict(report), "is_undo": False, "field": query.field}

    return _start_work(app_state, task, set_field)


def _start_undo(
    app_state: AppState,
    task_name: str | None,
    number_text: str,
    who: str,
) -> BackgroundJob:
    """Start to undo the bulk edit with a number; the result has the report of the undoing.

    Raises:
        InputError: The number or the name is invalid; nothing was changed.
        RequestRefusedError: 409, another edit is running.
    """
    if not number_text.isdecimal() or len(number_text) > MAX_NUMBER_DIGITS:
        raise InputError(f"{number_text!r} is not the number of an edit; nothing was changed")
    with app_state.open_to_write(task_name) as ws:
        task = ws.settings.task
    editor_name = corrections.normalize_editor_name(who)

    def undo_edit(display: BackgroundJob) -> dict[str, Any]:
        with (
            app_state.open_to_write(task, display) as ws,
            display.bar("undo", None) as progress,
        ):
            report = bulk_edits.undo_bulk_edit(
                ws.store,
                ws.task,
                ws.now,
                int(number_text),
                editor_name=editor_name,
                progress=progress,
            )
        return {**asdict(report), "is_undo": True, "field": ""}

    return _start_work(app_state, task, undo_edit)


def _start_work(
    app_state: AppState,
    task: str,
    run: Callable[[BackgroundJob], Any],
) -> BackgroundJob:
    """Start an edit of many rows unless another one of the task is running.

    Raises:
        RequestRefusedError: 409, another one is running.
    """
    kind = BULK_EDIT_WORK_KIND.format(task)
    newest = app_state.background_work.find_newest(kind)
    if newest is not None and newest.is_running:
        raise RequestRefusedError(409, "another edit of many rows is running; nothing was changed")
    return app_state.background_work.start(kind, run, task=task)


def _count_rows(store: Store, task: Task, *, query: BulkEditQuery) -> int:
    with store.read() as tx:
        return task.rows.grid(tx).count_listed(tx, query.row_filter)


def _render_bulk_edit(
    app_state: AppState,
    query: BulkEditQuery,
    editor: str,
    *,
    message: str = "",
    texts: Texts = None,
) -> HTMLResponse:
    """Render the page: the number of selected rows, the form of the field, and earlier edits.

    Args:
        editor: Name of the editor, typed in a refused form or earlier in this browser.
        message: Why a form was refused.
        texts: The texts of a refused form.
    """
    with app_state.open_to_read(query.task) as ws:
        task = ws.settings.task
        shapes = make_shapes(ws.task.prompt.answer_model)
        shape = shapes.get(query.field)
        if shape is not None and texts is None:
            texts = empty_texts(shape)
        return render_page(
            app_state,
            "bulk_edit.html",
            ws,
            "rows",
            filter_chips=list_filter_chips(query.list_query, task),
            list_address=query.address("/", task),
            field_links=[
                (name, query.address("/set", task, field=[name]), name == query.field)
                for name in shapes
            ],
            shape=shape,
            texts=texts,
            message=message,
            editor=editor,
            is_part=False,
            **_work_values(app_state, query, ws.store, ws.task),
        )


def _work_values(
    app_state: AppState, query: BulkEditQuery, store: Store, task: Task
) -> dict[str, Any]:
    """Return the variables of the templates about edits of many rows.

    - `row_count`: the number of rows of the filter now.
    - `work`: the JSON document of the running or latest edit, or None.
    - `refusals`: the (row name, reason) pairs of the rows that it refused.
    - `earlier_edits`: all stored edits of the task, the newest first.
    - `work_address`, `form_address`: the addresses that render the work and take the form.
    """
    task_name = task.subject
    work = app_state.background_work.find_newest(BULK_EDIT_WORK_KIND.format(task_name))
    # Read after the work, so that an edit that has ended is among them.
    document = None if work is None else work.document
    earlier_edits = store.query(list_bulk_edits, task_name)
    return {
        "row_count": _count_rows(store, task, query=query),
        "work": document,
        "work_address": query.address("/parts/set", task_name, field=[query.field]),
        "refusals": _list_refusals(store, task, work=work),
        "earlier_edits": earlier_edits[::-1],
        "form_address": query.address("/set", task_name, field=[query.field]),
    }


def _list_refusals(
    store: Store, task: Task, *, work: BackgroundJob | None
) -> Sequence[tuple[str, str]]:
    """Return (name, reason) of the first rows that a finished edit of many rows refused.

    The list is empty if there is no work, or if it is running or failed and so has no result. A row
    that does not exist any more has its id as name.
    """
    if work is None or work.result is None:
        return ()
    refusals = work.result["refusals"]
    with store.read() as tx:
        names = task.rows.table(tx).read_names(tx, [row_id for row_id, _ in refusals])
    return [(names.get(row_id, row_id), to_plain_reason(reason)) for row_id, reason in refusals]
