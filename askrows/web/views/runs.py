"""Runs page: API batches and live batches in one list, their costs and their files.

A run is an API batch, or all live batches of a command. A trial is a run whose answers are not
stored. A batch is held if its replies belong to other requests; then it waits for a person.
"""

from datetime import datetime
from functools import partial
from itertools import chain, product
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from fastapi.responses import FileResponse, HTMLResponse

from askrows.pipeline.batch import batch_files
from askrows.pipeline.batch.budget import list_budgets_with_used_usd
from askrows.pipeline.batch.report import (
    CANCELLED_WORD,
    COST_KEYS,
    RunReport,
    list_newest_run_reports,
    make_batch_summary,
    make_run_report,
    read_run_report,
    summarize_costs,
)
from askrows.pipeline.batch.run import Run
from askrows.pipeline.core.errors import AskrowsError
from askrows.pipeline.core.states import Mode
from askrows.pipeline.run.snapshot import read_snapshot
from askrows.pipeline.store import batches
from askrows.web.app_state import AppState
from askrows.web.background_work import BackgroundJob
from askrows.web.errors import RequestRefusedError, to_line
from askrows.web.render import FormFields, PageState, has_running, render_page, task_title
from askrows.web.views.ask_again import MAX_RETRIED_ROWS, estimate_cost, mark_and_start_asking
from askrows.web.views.command_api import list_displayed_work

router = APIRouter()

# The largest integer of PostgreSQL's type for batch numbers.
MAX_BATCH_NUMBER = 2**31 - 1
# Days in the chart of costs.
MAX_CHART_DAYS = 31
# The newest runs in the list, and the named rows of a batch.
MAX_LISTED_RUNS = 100
MAX_NAMED_ROWS = 50
# Batches of a live run whose files are linked.
MAX_LISTED_PARTS = 10
CANCEL_WORK_KIND = "cancel batch {}"
# Kinds of files of a batch.
FILE_KINDS = ("requests", "results")
BatchNumber = Annotated[int, Path(ge=1, le=MAX_BATCH_NUMBER)]
BatchNumberQuery = Annotated[int, Query(ge=1, le=MAX_BATCH_NUMBER)]
CostKey = Annotated[str, Query(pattern=f"^({'|'.join(COST_KEYS)})$")]


@router.get("/api/batches/{number}")
def get_batch(app_state: PageState, number: BatchNumber) -> dict[str, Any]:
    """Return one batch with its state changes (`moves`) and errors with examples (`reasons`).

    State changes are sorted by time, and errors by falling number.
    """
    with app_state.open_to_read() as run, run.workspace.store.read() as tx:
        batch = batches.get_batch(tx, number)
        return make_run_report(tx, [batch]).make_document(
            tx, run.find_task_or_current(batch.task), run.workspace.now()
        )


@router.get("/api/batches/{number}/{which}.jsonl")
def get_file(
    app_state: PageState,
    number: BatchNumber,
    which: Literal["requests", "results"],
) -> FileResponse:
    """Return the request file or result file of a batch unchanged; 404 if there is no such file."""
    with app_state.open_to_read() as run:
        path = _make_file_path(run.workspace.data, number, which)
    if not path.is_file():
        raise RequestRefusedError(
            404,
            f"batch {number} has no file of {which}",
            hint="it is not written yet, or was removed by a cleanup",
        )
    return FileResponse(path, media_type="application/jsonl", filename=path.name)


@router.get("/runs", include_in_schema=False)
def render_runs(
    app_state: PageState, task: str | None = None, by: CostKey = "task"
) -> HTMLResponse:
    """Render the newest runs of all tasks, the cost of each day, and the cost by a key.

    `by` is the key, such as the task. The budgets are those of `task`.
    """
    with app_state.open_to_read(task) as run:
        days = summarize_costs(run.workspace.store, run.tasks, group_key="day")
        costs = summarize_costs(run.workspace.store, run.tasks, group_key=by)
        return render_page(
            app_state,
            "runs.html",
            run,
            "runs",
            runs=_list_newest_runs(app_state, run),
            task_titles={listed_task.name: task_title(listed_task) for listed_task in run.tasks},
            daily_costs=days["rows"][-MAX_CHART_DAYS:],
            total=days["total"],
            budgets=list_budgets_with_used_usd(run),
            by=by,
            cost_keys=COST_KEYS,
            costs={row[by]: row for row in costs["rows"]},
        )


def _list_newest_runs(app_state: AppState, run: Run) -> list[dict[str, Any]]:
    """Return the newest MAX_LISTED_RUNS runs of all tasks except trials, newest first.

    Each run is a document of `_make_run_values`, to which these members are added:

    - `progress`: the `RunProgress` of a run that is not over, else None.
    - `commonest_failure`: the most frequent reason of its failures, or "".
    """
    with read_snapshot(run.workspace, run.task, run.tasks) as snapshot:
        progress_by_number = {progress.number: progress for progress in snapshot.runs}
        documents = []
        for run_report in list_newest_run_reports(snapshot.tx, limit=MAX_LISTED_RUNS):
            values = _make_run_values(app_state, run_report, run.workspace.now())
            values["progress"] = progress_by_number.get(values["number"])
            task = run.find_task_or_current(run_report.batch.task)
            values["commonest_failure"] = run_report.describe_hold_or_commonest_failure(
                snapshot.tx, task
            )
            documents.append(values)
    return documents


@router.get("/batch", include_in_schema=False)
def render_batch(
    app_state: PageState,
    number: BatchNumberQuery,
    task: str | None = None,
) -> HTMLResponse:
    """Render a run: outcomes, rows, cost, state changes and errors.

    The page stays on `task`; the default is the task of the run.
    """
    if not task:
        with app_state.open_to_read() as run, run.workspace.store.read() as tx:
            task = run.find_task_or_current(batches.get_batch(tx, number).task).subject
    return _render_batch(app_state, number, task)


@router.post("/parts/batch", include_in_schema=False)
def cancel_run_or_ask_failed_rows(
    app_state: PageState,
    number: BatchNumberQuery,
    task: str,
    form: FormFields,
) -> HTMLResponse:
    """Start to cancel a run or to ask its failed rows again; render the run and any error.

    A form with the `act` "retry" asks the failed rows of the run, at most MAX_RETRIED_ROWS of
    them, live and in the background; it chooses no rows. Any other form cancels the batch `number`.
    Its run may be of another task than the page, whose task is `task`.
    """
    error_message = ""
    try:
        with app_state.open_to_read() as run, run.workspace.store.read() as tx:
            run_report = read_run_report(tx, number)
            run_task = run.find_task_or_current(run_report.batch.task)
            failed_ids = run_report.list_failed_row_ids_to_ask(tx, run_task)
        if form.get("act") == "retry":
            mark_and_start_asking(app_state, run_task.subject, failed_ids[:MAX_RETRIED_ROWS])
        else:
            start_cancelling(app_state, number, run_task.subject)
    except AskrowsError as error:
        error_message = to_line(error)
    return _render_batch(app_state, number, task, error_message=error_message)


def start_cancelling(app_state: AppState, number: int, task: str) -> BackgroundJob:
    """Start to cancel a batch, or return the running work that does."""
    page_command = app_state.get_command("batch-cancel")
    form = {"batch": str(number)}
    return app_state.background_work.start(
        CANCEL_WORK_KIND.format(number),
        partial(app_state.run_command, page_command, form, task),
        task=task,
    )


def _render_batch(
    app_state: AppState,
    number: int,
    task: str,
    *,
    error_message: str = "",
) -> HTMLResponse:
    """Render the run of a batch, which may be of any task, on the page of a task.

    At most MAX_NAMED_ROWS of its rows are named. If the run is over, at most MAX_RETRIED_ROWS
    failed rows can be asked again, for the displayed cost.
    """
    with app_state.open_to_read(task) as run:
        with run.workspace.store.read() as tx:
            run_report = read_run_report(tx, number)
            run_task = run.find_task_or_current(run_report.batch.task)
            # Work that ends while the run is read counts as running: the page loads itself again.
            work_documents = list_displayed_work(app_state.background_work, run_task.subject)
            document = run_report.make_document(tx, run_task, run.workspace.now())
            row_ids = run_report.list_row_ids(tx)
            examples = chain.from_iterable(error["examples"] for error in document["reasons"])
            example_names = [name for name, _ in examples]
            titles = run_task.rows.read_titles(tx, [*row_ids[:MAX_NAMED_ROWS], *example_names])
            retry_ids: list[str] = []
            if run_report.batch.is_finished:
                retry_ids = run_report.list_failed_row_ids_to_ask(tx, run_task)[:MAX_RETRIED_ROWS]

        retry_cost = None
        if retry_ids:
            with app_state.open_to_read(run_task.subject) as task_run:
                retry_cost = estimate_cost(task_run, retry_ids)
        return render_page(
            app_state,
            "batch.html",
            run,
            "runs",
            batch={**document, **_make_run_values(app_state, run_report, run.workspace.now())},
            failures=run_report.failures,
            subject=run_task.subject,
            run_title=task_title(run_task),
            row_ids=row_ids[:MAX_NAMED_ROWS],
            titles=titles,
            has_more_rows=len(row_ids) > MAX_NAMED_ROWS,
            retry_count=len(retry_ids),
            retry_cost=retry_cost,
            error_message=error_message,
            work_documents=work_documents,
        )


def _make_run_values(app_state: AppState, run_report: RunReport, now: datetime) -> dict[str, Any]:
    """Return a run as JSON members, with further members for the templates.

    - `number`: the number of the run.
    - `took`: its duration until now or until its end, in words.
    - `outcomes`: the numbers of `answered`, `failed` and `waiting` requests.
    - `files`: (batch number, kind) of each request or result file that is on disk.
    - `word`: "cancelled", "held" or the state; "being cancelled" while the page cancels it.
    - `is_over`: whether the run has ended.
    - `can_cancel`: whether it is an API batch that is not over and is not being cancelled.
    """
    cancellations = app_state.background_work.describe_newest(
        CANCEL_WORK_KIND.format(number) for number in run_report.numbers
    )
    is_over = run_report.batch.is_finished
    word = run_report.state_word
    if has_running(cancellations) and word != CANCELLED_WORD:
        word = "being cancelled"
    summary = make_batch_summary(run_report.batch, now=now)
    return {
        **summary.document,
        "number": run_report.batch.run or run_report.batch.number,
        "took": summary.age_words,
        "outcomes": run_report.outcome_counts,
        "files": _list_files(app_state.settings.data, run_report),
        "is_over": is_over,
        "can_cancel": run_report.batch.mode is Mode.BATCH
        and not is_over
        and "cancelled" not in word,
        "word": word,
    }


def _make_file_path(data: FilePath, number: int, kind: str) -> FilePath:
    """Return the path of one of the FILE_KINDS of a batch; the file need not exist."""
    if kind == "requests":
        return batch_files.request_path(data, number)
    return batch_files.result_path(data, number)


def _list_files(data: FilePath, run: RunReport) -> list[tuple[int, str]]:
    """Return (number, kind) of each request or result file on disk of a run's first batches."""
    numbers = run.numbers[:MAX_LISTED_PARTS]
    return [
        (number, kind)
        for number, kind in product(numbers, FILE_KINDS)
        if _make_file_path(data, number, kind).is_file()
    ]
