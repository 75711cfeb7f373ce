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
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import Field

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.declaration import HASH_KEY
from askrows.pipeline.core.errors import AskrowsError, InputError
from askrows.pipeline.index.indexed_tasks import is_task_indexed
from askrows.pipeline.ops import forget, listed_rows
from askrows.pipeline.passages.show import read_passage_and_newest_concepts
from askrows.pipeline.passages.task import PassagesTask
from askrows.pipeline.provider.requests import read_system_text
from askrows.pipeline.quality.drawn_rows import RowDraw
from askrows.pipeline.rows.row_state import RowState
from askrows.pipeline.rows.stored_rows import read_input_changes
from askrows.pipeline.store.confidences import decode_confidences
from askrows.pipeline.tasks import claiming, corrections
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.workflows import try_out
from askrows.pipeline.workspace.open_workspace import answer_yes
from askrows.web.answer_differences import compare_row_answers, mark_change
from askrows.web.app_state import AppState
from askrows.web.background_work import BackgroundJob
from askrows.web.corrections_form import (
    CorrectionResult,
    LastEditor,
    correct_or_review_by_form,
    list_choices,
    make_editors,
    remember_editor,
)
from askrows.web.errors import RequestRefusedError, to_line
from askrows.web.quotation_marks import color_quotations
from askrows.web.render import (
    FormFields,
    PageState,
    render_page,
    to_text,
)
from askrows.web.row_query import RowQuery, make_row_names_for_addresses
from askrows.web.views.ask_again import ASK_WORK_KIND, estimate_cost, mark_and_start_asking
from askrows.web.views.quality import find_version_accuracy
from askrows.web.views.rows import (
    SORT_TIMEOUT_S,
    make_passage_values,
)

router = APIRouter()

# Longer side of the picture.
PICTURE_PIXELS = 640
# Longer values are displayed as texts to read, shorter values as a list of columns.
MAX_SHORT_VALUE_CHARS = 60
# Kind of background work. It contains the task but no row, which may have to be forgotten.
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
        values = _read_row_template_values(app_state, run, query, editor=last_editor)
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
            next_key = make_row_names_for_addresses(run, [next_id])[next_id]
            address = query.address("/row", task, key=[next_key], reviewed=reviewed)
        return RedirectResponse(address, status_code=303)


def _find_next_id(run: Run, query: RowQuery) -> str | None:
    """Return the id of the list's first row, or of the row after `query.after`; None at the end.

    The list of unchecked rows is that of the quality page, in the order of its random draw.
    """
    store = run.workspace.store
    after_id = store.query(run.task.require_row_id, query.after) if query.after else None
    if query.is_draw:
        return _read_draw(run).find_next_unchecked(after_id)
    options = query.make_list_options(within_s=SORT_TIMEOUT_S)._replace(after=after_id)
    rows = listed_rows.read_rows_page(store, run.task, options).rows
    return rows[0].id if rows else None


def _find_previous_id(run: Run, query: RowQuery, row_id: str) -> str | None:
    """Return the id of the row before another in its list.

    None if there is no such row, if sorting takes over SORT_TIMEOUT_S, or if the query is invalid.
    """
    if query.is_draw:
        return _read_draw(run).find_previous_wanted(row_id)
    options = query.make_list_options(within_s=SORT_TIMEOUT_S)
    options = options._replace(after=row_id, is_reversed=True)
    with suppress(InputError):
        for row in listed_rows.read_rows_page(run.workspace.store, run.task, options).rows:
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
        row_id = run.workspace.store.query(run.task.require_row_id, query.key)
        previous_id = _find_previous_id(run, query, row_id)
        previous_address = None
        if previous_id is not None:
            previous_key = make_row_names_for_addresses(run, [previous_id])[previous_id]
            previous_address = query.address("/row", task, key=[previous_key])
        position = None
        if not query.is_draw:
            position = listed_rows.find_row_position(run.workspace.store, run.task, row_id, options)
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
            _check_typed_name_and_start_forgetting(app_state, task, key, form)
        elif act in {"review", "unreview", "correct"}:
            with app_state.open_to_write(task) as run:
                correction = correct_or_review_by_form(run, key, form, editor)
        else:
            with app_state.open_to_read(task) as run, run.workspace.store.read() as tx:
                row_id = run.task.require_row_id(tx, key)
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
            values = _read_row_template_values(
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


def _read_row_template_values(
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
    `column_groups`: the columns that are asked about, then the others. A group has its long and its
    short columns, as (name, text). The marks are the places of quotations in the text of the row.
    For a passage, marks and concepts are those of the version that wrote its newest concept.

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
    row = listed_rows.read_row_details(run.workspace, run.task, key, raw=query.raw)
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
        changes_by_id = read_input_changes(tx, run.task.record, run.task.prompt_version, [row_id])
        changes = changes_by_id.get(row_id, {})
        row_title = run.task.rows.read_titles(tx, [row_id]).get(row_id, row_id)
    concepts = []
    if isinstance(run.task, PassagesTask) and columns:
        quoted_passage = run.workspace.store.query(
            read_passage_and_newest_concepts, run.task.shape, run.task, row_id
        )
        passage = make_passage_values(quoted_passage)
        marks = passage["marks"]
        concepts = passage["concepts"]

    return {
        **row,
        **_make_row_heading(row, run.task, row_title),
        "list_address": _make_list_address(query, task),
        # How many rows of the draw are checked, if the row was opened from it.
        "draw": _read_draw(run) if query.is_draw else None,
        "list_pairs": query.pairs,
        "row_path": query.address("/parts/row", task, key=[key]),
        "next_address": query.address("/review", task, after=[key]),
        "reviewed_row": _find_row_with_removable_review(run, query),
        "changes": {name: mark_change(*change) for name, change in changes.items()},
        "position_path": query.address("/parts/position", task, key=[key]),
        # The details of the row name the task of the database.
        "task": task,
        "key": key,
        "raw": query.raw,
        "column_groups": _group_columns(columns, run.task.record.asked_columns),
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


def _find_row_with_removable_review(run: Run, query: RowPageQuery) -> dict[str, str] | None:
    """Return the row `reviewed`, to remove its mark; None if there is no mark of such a row.

    It is {title, path, state}: what the page calls it, where its forms go, and the state of its
    answer.
    """
    if not query.reviewed:
        return None
    row_id = run.workspace.store.query(run.task.require_row_id, query.reviewed)
    history = corrections.read_history(run.workspace.store, run.task, query.reviewed)
    with run.workspace.store.read() as tx:
        answer = run.task.read_preferred_answers(tx, [row_id]).get(row_id)
        title = run.task.rows.read_titles(tx, [row_id]).get(row_id, row_id)
    if answer is None or answer.reviewed_at is None:
        return None
    path = query.address("/parts/row", run.workspace.settings.task, key=[query.reviewed])
    return {"title": title, "path": path, "state": history["state"]}


def _list_sent_texts(request: Mapping[str, Any]) -> list[str]:
    """Return the question and the texts of a request that was read with its lines; else []."""
    line = request.get("wire", {}).get("request")
    if line is None:
        return []
    body = json.loads(line)["request"]
    system_text = read_system_text(body)
    question_texts = [system_text] if system_text else []
    return question_texts + try_out.list_prompt_texts(body)


def _list_column_texts(columns: Mapping[str, Any], row_id: str) -> list[tuple[str, str]]:
    """Return the columns of a row as texts, except a key that is a hash and names no row."""
    return [
        (name, to_text(value))
        for name, value in columns.items()
        if name != HASH_KEY or value != row_id
    ]


def _group_columns(
    columns: Sequence[tuple[str, str]], asked_columns: Collection[str]
) -> list[dict[str, list[tuple[str, str]]]]:
    """Return the columns that are asked about, then the others: {"long": pairs, "short": pairs}.

    Columns without a text are left out.
    """
    filled_columns = [(name, text) for name, text in columns if text]
    groups = (
        [(name, text) for name, text in filled_columns if name in asked_columns],
        [(name, text) for name, text in filled_columns if name not in asked_columns],
    )
    return [
        {
            "long": [pair for pair in group if len(pair[1]) > MAX_SHORT_VALUE_CHARS],
            "short": [pair for pair in group if len(pair[1]) <= MAX_SHORT_VALUE_CHARS],
        }
        for group in groups
        if group
    ]


def _check_typed_name_and_start_forgetting(
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
            workspace = replace(run.workspace, ask_person_and_exit_on_no=answer_yes)
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
    title: str,
) -> dict[str, str]:
    """Return the `title` and `subtitle` of a row, and the address of its `picture`.

    - An imported image: the file name, no subtitle, and a picture if the image can be opened.
    - Any other row: its title, and its id as subtitle if the id is not its name.

    A subtitle or picture that is missing is "".

    Args:
        row: The document of `show`, with `name`, `row` (the id) and `state`.
        task: The task of the row.
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
    elif row["name"] != row_id:
        subtitle = row_id
    return {"title": title, "subtitle": subtitle, "picture": picture}
