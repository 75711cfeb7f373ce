"""Question page: the question and the fields of a task, also as the draft of a new task."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.concurrency import iterate_in_threadpool, run_in_threadpool

from askrows.pipeline.core import files
from askrows.pipeline.core.answer_fields import list_answer_fields
from askrows.pipeline.core.declaration import ReadOptions
from askrows.pipeline.core.errors import AskrowsError, InputError
from askrows.pipeline.ops import forget
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.user_file import UserFile
from askrows.pipeline.workspace.open_workspace import answer_yes
from askrows.web.app_state import AppState
from askrows.web.errors import RequestRefusedError, to_line
from askrows.web.question_form import QuestionForm, make_question_form
from askrows.web.render import FormFields, PageState, render_page
from askrows.web.uploads import NEW_TASK
from askrows.web.views.imports import start_reading_upload

router = APIRouter()


@router.get("/question", include_in_schema=False)
def render_question(app_state: PageState, task: str) -> HTMLResponse:
    """Render the question and the fields of a task, or the error of its file.

    The page also says why no new task can be drafted from this one, if so. It is 404 if the task
    has no file.
    """
    with app_state.open_to_read(task) as run:
        user_file = _require_file(run.task)
        values: dict[str, Any] = {"fields": (), "obstacle": ""}
        try:
            declaration = user_file.declaration
            values |= {
                "question": declaration.system.strip(),
                "prompt": declaration.prompt,
                "fields": list_answer_fields(declaration.answer),
            }
            _make_draft(user_file)
        except AskrowsError as error:
            values["obstacle"] = to_line(error)
        return render_page(
            app_state,
            "question.html",
            run,
            file=Path(str(user_file.path)).name,
            **values,
        )


@router.post("/question", include_in_schema=False)
async def use_as_draft(app_state: PageState, task: str) -> RedirectResponse:
    """Open the form for a new task, filled with the question and the table of a task.

    The table is copied as an upload. Nothing is asked, and the task stays as it is.

    Raises:
        RequestRefusedError: 404, the task has no file; 507, the disk is full.
        InputError: The rows are not in a file, or the form has no kind for a field.
        AskrowsError: The task's file cannot be read.
    """
    table, read_options, question_form = await run_in_threadpool(_read_draft, app_state, task)
    with table.open("rb") as reader:
        upload = await app_state.uploads.save(
            NEW_TASK,
            table.name,
            iterate_in_threadpool(files.iterate_pieces(reader)),
            mapping="",
            read_options=read_options,
        )
    upload.typed_question = question_form
    start_reading_upload(app_state, upload)
    address = urlencode({"task": task, "number": upload.number})
    return RedirectResponse(f"/add?{address}", status_code=303)


@router.post("/question/remove", include_in_schema=False)
def remove_task(app_state: PageState, task: str, form: FormFields) -> RedirectResponse:
    """Delete a task whose name was typed, with its rows, answers, files and finished work.

    Raises:
        RequestRefusedError: 422, the form has another name.
        AskrowsError: The task cannot be deleted.
    """
    if form.get("name") != task:
        raise RequestRefusedError(422, "type the name of the task; nothing was removed")
    with app_state.open_to_write(task) as run:
        # Typing the name has confirmed it.
        workspace = replace(run.workspace, ask_person_and_exit_on_no=answer_yes)
        forget.forget_task(replace(run, workspace=workspace))
    app_state.background_work.delete_finished(task=task)
    return RedirectResponse("/#removed", status_code=303)


def _read_draft(app_state: AppState, task: str) -> tuple[Path, ReadOptions, QuestionForm]:
    with app_state.open_to_read(task) as run:
        return _make_draft(_require_file(run.task))


def _make_draft(user_file: UserFile) -> tuple[Path, ReadOptions, QuestionForm]:
    """Return the table of a task, how it is read, and the filled form for a new task.

    Raises:
        InputError: The rows are not in a file, or the form has no kind for a field.
        AskrowsError: The task's file cannot be read.
    """
    declaration = user_file.declaration
    table = Path(user_file.record.items)
    if user_file.record.is_query or not table.is_file():
        raise InputError("the rows of this task are not in a file")
    read_options = ReadOptions(declaration.sheet, declaration.encoding, declaration.header)
    return table, read_options, make_question_form(declaration, user_file.record.columns)


def _require_file(task: Task) -> UserFile:
    """Return the file that declares a task.

    Raises:
        RequestRefusedError: 404, the task has no file.
    """
    if task.user_file.path is None:
        raise RequestRefusedError(404, f"the question of {task.subject!r} is part of askrows")
    return task.user_file
