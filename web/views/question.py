"""Question page: the question and the fields of a task, and a change of them.

A change of the question goes through two steps, each as background work. It is tried: a few rows
are asked, and their answers are compared with the present ones. Then it is used: the task's file is
written with the next version. A file that a person wrote is only displayed.
"""

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from pipeline.core.declaration import Declaration
from pipeline.core.errors import FindableError, InputError
from pipeline.engine.task import Task
from pipeline.engine.user_task import UserTask
from pipeline.quality import label_accuracy
from pipeline.workflows import preflight, question_change
from web import field_shapes
from web.app_state import AppState
from web.background_work import BackgroundJob
from web.errors import RequestRefusedError, to_line
from web.mode_choices import list_mode_choices
from web.question_form import (
    KIND_LABELS,
    KIND_PARTS,
    QuestionChange,
    QuestionForm,
    check_question,
    parse_answer_fields,
    place_message,
    read_question_form,
    show_question,
)
from web.render import FormFields, PageState, render_page
from web.views.imports import MAX_TRIAL_USD, TRIAL_ROWS, ask_in_mode
from web.views.version_accuracy import NO_DIFFERENCE_TEXT

router = APIRouter()

BUSY_MESSAGE = (
    "a change of this question is being tried or written now; nothing was changed. "
    "Press again when it has ended"
)
ACCURACY_VERDICTS = {
    label_accuracy.BETTER_A: "the present question is better",
    label_accuracy.BETTER_B: "the new question is better",
    label_accuracy.NO_DIFFERENCE: NO_DIFFERENCE_TEXT,
}
OUTDATED_MESSAGE = "The question was changed meanwhile. This is the typed change: try it again."


@router.get("/question", include_in_schema=False)
def render_question(app_state: PageState, task: str) -> HTMLResponse:
    """Render the question and the fields of a task; 404 if its task has no file."""
    with app_state.open_to_read(task) as ws:
        _drop_outdated_change(app_state, ws.task)
        return render_page(
            app_state,
            "question.html",
            ws,
            **_question_values(app_state, ws.task),
        )


def _drop_outdated_change(app_state: AppState, task: Task) -> None:
    """Forget the change of a task's question that the page keeps in memory, if it is outdated.

    - A change that was written into the task's file is forgotten: when the page is opened anew, the
      file has it.
    - If the task's file was changed after a change was tried, only the trial and its answers are
      forgotten. The typed texts stay, with a message.
    - Any other change stays, and so does a change that is being tried or written now.
    """
    change = app_state.question_changes.get(task.subject)
    if change is None or change.is_busy:
        return

    if change.is_written:
        del app_state.question_changes[task.subject]
        return
    written_task = question_change.read_written_task(task)
    is_outdated = change.task_before is not None and (
        written_task is None or written_task.render() != change.task_before.render()
    )
    if is_outdated:
        app_state.question_changes[task.subject] = QuestionChange(
            change.typed, error_message=OUTDATED_MESSAGE
        )


@router.get("/parts/question", include_in_schema=False)
def render_change_result(app_state: PageState, task: str) -> HTMLResponse:
    """Render the progress or the results of the latest step that changes a task's question.

    The form with the typed texts is not rendered, so that it is not overwritten. But once the
    change is written into the task's file, the response replaces the form, too.
    """
    with app_state.open_to_read(task) as ws:
        values = _question_values(app_state, ws.task)
        if not values["change"].is_written:
            return render_page(app_state, "parts/change_result.html", ws, **values)
        response = render_page(app_state, "parts/change.html", ws, **values)
    response.headers["hx-retarget"] = "#change"
    response.headers["hx-reswap"] = "outerHTML"
    return response


@router.post("/parts/question", include_in_schema=False)
def act_on_question(app_state: PageState, task: str, form: FormFields) -> HTMLResponse:
    """Start the step of the pressed button; render the form, with the error if it is refused.

    The page keeps one change of the question for each task, in the memory of the server. The first
    of these rules that fits the form decides:

    - `ask`, if the change was written into the task's file: ask all rows.
    - Any form while a change is being tried or written: refuse it.
    - `discard`: forget the change.
    - `question`: try the typed question as the new change, in the background.
    - Any other form, also `ask` too early: write the change into the task's file, in the
      background. This is refused if the change was not tried.

    A refused form is rendered as it was typed. The kept change stays as it is, also if another
    browser tab made it.
    """
    change = app_state.question_changes.get(task)
    if "ask" in form and change is not None and change.is_written:
        return ask_in_mode(app_state, task, change.mode_choices, form.get("mode", ""))

    typed = None
    if "question" in form and "discard" not in form:
        typed = read_question_form(form, ())
    error_message = ""
    try:
        if change is not None and change.is_busy:
            raise RequestRefusedError(409, BUSY_MESSAGE, field="question")
        if "discard" in form:
            app_state.question_changes.pop(task, None)
        elif typed is not None:
            _start_trial(app_state, task, typed)
        else:
            _start_writing_change(app_state, task, change, form)
    except FindableError as error:
        error_message = to_line(error)
        if typed is not None and isinstance(error, InputError):
            error_message = place_message(typed, error)
    return _render_change(app_state, task, typed, error_message)


def _render_change(
    app_state: AppState,
    task: str,
    typed: QuestionForm | None,
    error_message: str,
) -> HTMLResponse:
    """Render the form that changes a task's question, with the progress of the latest change.

    Args:
        app_state: The state of the page.
        task: The task.
        typed: The form as it was just submitted, with its own errors; None for the form of the
            latest change.
        error_message: Why a step of the change was refused. If it is "", the error of the latest
            change is rendered, if it has any.
    """
    with app_state.open_to_read(task) as ws:
        values = _question_values(app_state, ws.task)
        if typed is not None:
            values["typed"] = typed
        values["error_message"] = error_message or values["error_message"]
        return render_page(app_state, "parts/change.html", ws, **values)


def _start_trial(app_state: AppState, task: str, typed: QuestionForm) -> None:
    """Start to ask the changed question about TRIAL_ROWS rows for at most MAX_TRIAL_USD.

    The new change replaces the latest one, with its trial.

    Raises:
        InputError: A part of the form is invalid, or nothing was changed.
        RequestRefusedError: 409, a person wrote or edited the task's file, so the page cannot
            change it.
    """
    check_question(typed)
    with app_state.open_to_read(task) as ws:
        task_before = question_change.read_written_task(ws.task)
        if task_before is None:
            raise RequestRefusedError(409, "the task's file is edited in an editor")
        vocabularies = {answer_field.vocabulary for answer_field in task_before.fields}
        fields = parse_answer_fields(typed, vocabularies)
        question = typed.question.replace("\r\n", "\n")
        changed_task = question_change.plan_change(
            ws.store, ws.task, task_before=task_before, question=question, fields=fields
        )
    if changed_task._replace(version=task_before.version).render() == task_before.render():
        raise InputError("change the question or a field first", field="question")
    change = QuestionChange(typed, task_before=task_before)

    def try_change(display: BackgroundJob) -> dict[str, Any]:
        """Try the change for at most MAX_TRIAL_USD, and write the results into `change`.

        Returns the summary. No answer is stored, and the task's file stays as it is.
        """
        with app_state.open_to_write(task, display) as ws:
            ws.agreed_usd = MAX_TRIAL_USD
            trial = question_change.try_change(ws, changed_task, size=TRIAL_ROWS)
        change.pairs = trial.pairs
        change.trial_number = display.number
        change.row_count = trial.row_count
        change.accuracy = trial.accuracy
        change.mode_choices = list_mode_choices(trial.estimate) if trial.estimate else []
        change.changed_task = changed_task
        return {"summary": f"{len(trial.pairs)} rows tried"}

    change.step = "try"
    change.work = app_state.background_work.start(f"try-change {task}", try_change, task=task)
    app_state.question_changes[task] = change


def _start_writing_change(
    app_state: AppState,
    task: str,
    change: QuestionChange | None,
    form: Mapping[str, str],
) -> None:
    """Start to write the tried change into the task's file and to estimate the cost of all rows.

    The form's `trial` is the number of the trial that the person saw. `mode` is the mode that the
    person chose for asking all rows; it is only stored, to be preselected in the next step.

    Raises:
        RequestRefusedError: 409, no change was tried, or another one than the person saw.
    """
    if change is None or change.task_before is None or change.changed_task is None:
        raise RequestRefusedError(409, "no change was tried; nothing was changed")
    if form.get("trial") != str(change.trial_number):
        raise RequestRefusedError(
            409,
            "another change was tried meanwhile, in another tab; nothing was changed. "
            "Check its answers, then press again",
        )
    task_before = change.task_before
    changed_task = change.changed_task
    change.chosen_mode = form.get("mode", "")

    def write_change(display: BackgroundJob) -> dict[str, Any]:
        """Write the task's file, sync its rows, and estimate the cost of the open rows.

        Returns the summary. No row is asked. `change` gets the row count and the modes.

        Raises:
            FindableError: For example, the file was changed meanwhile; it stays as it is.
        """
        question_change.write_change(app_state.settings.data, task_before, changed_task)
        with app_state.open_to_write(task, display) as ws:
            ws.sync_rows()
        with app_state.open_to_read(task, display) as ws:
            estimate = preflight.estimate_open_rows(ws, limit=None, deadline_s=None)
        change.row_count = estimate.plan.items
        change.mode_choices = list_mode_choices(estimate)
        return {"summary": f"version {changed_task.version} is used"}

    change.step = "use"
    change.work = app_state.background_work.start(f"change {task}", write_change, task=task)


def _question_values(app_state: AppState, task: Task) -> dict[str, Any]:
    """Return the variables of the templates of a question and of its change.

    - `question`, `prompt` and `fields` describe the task's file if the question cannot be edited
      here, because a person wrote the file or the page is read-only. They are empty if it can be
      edited, and if the file cannot be read.
    - `error_message` says why the file cannot be read. Otherwise it is that of the latest change.
    - All other variables describe the latest change and the task.

    Raises:
        RequestRefusedError: 404, the task has no file.
    """
    if not isinstance(task, UserTask) or task.user_file.path is None:
        raise RequestRefusedError(404, f"the question of {task.subject!r} is part of findable")

    written_task = question_change.read_written_task(task)
    change = app_state.question_changes.get(task.subject)
    has_change = change is not None
    if change is None:
        typed = show_question(written_task) if written_task is not None else QuestionForm()
        change = QuestionChange(typed)
    values: dict[str, Any] = {
        "question": "",
        "prompt": "",
        "fields": [],
        "error_message": change.error_message,
    }
    if written_task is None or app_state.access.readonly:
        try:
            values |= _describe_declaration(task.user_file.declaration)
        except FindableError as error:
            values["error_message"] = to_line(error)
    return values | {
        "change": change,
        "has_change": has_change,
        "typed": change.typed,
        "work": change.work.document if change.work else None,
        "is_editable": written_task is not None,
        "version": written_task.version if written_task else task.record.version,
        "file": str(task.user_file.path),
        "kind_labels": KIND_LABELS,
        "kind_parts": KIND_PARTS,
        "accuracy_verdicts": ACCURACY_VERDICTS,
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
