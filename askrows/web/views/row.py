"""Row page: the text with quotations highlighted, the answer, its history and every request.

A row can be asked again, corrected or forgotten. To forget a row is to delete it everywhere. A row
is doubtful if a confidence of its answer is low and nobody looked at the answer.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePath
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Header, Query
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from askrows.pipeline.batch import ingest
from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult
from askrows.pipeline.core.declaration import HASH_KEY
from askrows.pipeline.core.errors import AskrowsError, InputError
from askrows.pipeline.core.text import plural
from askrows.pipeline.index.indexed_tasks import is_task_indexed
from askrows.pipeline.ops import forget, listed_rows
from askrows.pipeline.passages.show import read_quoted_passage
from askrows.pipeline.quality import pilot
from askrows.pipeline.quality.drawn_rows import RowDraw
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.run.run_units import ask_single_rows
from askrows.pipeline.store import claims
from askrows.pipeline.store.confidences import decode_confidences
from askrows.pipeline.tasks import claiming, corrections
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workflows import try_out
from askrows.pipeline.workspace.open_workspace import agree_to_all
from askrows.web.answer_differences import compare_row_answers
from askrows.web.app_state import PEOPLE_TASK, AppState
from askrows.web.background_work import BackgroundJob
from askrows.web.corrections_form import (
    CorrectionResult,
    list_choices,
    make_editors,
    submit_correction,
)
from askrows.web.editor_cookie import LastEditor, remember_editor
from askrows.web.errors import RequestRefusedError, to_line
from askrows.web.page_texts import describe_price
from askrows.web.quotation_marks import color_quotations
from askrows.web.render import (
    FormFields,
    PageState,
    accepted_response,
    render_page,
    to_text,
)
from askrows.web.row_query import RowQuery
from askrows.web.views.rows import (
    ANSWER_CHANGED_EVENT,
    PASSAGES_TASK,
    SORT_TIMEOUT_S,
    make_passage_values,
)
from askrows.web.views.version_accuracy import find_version_accuracy

router = APIRouter()

# Longer side of the picture.
PICTURE_PIXELS = 640
# Longer values are displayed as texts to read, shorter values as a list of columns.
MAX_SHORT_VALUE_CHARS = 60
MAX_RETRIED_ROWS = 500
# Who asked for rows again, in their marks.
PAGE_EDITOR = "the page"
# Kinds of background work. They contain the task but no row, which may have to be forgotten.
ASK_WORK_KIND = "ask {} again"
FORGET_WORK_KIND = "forget one of {}"


class ReviewQuery(RowQuery):
    """Query parameters of a review: its list, and the row that was just marked as checked."""

    reviewed: str = Field("", max_length=4_000)


class RowPageQuery(ReviewQuery):
    """Query parameters of a row's page: the row, and the list from which it was opened."""

    key: str = Field(max_length=4_000)
    # Include each request and reply.
    raw: bool = False
    # The compared versions; empty for the newest.
    first: str = Field("", max_length=200)
    second: str = Field("", max_length=200)


RowPageParameters = Annotated[RowPageQuery, Query()]


@router.get("/row", include_in_schema=False)
def render_row_page(
    app_state: PageState, query: RowPageParameters, last_editor: LastEditor
) -> HTMLResponse:
    """Render the page of a row."""
    with app_state.open_to_read(query.task) as run:
        values = _row_values(app_state, run, query, editor=last_editor)
        return render_page(app_state, "row.html", run, "rows", **values)


@router.get("/review", include_in_schema=False)
def open_next_row(app_state: PageState, query: Annotated[ReviewQuery, Query()]) -> RedirectResponse:
    """Redirect to the first row of a list, or to the first after the row `after`.

    If no row is left, redirect to the list. The address of a row has the filter, so that the row's
    page leads to the next row. That page says that the row `reviewed` was marked as checked.
    """
    with app_state.open_to_read(query.task) as run:
        task = run.workspace.settings.task
        next_id = _find_next_id(run, query)
        address = _make_list_address(query, task)
        if next_id is not None:
            reviewed = list(filter(None, [query.reviewed]))
            address = query.address("/row", task, key=[next_id], reviewed=reviewed)
        return RedirectResponse(address, status_code=303)


def _find_next_id(run: Run, query: RowQuery) -> str | None:
    """Return the id of the first row of a list, or of the first after a row; None if none is left.

    The list of unchecked rows is that of the quality page, in the order of its random draw.
    """
    store = run.workspace.store
    after_id = store.query(run.task.find_row_id, query.after) if query.after else None
    if query.is_draw:
        return _read_draw(run).find_next(after_id)
    options = query.make_list_options(within_s=SORT_TIMEOUT_S)._replace(after=after_id)
    rows = listed_rows.read_page(store, run.task, options).rows
    return rows[0].id if rows else None


def _find_previous_id(run: Run, query: RowQuery, row_id: str) -> str | None:
    """Return the id of the row before another in its list; None if there is none in time."""
    if query.is_draw:
        return _read_draw(run).find_previous(row_id)
    options = query.make_list_options(within_s=SORT_TIMEOUT_S)
    options = options._replace(after=row_id, is_reversed=True)
    with suppress(InputError):
        for row in listed_rows.read_page(run.workspace.store, run.task, options).rows:
            return row.id
    return None


def _read_draw(run: Run) -> RowDraw:
    """Return the draw of the rows that the quality page offers to check."""
    accuracy = find_version_accuracy(run.workspace.store, run.task, "", "")
    return accuracy.report.draw if accuracy else RowDraw((), ())


def _make_list_address(query: RowQuery, task: str) -> str:
    """Return the address of the page with a list; that of the rows to check is the quality page."""
    if query.is_draw:
        return f"/quality?{urlencode({'task': task})}#accuracy"
    return query.address("/", task)


@router.get("/parts/row", include_in_schema=False)
def render_row(
    app_state: PageState, query: RowPageParameters, last_editor: LastEditor
) -> HTMLResponse:
    """Render the current state of a row."""
    return _render_row(app_state, query, editor=last_editor)


@router.get("/parts/position", include_in_schema=False)
def render_place_in_list(app_state: PageState, query: RowPageParameters) -> HTMLResponse:
    """Render the place of a row in the list from which it was opened, and a link to the previous.

    The place is such as "row 3 of 20"; the list of rows to check has none, because rows leave it. A
    part whose search takes over SORT_TIMEOUT_S is left out.
    """
    options = query.make_list_options(within_s=SORT_TIMEOUT_S)
    with app_state.open_to_read(query.task) as run:
        task = run.workspace.settings.task
        row_id = run.workspace.store.query(run.task.find_row_id, query.key)
        previous_id = _find_previous_id(run, query, row_id)
        previous_address = query.address("/row", task, key=[previous_id]) if previous_id else None
        position = None
        if not query.is_draw:
            position = listed_rows.find_position(run.workspace.store, run.task, row_id, options)
        return render_page(
            app_state,
            "parts/position.html",
            run,
            "rows",
            position=position,
            previous_address=previous_address,
        )


@router.post("/parts/row", include_in_schema=False)
def act_on_row(
    app_state: PageState,
    query: RowPageParameters,
    form: FormFields,
    last_editor: LastEditor,
    hx_request: Annotated[str, Header()] = "",
) -> HTMLResponse:
    """Review, correct, ask or forget a row; render the row, with the error if it is refused.

    The form's `act` decides:

    - "review" or "unreview": set or remove the mark that the answer was reviewed.
    - "correct": undo the edit whose number is in `undo`, else set the field of the form. A message
      is displayed next to the field.
    - "forget": delete the row, in the background.
    - Anything else, or no `act`: ask the row again live, in the background.

    If a review or a correction is accepted, the editor's name, which the form may have in `who`, is
    stored in a cookie. A review then leads to the next row, and its removal there leads back. A
    browser without scripts gets the whole page.
    """
    key = query.key
    task = query.task or app_state.settings.task
    editor = form.get("who") or last_editor
    act = form.get("act")
    error_message = ""
    correction = None
    try:
        if act == "forget":
            _start_forgetting(app_state, task, key, form)
        elif act in {"review", "unreview", "correct"}:
            with app_state.open_to_write(task) as run:
                correction = submit_correction(run, key, form, editor)
        else:
            with app_state.open_to_read(task) as run, run.workspace.store.read() as tx:
                row_id = run.task.find_row_id(tx, key)
            mark_and_start_asking(app_state, task, [row_id], row_key=key)
    except AskrowsError as error:
        error_message = to_line(error)

    response = _render_row(
        app_state,
        query,
        editor=editor,
        error_message=error_message,
        correction=correction,
        template="parts/row.html" if hx_request else "row.html",
    )
    if correction is not None and correction.is_saved:
        remember_editor(response, editor)
        if act == "review":
            address = query.address("/review", task, after=[key], reviewed=[key])
            response.headers["hx-redirect"] = address
        elif "leads_back" in form:
            response.headers["hx-redirect"] = query.address("/row", task, key=[key])
    return response


def _render_row(
    app_state: AppState,
    query: RowPageQuery,
    *,
    editor: str,
    error_message: str = "",
    correction: CorrectionResult | None = None,
    template: str = "parts/row.html",
) -> HTMLResponse:
    """Render the state of a row, or a message if this page has deleted the row.

    Args:
        editor: Name of the editor, typed just now or earlier in this browser.
        error_message: An error to display with the row; "" for none.
        correction: How a correction ended that was just submitted.
        template: The template of the part or of the whole page.

    Raises:
        InputError: There is no such row.
    """
    key = query.key
    with app_state.open_to_read(query.task) as run:
        task = run.workspace.settings.task
        try:
            values = _row_values(
                app_state,
                run,
                query,
                editor=editor,
                error_message=error_message,
                correction=correction,
            )
        except InputError:
            work = app_state.background_work.find_newest(FORGET_WORK_KIND.format(task), row_key=key)
            if work is None or work.state != "done":
                raise
            return render_page(
                app_state,
                "parts/forgotten.html",
                run,
                "rows",
                key=key,
                forget_work=work.document,
            )
        return render_page(app_state, template, run, "rows", **values)


@router.get("/parts/cell", include_in_schema=False)
def render_cell(app_state: PageState, task: str, key: str, field: str) -> HTMLResponse:
    """Render the choices of a field of a row's answer, for its cell in the list."""
    with app_state.open_to_read(task) as run:
        return _render_cell(app_state, run, key, field)


@router.post("/parts/cell", include_in_schema=False)
def submit_cell_form(
    app_state: PageState,
    task: str,
    key: str,
    form: FormFields,
    last_editor: LastEditor,
) -> HTMLResponse:
    """Correct a field or undo an edit; render its cell, with the choices if that is refused.

    The name of the editor is remembered.
    """
    editor = form.get("who") or last_editor
    with app_state.open_to_write(task) as run:
        result = submit_correction(run, key, form, editor)
        response = _render_cell(app_state, run, key, form.get("field", ""), result)
    if result.is_saved:
        remember_editor(response, editor)
        response.headers["hx-trigger"] = ANSWER_CHANGED_EVENT
    return response


def _render_cell(
    app_state: AppState,
    run: Run,
    key: str,
    field: str,
    result: CorrectionResult | None = None,
) -> HTMLResponse:
    """Render the cell of a field with its choices, or with its value if a correction was saved.

    Raises:
        RequestRefusedError: 404, the answer of the row has no such field.
        InputError: There is no such row.
    """
    history = corrections.read_history(run.workspace.store, run.task, key)
    editors = make_editors(run.task, history["answer"], result=result)
    if field not in editors:
        raise RequestRefusedError(404, f"the answer of {key!r} has no field {field!r}")
    return render_page(
        app_state,
        "parts/cell.html",
        run,
        "rows",
        key=key,
        field=field,
        value=history["answer"][field],
        state=history["state"],
        choices=list_choices(editors[field]),
        coloured_choices=editors[field].field.choices,
        result=result,
    )


def _row_values(
    app_state: AppState,
    run: Run,
    query: RowPageQuery,
    *,
    editor: str,
    error_message: str = "",
    correction: CorrectionResult | None = None,
) -> dict[str, Any]:
    """Return the variables of the template `parts/row.html`; read the row from the database.

    They include all members of the document of `show`, except the columns. These are in
    `short_columns` and `long_columns`, as (name, text), by their length. The marks are the places
    of quotations in the text of the row. For a passage, marks and concepts are those of the version
    that wrote its newest concept.

    Args:
        query: The row, and the search and filters of the list from which it was opened.
        editor: Name of the editor, typed just now or earlier in this browser.
        error_message: An error to display with the row; "" for none.
        correction: How a correction ended that was just submitted.

    Raises:
        InputError: There is no such row.
    """
    task = run.workspace.settings.task
    key = query.key
    # Work that ends while the row is read must count as running: the part loads itself again.
    work_documents = app_state.background_work.describe_newest(
        [ASK_WORK_KIND.format(task), FORGET_WORK_KIND.format(task)], row_key=key
    )
    row = listed_rows.describe_row(run.workspace, run.task, key, raw=query.raw)
    row_id = row["row"]
    if row["stale"] or row["parked"]:
        # The page says above the columns why the row is stale or parked.
        row["columns"].pop(run.workspace.store.query(run.task.make_grid).reason_name, None)
    columns = _list_column_texts(row.pop("columns"), row_id)
    for request in row["requests"]:
        request["texts"] = _list_sent_texts(request)
    history = corrections.read_history(run.workspace.store, run.task, key)
    answer, marks = color_quotations(history["answer"])
    editors = make_editors(run.task, history["answer"], result=correction)
    with run.workspace.store.read() as tx:
        askable_ids = claiming.filter_askable_ids(tx, run.task, [row_id])
        stored_answer = run.task.read_preferred_answers(tx, [row_id]).get(row_id)
        row_title = run.task.select_task_rows(tx).read_titles(tx, [row_id]).get(row_id, row_id)
    concepts = []
    if task == PASSAGES_TASK and columns:
        passage = make_passage_values(
            read_quoted_passage(run.workspace.settings, run.workspace.store, run.task, row_id)
        )
        marks = passage["marks"]
        concepts = passage["concepts"]

    return {
        **row,
        **_make_row_heading(row, run.task, columns, row_title),
        "list_address": _make_list_address(query, task),
        # How many rows of the draw are checked, if the row was opened from it.
        "draw": _read_draw(run) if query.is_draw else None,
        "list_pairs": query.pairs,
        "row_path": query.address("/parts/row", task, key=[key]),
        "next_address": query.address("/review", task, after=[row_id]),
        "reviewed_row": _find_reviewed_row(run, query),
        "position_path": query.address("/parts/position", task, key=[key]),
        "task": task,
        "key": key,
        "raw": query.raw,
        "long_columns": [
            (name, text) for name, text in columns if len(text) > MAX_SHORT_VALUE_CHARS
        ],
        "short_columns": [
            (name, text) for name, text in columns if 0 < len(text) <= MAX_SHORT_VALUE_CHARS
        ],
        "answer": answer,
        # The answer that lists and exports show.
        "answer_source": next((answer for answer in row["answers"] if answer["preferred"]), None),
        "edits": history["edits"],
        "reviews": [
            {
                "at": answer["reviewed_at"],
                "who": answer["reviewed_by"],
                "is_in_force": answer["preferred"],
            }
            for answer in row["answers"]
            if answer["reviewed_at"]
        ],
        "answer_state": history["state"],
        "editors": editors,
        "quick_choices": next(filter(None, map(list_choices, editors.values())), []),
        "review": stored_answer,
        "confidences": decode_confidences(stored_answer.confidences if stored_answer else None),
        "doubt_threshold": run.workspace.settings.doubtful,
        "comparison": compare_row_answers(row["answers"], query.first, query.second),
        "is_comparison_open": bool(query.first or query.second),
        "correction": correction,
        "editor": editor,
        "marks": marks,
        "concepts": concepts,
        "can_be_asked": bool(askable_ids),
        "ask_cost": estimate_cost(run, [row_id]),
        "spent": row["cost"],
        "has_index": is_task_indexed(run.workspace, run.task),
        "work_documents": work_documents,
        "error_message": error_message,
    }


def _find_reviewed_row(run: Run, query: RowPageQuery) -> dict[str, str] | None:
    """Return the row `reviewed`, to remove its mark; None if there is no mark of such a row.

    It is {title, path, state}: what the page calls it, where its forms go, and the state of its
    answer.
    """
    if not query.reviewed:
        return None
    row_id = run.workspace.store.query(run.task.find_row_id, query.reviewed)
    history = corrections.read_history(run.workspace.store, run.task, row_id)
    with run.workspace.store.read() as tx:
        answer = run.task.read_preferred_answers(tx, [row_id]).get(row_id)
        title = run.task.select_task_rows(tx).read_titles(tx, [row_id]).get(row_id, row_id)
    if answer is None or answer.reviewed_at is None:
        return None
    path = query.address("/parts/row", run.workspace.settings.task, key=[row_id])
    return {"title": title, "path": path, "state": history["state"]}


def _list_sent_texts(request: Mapping[str, Any]) -> list[str]:
    """Return the question and the texts of a request that was read with its lines; else []."""
    line = request.get("wire", {}).get("request")
    if line is None:
        return []
    body = json.loads(line)["request"]
    instruction = body.get("systemInstruction", {"parts": []})
    return [part["text"] for part in instruction["parts"]] + try_out.list_prompt_texts(body)


def _list_column_texts(columns: Mapping[str, Any], row_id: str) -> list[tuple[str, str]]:
    """Return the columns of a row as texts, except a key that is a hash and names no row."""
    return [
        (name, to_text(value))
        for name, value in columns.items()
        if name != HASH_KEY or value != row_id
    ]


def estimate_cost(run: Run, row_ids: Sequence[str]) -> float | None:
    """Return the estimated cost in USD of asking rows live, or None if it is unknown.

    Nothing is sent. The cost is unknown if there is nothing to ask or if a request cannot be built;
    this raises nothing, because asking reports the error.
    """
    try:
        return try_out.plan_rows(run, row_ids).cost
    except AskrowsError:
        return None


class RowSelection(BaseModel):
    """The ids of the chosen rows."""

    model_config = ConfigDict(extra="forbid")
    ids: list[str] = Field(min_length=1, max_length=MAX_RETRIED_ROWS)


@router.post("/api/tasks/{task}/rows/ask", status_code=202)
def ask_selected_rows(app_state: PageState, task: str, body: RowSelection) -> JSONResponse:
    """Start to ask the chosen rows again, with live calls at full price."""
    return accepted_response(mark_and_start_asking(app_state, task, body.ids))


@router.post("/api/tasks/{task}/rows/free")
def unpark_selected_rows(app_state: PageState, task: str, body: RowSelection) -> dict[str, Any]:
    """Unpark those of the chosen rows that are parked; the next command asks them.

    `freed` is their number.
    """
    with app_state.open_to_write(task) as run, run.workspace.store.write() as tx:
        unparked = claims.unpark(
            tx,
            run.task.name,
            prompt_version=run.task.parked_version,
            row_ids=body.ids,
        )
    message = f"{len(unparked):,} of {len(body.ids):,} will be asked again"
    return {"freed": len(unparked), "said": message}


@router.post("/api/tasks/{task}/rows/cost")
def make_ask_again_question(app_state: PageState, task: str, body: RowSelection) -> dict[str, Any]:
    """Return the estimated cost of asking the chosen rows again in USD, and a question that has it.

    The question counts the rows that would be asked, and those that would not. The cost in USD is
    null if it is unknown.
    """
    with app_state.open_to_read(task) as run:
        with run.workspace.store.read() as tx:
            askable_ids = claiming.filter_askable_ids(tx, run.task, body.ids)
        cost = estimate_cost(run, sorted(askable_ids))
        left_out_text = _describe_left_out(run, body.ids, askable_ids)
    question = (
        f"Ask {plural(len(askable_ids), 'row')} again, {describe_price(cost or 0.0)}? "
        f"A new answer replaces the old one and its mark as checked. {left_out_text}"
    )
    return {"cost": cost, "question": question.strip()}


def _describe_left_out(run: Run, row_ids: Sequence[str], asked_ids: Collection[str]) -> str:
    """Return a sentence on those of the chosen rows that are not asked, or ""."""
    left_out_ids = set(row_ids).difference(asked_ids)
    with run.workspace.store.read() as tx:
        preferred_answers = run.task.read_preferred_answers(tx, list(left_out_ids))
    corrected_count = sum(answer.is_corrected for answer in preferred_answers.values())
    counts = {
        "corrected by a person": corrected_count,
        "without text, gone or being asked": len(left_out_ids) - corrected_count,
    }
    parts = [f"{count:,} {reason}" for reason, count in counts.items() if count]
    return f"Not asked: {', '.join(parts)}." if parts else ""


def mark_and_start_asking(
    app_state: AppState,
    task: str,
    row_ids: Sequence[str],
    *,
    row_key: str = "",
) -> BackgroundJob:
    """Mark answered rows and unpark rows, and start to ask them live in the background.

    If such work of the same task and `row_key` is running, it is returned instead, and nothing is
    changed, whatever its rows are. Otherwise the rows are first synced with their source, and the
    replies of killed live runs are stored. The rows' present answers count until new answers
    replace them. Rows that are claimed, corrected by a person, empty or gone from the source are
    not asked.

    Args:
        app_state: The state of the page.
        task: The task.
        row_ids: Ids of the rows.
        row_key: Key of the row if only that row is asked, from its page; else "".

    Raises:
        RequestRefusedError: 404, there is no such task; 409, no row can be asked.
        AskrowsError: For example a missing API key or a failed pilot; no row was marked.
    """
    kind = ASK_WORK_KIND.format(task)
    newest = app_state.background_work.find_newest(kind, row_key=row_key)
    if newest is not None and newest.is_running:
        return newest

    with app_state.open_to_write(task) as opened_run:
        run = opened_run.sync_task()
        ingest.recover_dead_runs(run)
        # A missing key or model is reported before anything is changed.
        run.choose_model()
        run.open_client()
        with run.workspace.store.read() as tx:
            pilot.check_pilot(tx, run.task, run.version, is_required=run.task.needs_pilot)
        asked_ids = listed_rows.ask_again(
            run.workspace.store, run.task, row_ids, who=PAGE_EDITOR, now=run.workspace.now()
        )
        if not asked_ids:
            raise RequestRefusedError(
                409,
                "these rows are corrected, gone, without text or being asked, so they are not "
                "asked; nothing was changed",
            )
        left_out_text = _describe_left_out(run, row_ids, asked_ids)

    def ask_rows(display: BackgroundJob) -> dict[str, Any]:
        """Sync the rows, then ask them; return how many were answered and asked."""
        with app_state.open_to_write(task, display) as run:
            result = RunResult()
            ask_single_rows(run.sync_task(), result, asked_ids)
        if result.calls_error and not result.answered_by_calls:
            raise result.calls_error
        return {
            "answered": result.answered_by_calls,
            "asked": len(asked_ids),
            "left_out": left_out_text,
        }

    return app_state.background_work.start(kind, ask_rows, task=task, row_key=row_key)


def _start_forgetting(
    app_state: AppState, task: str, key: str, form: Mapping[str, str]
) -> BackgroundJob:
    """Start to delete a row everywhere ("forget"), or return the running work that does.

    The typed name is the confirmation: the title of the row in the form, or its key. At the end,
    finished work on this row is deleted, because it names the row. The result of the deletion
    contains no names.

    Raises:
        RequestRefusedError: 422, the person typed another name than the row's.
    """
    typed_name = form.get("name", "")
    asked_name = form.get("title", key)
    if typed_name != asked_name:
        raise RequestRefusedError(
            422,
            f"{typed_name!r} is not {asked_name!r}; nothing was changed",
            hint="type the name of the row",
            field="name",
        )

    def forget_row(display: BackgroundJob) -> dict[str, Any]:
        """Forget the row, and delete finished work that names it; return counts without names."""
        with app_state.open_to_write(task, display) as run:
            # Typing the key has confirmed it.
            workspace = replace(run.workspace, ask_person=agree_to_all)
            report = forget.forget_rows(replace(run, workspace=workspace), [key])
        app_state.background_work.delete_finished(task=task, row_key=key)
        # The result outlives the row, so it must not contain the name.
        return {
            name: value
            for name, value in report.figures.items()
            if name not in {"username", "usernames"}
        }

    return app_state.background_work.start(
        FORGET_WORK_KIND.format(task), forget_row, task=task, row_key=key
    )


def _make_row_heading(
    row: Mapping[str, Any],
    task: Task,
    columns: Sequence[tuple[str, str]],
    title: str,
) -> dict[str, str]:
    """Return the `title` and `subtitle` of a row, and the address of its `picture`.

    - A person: the full name, and the username as subtitle; only the username if the full name is
      missing.
    - An imported image: the file name, no subtitle, and a picture if the image can be opened.
    - Any other row: its title, and its id as subtitle if the title is a label.

    A subtitle or picture that is missing is "".

    Args:
        row: The document of `show`, with `name`, `row` (the id) and `state`.
        task: The task of the row.
        columns: The (name, text) pairs of the row.
        title: How the page calls the row; see `TaskRows.read_titles`.
    """
    row_id = row["row"]
    subtitle = ""
    picture = ""
    if task.folder_table:
        title = PurePath(title).name
        if row["state"] != RowState.UNUSABLE:
            query = urlencode({"key": row_id, "side": PICTURE_PIXELS})
            picture = f"/api/{task.name}/thumbnail?{query}"
    elif task.subject == PEOPLE_TASK:
        full_name = dict(columns).get("name", "")
        if full_name:
            subtitle = title
            title = full_name
    elif row["name"] != row_id:
        subtitle = row_id
    return {"title": title, "subtitle": subtitle, "picture": picture}
