"""Question page: the question and the fields of a task, and a change of them.

A change is tried on a few rows beside their present answers. If it is used, the task's file is
written with the next version. A file that a person wrote is only displayed.
"""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from pipeline.core.declaration import Declaration
from pipeline.core.errors import FindableError, InputError
from pipeline.engine.session import WorkspaceSession
from pipeline.engine.task_template import CHOICES_KIND
from pipeline.engine.user_task import UserTask
from pipeline.workflows import preflight, question_change
from web import field_shapes
from web.app_state import AppState
from web.background_work import BackgroundJob
from web.errors import RequestRefusedError, to_line
from web.mode_choices import list_mode_choices
from web.question_form import (
    KIND_LABELS,
    QuestionChange,
    QuestionForm,
    check_question,
    parse_answer_fields,
    place_message,
    read_question_form,
    show_question,
)
from web.render import FormFields, get_app_state, render_page
from web.views.imports import MAX_TRIAL_USD, TRIAL_ROWS, ask_in_mode

router = APIRouter()


@router.get("/question", include_in_schema=False)
def render_question(request: Request, task: str) -> HTMLResponse:
    """Render the question and the fields of a task; 404 if its task has no file."""
    app_state = get_app_state(request)
    with app_state.open_to_read(task) as ws:
        change = app_state.question_changes.get(task)
        # A change that was used or refused is over when the page is loaded again.
        if change is not None and not change.is_busy:
            del app_state.question_changes[task]
        return render_page(request, "question.html", ws, **_question_values(app_state, ws))


@router.get("/parts/question", include_in_schema=False)
def render_change(request: Request, task: str) -> HTMLResponse:
    """Render the form of a change, and what its latest step has reached."""
    app_state = get_app_state(request)
    with app_state.open_to_read(task) as ws:
        return render_page(request, "parts/change.html", ws, **_question_values(app_state, ws))


@router.post("/parts/question", include_in_schema=False)
def act_on_question(request: Request, task: str, form: FormFields) -> HTMLResponse:
    """Start the step of the pressed button; render the form, with the error if it is refused.

    A form with `question` tries a change, a form with `use` writes it into the task's file, and a
    form with `ask` asks all rows.
    """
    app_state = get_app_state(request)
    change = app_state.question_changes.get(task)
    if "ask" in form and change is not None and change.is_used:
        return ask_in_mode(app_state, task, change.mode_choices, form.get("mode", ""))
    if change is not None and change.is_busy:
        change.error_message = "The change is being tried or written now; nothing was changed."
        return render_change(request, task)

    if "question" in form:
        change = QuestionChange(read_question_form(form, ()))
        app_state.question_changes[task] = change
    if change is None:
        raise RequestRefusedError(409, "no change was tried; nothing was changed")

    change.typed.messages.clear()
    change.error_message = ""
    try:
        if "question" in form:
            _start_trial(app_state, task, change)
        else:
            change.chosen_mode = form.get("mode", "")
            _start_using(app_state, task, change)
    except InputError as error:
        change.error_message = place_message(change.typed, error)
    except FindableError as error:
        change.error_message = to_line(error)
    return render_change(request, task)


def _start_trial(app_state: AppState, task: str, change: QuestionChange) -> None:
    """Start to ask the changed question about TRIAL_ROWS rows for at most MAX_TRIAL_USD.

    Raises:
        InputError: A part of the form is invalid, or nothing was changed.
        RequestRefusedError: 409, a person wrote the task's file.
    """
    check_question(change.typed)
    fields = parse_answer_fields(change.typed)
    with app_state.open_to_read(task) as ws:
        present = question_change.read_written_task(ws.task)
        if present is None:
            raise RequestRefusedError(409, "the task's file is edited in an editor")
        question = change.typed.question.replace("\r\n", "\n")
        planned = question_change.plan_change(ws, present, question, fields)
    if planned._replace(version=present.version).render() == present.render():
        raise InputError("change the question or a field first", field="question")

    def run(display: BackgroundJob) -> dict[str, Any]:
        with app_state.open_to_write(task, display) as ws:
            ws.agreed_usd = MAX_TRIAL_USD
            trial = question_change.try_change(ws, planned, size=TRIAL_ROWS)
        change.pairs = trial.pairs
        change.row_count = trial.row_count
        change.accuracy = trial.accuracy
        change.mode_choices = list_mode_choices(trial.estimate) if trial.estimate else []
        change.present = present
        change.tried = planned
        return {"summary": f"{len(trial.pairs)} rows tried"}

    change.step = "try"
    change.work = app_state.running.start(f"try-change {task}", run, task=task)


def _start_using(app_state: AppState, task: str, change: QuestionChange) -> None:
    """Start to write the tried change into the task's file, and to estimate the cost of all rows.

    Raises:
        RequestRefusedError: 409, no change was tried.
    """
    present = change.present
    planned = change.tried
    if present is None or planned is None:
        raise RequestRefusedError(409, "no change was tried; nothing was changed")

    def run(display: BackgroundJob) -> dict[str, Any]:
        question_change.write_change(app_state.settings.data, present, planned)
        with app_state.open_to_write(task, display) as ws:
            ws.sync_rows()
        with app_state.open_to_read(task) as ws:
            estimate = preflight.estimate_open_rows(ws, limit=None, deadline_s=None)
        change.row_count = estimate.plan.items
        change.mode_choices = list_mode_choices(estimate)
        return {"summary": f"version {planned.version} is used"}

    change.step = "use"
    change.work = app_state.running.start(f"change {task}", run, task=task)


def _question_values(app_state: AppState, ws: WorkspaceSession) -> dict[str, Any]:
    """Return the variables of the templates `question.html` and `parts/change.html`.

    Raises:
        RequestRefusedError: 404, the task has no file.
    """
    task = ws.task
    if not isinstance(task, UserTask) or task.user_file.path is None:
        raise RequestRefusedError(404, f"the question of {ws.settings.task!r} is part of findable")

    written_task = question_change.read_written_task(task)
    change = app_state.question_changes.get(ws.settings.task) or QuestionChange(QuestionForm())
    values: dict[str, Any] = {"question": "", "prompt": "", "fields": [], "error_message": ""}
    has_change = ws.settings.task in app_state.question_changes
    if written_task is not None and not has_change:
        change = QuestionChange(show_question(written_task))
    if written_task is None or app_state.access.readonly:
        try:
            values |= _describe_declaration(task.user_file.declaration)
        except FindableError as error:
            values["error_message"] = to_line(error)
    return values | {
        "change": change,
        "work": change.work.document if change.work else None,
        "is_editable": written_task is not None,
        "version": written_task.version if written_task else task.record.version,
        "file": str(task.user_file.path),
        "kind_labels": KIND_LABELS,
        "choices_kind": CHOICES_KIND,
        "max_trial_usd": MAX_TRIAL_USD,
        "trial_rows": TRIAL_ROWS,
    }


def _describe_declaration(declaration: Declaration[Any]) -> dict[str, Any]:
    """Return the question, the prompt and the fields of a declaration."""
    return {
        "question": declaration.system.strip(),
        "prompt": declaration.prompt,
        "fields": list(field_shapes.make_shapes(declaration.answer).items()),
    }
