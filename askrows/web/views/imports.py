"""Add page: the rows of an uploaded file, a new task from such a file, or a new row.

A file is read and its rows are displayed before anything is written. An upload is such a file with
its steps; each step runs in the background. A dry import reports what an import would change. A
file that is dropped on a task, but is no newer table of the task, becomes a new task.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse
from markupsafe import escape
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.declaration import HASH_KEY, ReadOptions
from askrows.pipeline.core.errors import AskrowsError, InputError
from askrows.pipeline.core.settings import DEFAULT_TASK
from askrows.pipeline.ops.open_task import (
    open_used_or_temporary_workspace,
    open_workspace,
)
from askrows.pipeline.rows.database_table import find_file_key_column, list_file_columns
from askrows.pipeline.rows.headers import HeaderError
from askrows.pipeline.rows.row_findings import SourceRow
from askrows.pipeline.rows.row_import import ImportOptions, ImportReport
from askrows.pipeline.rows.source import FileSource
from askrows.pipeline.store.task_record import TaskRecord
from askrows.pipeline.tasks.task import Task
from askrows.pipeline.tasks.task_template import GUESS_ALL_COLUMNS, ColumnChoice
from askrows.pipeline.workflows import (
    ask,
    new_task_files,
    row_importers,
    table_replacement,
)
from askrows.pipeline.workflows.column_guesses import find_near_key
from askrows.pipeline.workspace.open_workspace import Access
from askrows.web.app_state import FILE_TASKS, AppState
from askrows.web.background_work import BackgroundJob
from askrows.web.errors import RequestRefusedError, to_line
from askrows.web.page_texts import list_sent_columns
from askrows.web.question_form import (
    KIND_LABELS,
    KIND_PARTS,
    ROLE_LABELS,
    UNSENT_ROLE,
    QuestionForm,
    TypedField,
    assign_roles,
    check_question,
    parse_answer_fields,
    parse_column_roles,
    read_question_form,
    store_message,
    to_name,
)
from askrows.web.render import FormFields, PageState, find_drop_task, find_used_tasks, render_page
from askrows.web.uploads import NEW_TASK, Upload
from askrows.web.views.command_api import start_or_join_command

router = APIRouter()

# A new question is tried on this many rows, at most at this cost.
TRIAL_ROWS = 5
MAX_TRIAL_USD = 0.05
MAX_PREVIEW_ROWS = 4
# States of an upload while a step runs, and those in which a step can start.
BUSY_STATES = ("reading", "trying", "importing")
IDLE_STATES = ("ready", "failed", "unreadable")
# Meaning of each kind of finding for its row.
FINDING_LABELS = {
    "rejected": "left out: correct it, and drop the file again",
    "changed": "imported without it, or as stated",
}
TaskName = Annotated[str, Query(max_length=200)]
FileName = Annotated[str, Query(min_length=1, max_length=1_000)]
ShortText = Annotated[str, Query(max_length=100)]
ColumnMapping = Annotated[str, Query(alias="map", max_length=4_000)]


@router.post("/api/imports", status_code=202)
async def upload_file(
    app_state: PageState,
    request: Request,
    *,
    task: TaskName,
    name: FileName,
    # In the address it is called `map`.
    mapping: ColumnMapping = "",
    encoding: ShortText = "",
    header: ShortText = "",
) -> JSONResponse:
    """Store a file of at most 1 GB, start to read it, and return its upload with status 202.

    Nothing is imported yet. `task` is in FILE_TASKS, a task whose table is stored in the
    workspace and is replaced by the file, or `new` to create a task from the file; any other task
    is refused with 422. The parameters `map`, `encoding` and `header` have the syntax of `MAP=`,
    `ENCODING=` and `HEADER=`. `GET` of the returned location returns the import that the file would
    cause.
    """
    if task != NEW_TASK:
        await run_in_threadpool(_check_files_can_be_imported, app_state, task)

    upload = await app_state.uploads.save(
        task,
        name,
        request.stream(),
        mapping=mapping,
        read_options=ReadOptions(encoding=encoding.strip(), header=header.strip()),
    )
    start_reading_upload(app_state, upload)
    headers = {"location": f"/api/imports/{upload.number}"}
    return JSONResponse(upload.document, status_code=202, headers=headers)


@router.get("/api/imports/{number}")
def get_import(app_state: PageState, number: int) -> dict[str, Any]:
    """Return the state of an upload: its columns, the dry import (`found`), the import (`done`)."""
    return app_state.uploads.get(number).document


@router.delete("/api/imports/{number}", status_code=204)
def discard_import(app_state: PageState, number: int) -> Response:
    """Delete an uploaded file; rows that were imported from it stay."""
    app_state.uploads.discard(number)
    return Response(status_code=204)


@router.get("/add", include_in_schema=False)
def render_add(
    app_state: PageState,
    task: str | None = None,
    number: int | None = None,
) -> HTMLResponse:
    """Render the area for a file, or the state of upload `number`.

    The workspace need not have the task yet. An unknown number is refused with 404.
    """
    with app_state.open_to_read(task if task and app_state.has_task(task) else None) as run:
        if number is None:
            return render_drop_area(app_state, run, task=task or NEW_TASK)
        upload = app_state.uploads.get(number)
        return render_page(
            app_state,
            "add.html",
            run,
            # Another file is for the task that this file was dropped for.
            drop_task=upload.task,
            is_empty=not find_used_tasks(run),
            **_make_upload_variables(upload, run.task),
        )


def render_drop_area(app_state: AppState, run: Run, *, task: str) -> HTMLResponse:
    """Render the page with the area for a file; for the default task, also a form for a new row."""
    record = row_importers.load_default_record()
    return render_page(
        app_state,
        "add.html",
        run,
        upload=None,
        drop_task=find_drop_task(run, task),
        is_own_source=task == run.task.subject and find_drop_task(run, task) == NEW_TASK,
        is_empty=not find_used_tasks(run),
        new_row_fields=_list_fields_of_new_row_form(record) if task == DEFAULT_TASK else (),
        new_row_noun=record.words[0],
    )


def _list_fields_of_new_row_form(record: TaskRecord) -> list[dict[str, Any]]:
    """Return the fields of the form for a new row: name, label, kind of input, and two flags.

    `is_key`: the field names the row. `is_read`: the column is required. A column that is not of
    the type text has the kind "number".
    """
    fields = list[dict[str, Any]]()
    for name in list_file_columns(record):
        is_needed = name in record.required_columns
        kind = "area" if is_needed else "text"
        if record.columns[name] != "text":
            kind = "number"
        label = name.replace("_", " ").capitalize()
        is_key = name == find_file_key_column(record)
        fields.append(
            {"name": name, "label": label, "kind": kind, "is_key": is_key, "is_read": is_needed}
        )
    return fields


@router.get("/parts/import", include_in_schema=False)
def render_import(app_state: PageState, number: int) -> HTMLResponse:
    """Render the state of an upload."""
    return _render_upload(app_state, number)


@router.get("/parts/import/rows", include_in_schema=False)
def render_asked_row_count(app_state: PageState, number: int, request: Request) -> HTMLResponse:
    """Render how many rows of a new task are asked, or the error of its table.

    The roles of the columns in the query string are stored in the upload.
    """
    upload = app_state.uploads.get(number)
    roles = read_question_form(request.query_params, upload.columns).roles
    upload.typed_question = replace(upload.typed_question, roles=roles)
    try:
        _count_rows(app_state, upload)
    except AskrowsError as error:
        message = escape(to_line(error))
        return HTMLResponse(f'<span class="warn" role="alert">{message}</span>')
    with app_state.open_to_read() as run:
        return render_page(app_state, "parts/row_counts.html", run, upload=upload)


@router.post("/parts/import", include_in_schema=False)
def act_on_import(app_state: PageState, number: int, form: FormFields) -> HTMLResponse:
    """Start the step of the pressed button; render the upload, with the error if it is refused.

    The form's members decide: `question` tries the question, `keep` creates the task and asks all
    rows, and `task` reads the file again, for this task. Any other form imports the file. While a
    step of the upload runs, none can start. The form is then refused with a message, but a question
    in it is stored, so that the form shows it again.
    """
    upload = app_state.uploads.get(number)
    if "question" in form and upload.columns:
        # Another tab may have typed another question.
        upload.typed_question = read_question_form(form, upload.columns)
    if upload.state not in IDLE_STATES:
        return _render_upload(
            app_state,
            number,
            error_message=f"the file is {upload.state} now; nothing was changed",
        )

    typed = upload.typed_question
    typed.messages.clear()
    error_message = ""
    pressed = "import"
    try:
        if "question" in form:
            pressed = "try"
            _start_trial(app_state, upload, typed)
        elif "keep" in form:
            pressed = "keep"
            upload.suggested_name = to_name(form["keep"]).lower()
            _start_task_creation(
                app_state, upload, upload.suggested_name, mode=form.get("mode", "")
            )
        elif "task" in form:
            _restart_reading(app_state, upload, form)
        else:
            _start_import(app_state, upload, asking_mode=form.get("mode", ""))
    except InputError as error:
        error_message = store_message(typed, error)
    except AskrowsError as error:
        error_message = to_line(error)
    return _render_upload(app_state, number, error_message=error_message, pressed=pressed)


def _restart_reading(app_state: AppState, upload: Upload, form: Mapping[str, str]) -> None:
    """Start to read a file again, for the form's task and with its encoding and header.

    The results of the former reading and the roles of the columns are removed.

    Raises:
        RequestRefusedError: 422, files cannot be imported for the task.
    """
    task = form["task"]
    if task != NEW_TASK:
        _check_files_can_be_imported(app_state, task)
    upload.task = task
    upload.read_options = ReadOptions(
        encoding=form.get("encoding", "").strip(), header=form.get("header", "").strip()
    )
    upload.preview = None
    upload.table_guess = None
    upload.is_header_proposed = False
    upload.near_key = None
    # Another line has other columns.
    upload.typed_question.roles = {}
    start_reading_upload(app_state, upload)


def _start_step(
    app_state: AppState,
    upload: Upload,
    step: str,
    run: Callable[[BackgroundJob], Any],
) -> None:
    """Start a step of an upload in a thread; the upload is in the running state of the step."""
    upload.step = step
    kind = f"{step} {upload.path.name} (file {upload.number % 1000})"
    upload.work = app_state.background_work.start(kind, run)


def start_reading_upload(app_state: AppState, upload: Upload) -> None:
    """Start to read an upload in a thread: guess the columns of a new task, or run a dry import.

    If the upload has roles of columns already, they are kept, and the provider gets no other
    column. If the file does not fit its task, and no mapping of columns was given, the upload
    becomes one of a new task.

    The thread sets the upload's `table_guess` or `preview`, and its first MAX_PREVIEW_ROWS rows.
    Nothing is written to the workspace.
    """

    def fill_upload(display: BackgroundJob) -> None:
        """Set what the next page shows about the uploaded file, as members of `upload`.

        - If the first line is not the header, read with the proposed header.
        - For a new task (NEW_TASK), guess the columns and their roles, and find unreadable rows.
        - For an existing task, run its import without changes (dry), and keep the preview. If the
          file does not fit the task, it becomes a new task.

        Then the first rows are read. If only the task's own import can read the file, there are no
        first rows. An error of the first step fails the background work.
        """
        try:
            _read_upload(app_state, upload, display)
        except HeaderError as error:
            upload.read_options = replace(upload.read_options, header=error.header)
            upload.is_header_proposed = True
            _read_upload(app_state, upload, display)

        # Some files can be read by an import only; these have no first rows.
        with suppress(AskrowsError):
            source_rows = FileSource(upload.path, upload.read_options)
            readable_rows = (dict(row.values) for row in source_rows if isinstance(row, SourceRow))
            upload.first_rows = list(islice(readable_rows, MAX_PREVIEW_ROWS))

    _start_step(app_state, upload, "read", fill_upload)


def _read_upload(app_state: AppState, upload: Upload, display: BackgroundJob) -> None:
    """Guess the columns of a new task, or run a dry import into an existing task.

    If the dry import refuses the file, the upload becomes one of a new task, with the former task
    as `mismatched_task`. If a mapping or a reading option was given, or the new task would ask no
    row, the error is raised instead.

    Raises:
        HeaderError: The first line is not the header, and no other line was chosen.
        AskrowsError: The file cannot be read or imported.
    """
    if upload.task == NEW_TASK:
        _guess_columns(app_state, upload)
        return
    try:
        _dry_run_import(app_state, upload, display)
    except HeaderError:
        raise
    except InputError:
        has_options = upload.read_options.given_options and not upload.is_header_proposed
        if upload.mapping or has_options:
            raise
        _guess_columns(app_state, upload)
        if not upload.row_count:
            upload.table_guess = None
            raise
        upload.mismatched_task = upload.task
        upload.task = NEW_TASK


def _dry_run_import(app_state: AppState, upload: Upload, display: BackgroundJob) -> None:
    """Run an import without changes; set `upload.preview`, and `upload.estimate` if it has one.

    Raises:
        AskrowsError: The file cannot be imported.
    """
    # Looking creates no table if the workspace has no such task yet.
    settings = replace(app_state.settings, task=upload.task)
    with open_used_or_temporary_workspace(settings, display, may_lack_row_table=True) as run:
        _check_files_can_be_imported(app_state, upload.task)
        options = ImportOptions(upload.mapping, upload.read_options, dry=True)
        upload.preview = _import_file(run, upload, options)
    if isinstance(upload.preview, table_replacement.TableReport):
        upload.estimate = upload.preview.estimate


def _guess_columns(app_state: AppState, upload: Upload) -> None:
    """Guess the columns of a new task and their roles, count its rows, find unreadable rows.

    If no column is a key, a column that is nearly a key names the rows. Roles that the upload has
    already are kept. The results are set as members of `upload`.

    Raises:
        AskrowsError: The file cannot be read, or has no rows.
    """
    with app_state.open_to_read() as run:
        draft = new_task_files.draft_task(
            run.workspace.store, _parse_table(upload, GUESS_ALL_COLUMNS)
        )
    upload.table_guess = draft.guess
    upload.columns = tuple(draft.source.columns)
    key = draft.guess.key
    if key == HASH_KEY:
        upload.near_key = find_near_key(draft.source.columns, draft.source)
    if upload.near_key is not None:
        key = upload.near_key.column
    roles = upload.typed_question.roles or assign_roles(
        upload.columns, key=key, sent=draft.guess.sent
    )
    # The table of a draft may have other columns than its task.
    upload.typed_question.roles = {
        column: roles.get(column, UNSENT_ROLE) for column in upload.columns
    }
    _count_rows(app_state, upload)
    if not upload.row_report.rows:
        raise InputError(f"{upload.path.name} has no rows below its headings")
    upload.source_findings = ImportReport("")
    upload.source_findings.count_and_write_findings(upload.row_report.findings, None)


def _parse_table(upload: Upload, choice: ColumnChoice) -> new_task_files.UnwrittenTask:
    """Return a task about an uploaded file that has no question yet."""
    table = ask.TableToAsk(upload.path, upload.read_options, choice=choice)
    return ask.parse_new_task("", table, data=None)


def _count_rows(app_state: AppState, upload: Upload) -> None:
    """Count which rows of a new task are asked, with the roles of its columns.

    Raises:
        AskrowsError: The roles of the columns are invalid, or the file cannot be read.
    """
    choice = parse_column_roles(upload.typed_question.roles)
    with app_state.open_to_read() as run:
        upload.row_report = ask.count_rows(run, _parse_table(upload, choice))
    upload.row_count = upload.row_report.askable_rows


def _start_import(app_state: AppState, upload: Upload, *, asking_mode: str) -> None:
    """Start to import a file that was read; the file is deleted if the import succeeds.

    If a mode is given, the new, changed and open rows are asked then.

    Raises:
        RequestRefusedError: 422, the mode cannot be chosen.
    """
    cost = _find_cost(upload, asking_mode) if asking_mode else 0.0

    def import_and_ask(display: BackgroundJob) -> dict[str, Any]:
        """Import the file and delete it; return the summary of the import.

        If a mode was chosen, asking the rows is started then, for at most `cost`.

        Raises:
            AskrowsError: The import failed, or its report says that it imported no row. The file
                stays.
        """
        settings = replace(app_state.settings, task=upload.task)
        options = ImportOptions(upload.mapping, upload.read_options)
        _check_files_can_be_imported(app_state, upload.task)
        with open_workspace(settings, display, access=Access.WRITE) as run:
            report = _import_file(run, upload, options)
        report.require_imported_row()
        app_state.uploads.end_upload(upload, report)
        if asking_mode:
            _start_asking(
                app_state, upload, upload.task, {"mode": asking_mode, "refresh": "1"}, cost
            )
        return {"summary": report.summary}

    _start_step(app_state, upload, "import", import_and_ask)


def _start_trial(app_state: AppState, upload: Upload, typed: QuestionForm) -> None:
    """Start to ask a new question about TRIAL_ROWS rows of a file, and to estimate the full run.

    No answer is stored. The trial may cost at most MAX_TRIAL_USD. A missing
    `upload.suggested_name` is set at once. The work in the background sets `upload.estimate`,
    `tried_task`, `tried_question` and `trial_work`, only if it succeeds. The task with the question
    is not written, but `upload.tried_task` has it, so that it can be created later under the
    suggested name.

    Raises:
        RequestRefusedError: 409, the file is not for a new task.
        AskrowsError: The question or a column is wrong.
    """
    if upload.table_guess is None:
        raise RequestRefusedError(
            409,
            "the file is not for a new task; nothing was asked",
            hint="drop it again as a new task",
        )
    unwritten_task = _parse_new_task(app_state, upload, typed)

    def try_question(display: BackgroundJob) -> dict[str, Any]:
        """Ask about TRIAL_ROWS rows, and estimate the run of all; return the report's document.

        The trial costs at most MAX_TRIAL_USD and stores no answer. The upload gets the estimate,
        the tried task, the tried question and this work.
        """
        with app_state.open_to_write(None, display) as run:
            trial_run = replace(run, agreed_usd=MAX_TRIAL_USD)
            report = ask.ask_question(trial_run, unwritten_task, size=TRIAL_ROWS)
            upload.estimate = ask.estimate_run(run, report, name=upload.suggested_name)
        upload.tried_task = unwritten_task
        upload.tried_question = typed
        upload.trial_work = display
        return report.document

    upload.suggested_name = upload.suggested_name or new_task_files.suggest_task_name(
        str(upload.path), app_state.settings.data
    )
    _start_step(app_state, upload, "try", try_question)


def _parse_new_task(
    app_state: AppState,
    upload: Upload,
    typed: QuestionForm,
) -> new_task_files.UnwrittenTask:
    """Return a new task from the question form and the file. Nothing is written or registered.

    Raises:
        InputError: The question, a field or a column is invalid; `field` names its control.
        AskrowsError: The file cannot be read.
    """
    check_question(typed)
    fields = parse_answer_fields(typed)
    choice = parse_column_roles(typed.roles)
    table = ask.TableToAsk(upload.path, upload.read_options, choice=choice)
    try:
        return ask.parse_question(
            table,
            typed.question,
            fields=fields,
            data=app_state.settings.data,
        )
    except InputError as error:
        # Question and fields are valid, so the error is about a column.
        error.field = error.field or "roles"
        raise


def _start_task_creation(app_state: AppState, upload: Upload, new_name: str, *, mode: str) -> None:
    """Start to create a task from the question that was tried, and to ask all rows of the file.

    The work writes the task's file and a copy of the uploaded file into the workspace, and deletes
    the upload. The run spends at most the price of the mode. If its own estimate is higher, no row
    is asked. Sets `asked_task` of the upload.

    Args:
        app_state: The state of the page.
        upload: The upload.
        new_name: Name of the new task.
        mode: The mode of the run.

    Raises:
        RequestRefusedError: 409, the question or a column changed since the try, or there was no
            try; 422, the mode cannot be chosen.
        InputError: The name is invalid or in use; the hint names a free name if there is another.
    """
    if upload.tried_task is None or not upload.is_tried:
        raise RequestRefusedError(
            409,
            "the question was not tried as it is now; nothing was stored",
            hint="try it first",
        )
    cost = _find_cost(upload, mode)
    try:
        draft = ask.name_question(upload.tried_task, new_name, data=app_state.settings.data)
    except InputError as error:
        error.field = "name"
        free_name = new_task_files.suggest_task_name(new_name, app_state.settings.data)
        if free_name != new_name:
            error.message = f"no new table can be called {new_name!r}"
            error.hint = f"it can be called {free_name}"
        raise

    def create_task(display: BackgroundJob) -> None:
        """Write the task's file and a copy of the rows, delete the upload, start the run."""
        with app_state.open_to_write(None, display) as run:
            new_task_files.save_task_with_file(run, draft)
        app_state.uploads.end_upload(upload)
        _start_asking(app_state, upload, new_name, {"mode": mode}, cost)

    _start_step(app_state, upload, "keep", create_task)


def _find_cost(upload: Upload, mode: str) -> float:
    """Return the price of a mode, with that of batches that an earlier run prepared.

    Raises:
        RequestRefusedError: 422, the mode cannot be chosen.
    """
    if upload.estimate is not None:
        choice = upload.estimate.possible_mode_estimates.get(mode)
        if choice is not None and not choice.obstacle:
            return upload.estimate.sent_cost(mode)
    raise RequestRefusedError(422, "choose a mode; nothing was asked", field="mode")


def _start_asking(
    app_state: AppState, upload: Upload, task: str, form: Mapping[str, str], cost: float
) -> None:
    """Start to ask the rows of a task for at most `cost` USD; the browser then opens the task."""
    start_or_join_command(app_state, "tag", {**form, "wait": "1"}, task, cost)
    upload.asked_task = task


def _render_upload(
    app_state: AppState, number: int, *, error_message: str = "", pressed: str = ""
) -> HTMLResponse:
    """Render the state of an upload; after a run was started, the browser opens its task.

    An error is displayed next to the button of the step `pressed`; "" means the latest step.

    Raises:
        RequestRefusedError: 404, the upload is gone.
    """
    upload = app_state.uploads.get(number)
    with app_state.open_to_read(upload.task if app_state.has_task(upload.task) else None) as run:
        values = {
            **_make_upload_variables(upload, run.task),
            "error_message": error_message,
            "pressed": pressed or upload.step,
        }
        response = render_page(app_state, "parts/import.html", run, **values)
    # Checked last: a part that was rendered when the work had ended does not load itself again.
    if upload.asked_task:
        query = urlencode({"task": upload.asked_task})
        response.headers["hx-redirect"] = f"/?{query}"
    return response


def _check_files_can_be_imported(app_state: AppState, task: str) -> None:
    """Check that files can be imported into a task.

    Raises:
        RequestRefusedError: 422, the task is unknown or NEW_TASK, or its table cannot be replaced.
    """
    if task in FILE_TASKS:
        return

    reason = "there is no such task"
    if app_state.has_task(task):
        with app_state.open_to_read(task) as run:
            reason = table_replacement.find_replacement_obstacle(run.task, run.workspace.data)
    if reason:
        raise RequestRefusedError(
            422,
            f"files cannot be imported for {task!r}: {reason}; nothing was stored",
            hint="drop it as a new task, or change the rows at their source",
            field="task",
        )


def _import_file(
    run: Run, upload: Upload, options: ImportOptions
) -> ImportReport | table_replacement.TableReport:
    """Import the file of an upload into its task; with the option `dry` only report."""
    if run.task.record.table or run.task.subject in FILE_TASKS:
        return row_importers.import_file_rows(run, upload.path, options)
    return table_replacement.replace_table(run, upload.path, options)


def _make_upload_variables(upload: Upload, task: Task) -> dict[str, Any]:
    """Return the variables of the template `parts/import.html`; `task` is that of the page.

    Without a preview, the columns are empty, and the findings are those of a new task's file.
    """
    # A step may finish while the template is rendered: read the state first and the report once.
    # An upload that was busy then loads its part again.
    document = upload.document
    preview = upload.preview or upload.source_findings
    # What a newer table does with rows, and the rows; else the first rows.
    preview_rows = [("", row) for row in upload.first_rows]
    if isinstance(preview, table_replacement.TableReport):
        preview_rows = preview.examples
    return {
        "preview_rows": preview_rows,
        "upload": upload,
        "upload_document": document,
        "list_sent_columns": list_sent_columns,
        "has_row_names": list(task.key_columns) != [HASH_KEY],
        "work": upload.work.document if upload.work else None,
        # Labels of the imported columns by their name in the file.
        "column_targets": {
            column["name"]: column["label"] for column in preview.columns if column["name"]
        },
        "max_trial_usd": MAX_TRIAL_USD,
        # Columns that are sent come first, with their places in the file.
        "ordered_columns": sorted(
            enumerate(upload.columns),
            key=lambda pair: upload.typed_question.roles.get(pair[1]) == UNSENT_ROLE,
        ),
        "default_task": DEFAULT_TASK,
        # The inputs that a script copies for a new field.
        "added_field": TypedField("addedfield"),
        "fitting_plural": row_importers.find_fitting_plural(upload.columns),
        "kind_labels": KIND_LABELS,
        "kind_parts": KIND_PARTS,
        "role_labels": ROLE_LABELS,
        "unsent_role": UNSENT_ROLE,
        # Rejected rows first, then the largest groups.
        "finding_groups": sorted(
            preview.groups.values(), key=lambda group: (group.kind != "rejected", -group.count)
        ),
        "findings": preview.findings,
        "finding_labels": FINDING_LABELS,
        "is_busy": document["state"] in BUSY_STATES,
        "error_message": "",
        "pressed": upload.step,
    }
