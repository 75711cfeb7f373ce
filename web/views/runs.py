"""Runs page: API batches and live batches in one list, their costs and their files."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse

from pipeline.batch import batch_files
from pipeline.batch import report as batch_report
from pipeline.batch.ingest_report import summarize_batch
from pipeline.batch.report import COST_KEYS, list_batches, summarize
from pipeline.batch.send import CANCEL_REASONS
from pipeline.core.states import ENDED_STATES, BatchState, Mode
from pipeline.engine.session import WorkspaceSession
from pipeline.ops import status
from pipeline.store import answers, batches, workspace
from web.errors import RequestRefusedError
from web.render import get_app_state, render_page, task_title
from web.views.command_api import list_budgets

router = APIRouter()

# The largest integer of PostgreSQL's type for batch numbers.
MAX_BATCH_NUMBER = 2**31 - 1
# The newest runs in the list, the newest days in the chart, and the named rows of a batch.
MAX_LISTED_RUNS = 100
MAX_CHART_DAYS = 31
MAX_NAMED_ROWS = 50
# Their counts add up to the requests of a finished batch.
OUTCOMES = ("answered", "refused", "invalid", "missing")
FILE_KINDS = ("requests", "results")
BatchNumber = Annotated[int, Path(ge=1, le=MAX_BATCH_NUMBER)]
BatchNumberQuery = Annotated[int, Query(ge=1, le=MAX_BATCH_NUMBER)]
CostKey = Annotated[str, Query(pattern=f"^({'|'.join(COST_KEYS)})$")]


@router.get("/api/batches/{number}")
def get_batch(request: Request, number: BatchNumber) -> dict[str, Any]:
    """Return one batch with its state changes (`moves`) and errors with examples (`reasons`)."""
    with get_app_state(request).open_to_read() as ws:
        return _batch_document(ws, number)


@router.get("/api/batches/{number}/{which}.jsonl")
def get_file(
    request: Request,
    number: BatchNumber,
    which: Literal["requests", "results"],
) -> FileResponse:
    """Return the sealed request file or result file of a batch; 404 if there is no such file."""
    with get_app_state(request).open_to_read() as ws:
        path = _file_path(ws.data, number, which)
    if not path.is_file():
        raise RequestRefusedError(
            404,
            f"batch {number} has no file of {which} here",
            hint="it may not be there yet, or was cleaned",
        )
    return FileResponse(path, media_type="application/jsonl", filename=path.name)


@router.get("/runs", include_in_schema=False)
def render_runs(request: Request, task: str | None = None, by: CostKey = "task") -> HTMLResponse:
    """Render the newest runs, the cost of each day, and the cost by a key such as the task."""
    with get_app_state(request).open_to_read(task) as ws:
        days = batch_report.summarize_costs(ws.store, ws.tasks, group_key="day")
        newest_days = days["rows"][-MAX_CHART_DAYS:]
        costs = batch_report.summarize_costs(ws.store, ws.tasks, group_key=by)
        return render_page(
            request,
            "runs.html",
            ws,
            "runs",
            runs=_list_runs(ws),
            task_titles={task.name: task_title(task) for task in ws.tasks},
            bars=_chart_bars(newest_days),
            today=newest_days[-1] if newest_days else None,
            total=days["total"],
            budgets=list_budgets(ws),
            by=by,
            cost_keys=COST_KEYS,
            costs={row[by]: row for row in costs["rows"]},
        )


def _list_runs(ws: WorkspaceSession) -> list[dict[str, Any]]:
    """Return the newest MAX_LISTED_RUNS runs of all tasks except trials, newest first.

    Each run is a document of `_run_values` with its age or duration in `took`, and in `live` the
    progress if it is a running live run.
    """
    progress_by_number = {run["number"]: run for run in status.read_status(ws).live_runs}
    summaries = [
        summary
        for summary in reversed(list_batches(ws.store, now=ws.now()))
        if summary.batch.way != Mode.TRIAL
    ]
    return [
        {
            **_run_values(summary.document, ws.data),
            "took": summary.age_words,
            "live": progress_by_number.get(summary.batch.number),
        }
        for summary in summaries[:MAX_LISTED_RUNS]
    ]


def _chart_bars(days: list[dict[str, Any]]) -> list[tuple[str, float, float]]:
    """Return (day, cost in USD, height) for each day; the highest bar has height 1.

    The height includes the estimated cost of unfinished batches. Returns no bars if nothing was
    spent.
    """
    highest = max((day["cost"] + day["under_way"] for day in days), default=0.0)
    if not highest:
        return []

    return [(day["day"], day["cost"], (day["cost"] + day["under_way"]) / highest) for day in days]


@router.get("/batch", include_in_schema=False)
def render_batch(request: Request, number: BatchNumberQuery) -> HTMLResponse:
    """Render one batch: outcomes, rows, cost, state changes and errors."""
    with get_app_state(request).open_to_read() as ws:
        batch = _run_values(_batch_document(ws, number), ws.data)
        task = ws.find_task(batch["task"])
        with ws.store.read() as tx:
            row_ids = list(dict.fromkeys(answers.row_ids_of_batch(tx, number, claimed=True)))
            names = task.rows.table(tx).read_names(tx, row_ids[:MAX_NAMED_ROWS])

        return render_page(
            request,
            "batch.html",
            ws,
            "runs",
            batch=batch,
            outcome_counts=_count_outcomes(batch),
            subject=task.subject,
            row_names=list(names.values()),
            unnamed_count=max(0, len(row_ids) - MAX_NAMED_ROWS),
        )


def _batch_document(ws: WorkspaceSession, number: int) -> dict[str, Any]:
    """Return a batch as JSON members: its summary, state changes and errors."""
    with ws.store.read() as tx:
        task = ws.find_task(batches.get_batch(tx, number).task)
        account = summarize_batch(tx, task, number)
        events = workspace.events_of(tx, "batch", number)
        moves = [{name: event[name] for name in ("at", "old", "new", "why")} for event in events]

    summary = summarize(account.batch, now=ws.now())
    return {
        **summary.document,
        "moves": moves,
        "is_over": account.batch.is_finished,
        "reasons": [asdict(anomaly) for anomaly in account.anomalies],
        "unapplied": account.unapplied,
        "outdated": account.outdated,
        "other_versions": account.other_versions,
        "left_out_values": account.left_out_values,
    }


def _run_values(batch: dict[str, Any], data: FilePath) -> dict[str, Any]:
    """Return a batch document with the values that templates add.

    These are `done` (counted outcomes), `share` (done part, 0 to 1; 1 for an ended batch), `files`
    (kinds of existing sealed files), `is_over`, and `word`: the state, or "cancelled" for a batch
    that failed because it was cancelled.
    """
    state = batch["state"]
    is_finished = state in ENDED_STATES
    done_count = sum(batch[outcome] or 0 for outcome in OUTCOMES)
    number = batch["number"]
    is_cancelled = state == BatchState.FAILED and (batch["reason"] or "").startswith(CANCEL_REASONS)
    return {
        **batch,
        "done": done_count,
        "share": 1.0 if is_finished else done_count / (batch["requests"] or 1),
        "files": [kind for kind in FILE_KINDS if _file_path(data, number, kind).is_file()],
        "is_over": is_finished,
        "word": "cancelled" if is_cancelled else str(state),
    }


def _file_path(data: FilePath, number: int, kind: str) -> FilePath:
    if kind == "requests":
        return batch_files.request_path(data, number)
    return batch_files.result_path(data, number)


def _count_outcomes(batch: dict[str, Any]) -> dict[str, int | None]:
    """Return the number of requests by outcome; None for an outcome that is not counted yet.

    A failed batch has no result file, so its outcomes are counted from the stored errors. Its
    released requests, which have no error, get an entry of their own.
    """
    if batch["state"] != BatchState.FAILED:
        return {outcome: batch[outcome] for outcome in OUTCOMES}

    counts = Counter(dict.fromkeys(OUTCOMES, 0))
    for anomaly in batch["reasons"]:
        if anomaly["outcome"] in OUTCOMES:
            counts[anomaly["outcome"]] += anomaly["count"]

    released = batch["requests"] - counts.total()
    if released > 0:
        counts["let go, to be asked again"] = released
    return dict(counts)
