"""Cell of a choice in the list of rows: its choices, and its correction."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from askrows.pipeline.batch.run import Run
from askrows.pipeline.tasks import corrections
from askrows.web.app_state import AppState
from askrows.web.corrections_form import (
    CorrectionResult,
    LastEditor,
    correct_or_review_by_form,
    list_choices,
    make_editors,
    remember_editor,
)
from askrows.web.errors import RequestRefusedError
from askrows.web.render import (
    FormFields,
    PageState,
    render_page,
)
from askrows.web.views.rows import (
    ANSWER_CHANGED_EVENT,
)

router = APIRouter()


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

    If the form is accepted, the editor's name is stored in a cookie, and the response triggers
    ANSWER_CHANGED_EVENT in the browser.
    """
    editor = form.get("who") or last_editor
    with app_state.open_to_write(task) as run:
        result = correct_or_review_by_form(run, key, form, editor)
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
