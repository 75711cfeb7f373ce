"""Runs: batches and runs of our own calls as one list, what they cost, and their files."""

from dataclasses import asdict
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import FileResponse, HTMLResponse

from pipeline.batch import batch_files
from pipeline.batch import report as batch_report
from pipeline.batch.ingest import batch_account
from pipeline.batch.report import KEYS, list_batches, summary_of
from pipeline.batch.send import CANCELLED
from pipeline.core.states import OVER, BatchState, Mode
from pipeline.engine.workspace import WorkspaceSession
from pipeline.ops import status
from pipeline.store import answers, batches, workspace
from web.errors import RequestRefused
from web.render import called, desk_of, show_page
from web.views.command_api import budgets_of

router = APIRouter()

MOST = 2**31 - 1  # the largest number of a batch that a database can hold
SHOWN = 100  # runs of the list, the newest
BARS = 31  # days of the chart, the newest
NAMED = 50  # rows of a batch that are named
LINES = (
    "answered",
    "refused",
    "invalid",
    "missing",
)  # which add up to the requests of a batch that is over
Number = Annotated[int, Path(ge=1, le=MOST)]
By = Annotated[str, Query(pattern=f"^({'|'.join(KEYS)})$")]


@router.get("/api/batches/{number}")
def get_batch(request: Request, number: Number) -> dict[str, Any]:
    """Return one batch with its states over time (`moves`) and what went wrong in it, with examples (`reasons`)."""
    with desk_of(request).to_read() as ws:
        return _batch(ws, number)


@router.get("/api/batches/{number}/{which}.jsonl")
def get_file(
    request: Request, number: Number, which: Literal["requests", "results"]
) -> FileResponse:
    """Return the sealed file with the lines that were asked, or with the replies; 404 where it is not there."""
    with desk_of(request).to_read() as ws:
        path = _file(ws.data, number, which)
    if not path.is_file():
        raise RequestRefused(
            404,
            f"batch {number} has no file of {which} here",
            hint="it may not be there yet, or was cleaned",
        )
    return FileResponse(path, media_type="application/jsonl", filename=path.name)


@router.get("/runs", include_in_schema=False)
def runs_page(request: Request, task: str | None = None, by: By = "task") -> HTMLResponse:
    """Show every run, the newest first, under what was spent by day."""
    with desk_of(request).to_read(task) as ws:
        names = {one.name: called(one) for one in ws.tasks}
        going = {one["number"]: one for one in status.run(ws).runs}
        runs = [
            {
                **_run(one.document, ws.data),
                "took": one.age_words,
                "live": going.get(one.batch.number),
            }
            for one in list_batches(ws.store, now=ws.now())
        ]
        days = batch_report.costs(ws.store, ws.tasks, by="day")
        newest = [(one["day"], one) for one in days["rows"]][-BARS:]
        highest = max((one["cost"] + one["under_way"] for _, one in newest), default=0.0)
        return show_page(
            request,
            "runs.html",
            ws,
            "runs",
            runs=[one for one in runs[::-1] if one["way"] != Mode.TRIAL][:SHOWN],
            names=names,
            bars=[
                (day, one["cost"], (one["cost"] + one["under_way"]) / highest)
                for day, one in newest
                if highest
            ],
            days=newest,
            total=days["total"],
            budgets=budgets_of(ws),
            by=by,
            keys=KEYS,
            costs={one[by]: one for one in batch_report.costs(ws.store, ws.tasks, by=by)["rows"]},
        )


@router.get("/batch", include_in_schema=False)
def batch_page(request: Request, number: Annotated[int, Query(ge=1, le=MOST)]) -> HTMLResponse:
    """Show one batch."""
    with desk_of(request).to_read() as ws:
        found = _run(_batch(ws, number), ws.data)
        task = ws.task_of(found["task"])
        with ws.store.read() as tx:
            ids = list(dict.fromkeys(answers.items_of_batch(tx, number, claimed=True)))
            names = task.table(tx).names(tx, ids[:NAMED])
        known = {
            "subject": task.subject,
            "names": list(names.values()),
            "more": max(0, len(ids) - NAMED),
        }
        return show_page(
            request, "batch.html", ws, "runs", batch=found, lines=_lines(found), **known
        )


def _batch(ws: WorkspaceSession, number: int) -> dict[str, Any]:
    with ws.store.read() as tx:
        task = ws.task_of(batches.get_batch(tx, number).task)
        account = batch_account(tx, task, number)
        journal = workspace.events_of(tx, "batch", number)
        moves = [{name: one[name] for name in ("at", "old", "new", "why")} for one in journal]
    summary = summary_of(account.batch, now=ws.now())
    reasons = [asdict(one) for one in account.anomalies]
    told = {
        name: getattr(account, name)
        for name in ("unapplied", "outdated", "other_versions", "left_out_values")
    }
    return {
        **summary.document,
        "moves": moves,
        "is_over": account.batch.is_over,
        "reasons": reasons,
        **told,
    }


def _run(batch: dict[str, Any], data: FilePath) -> dict[str, Any]:
    state = batch["state"]
    done = sum(batch[name] or 0 for name in LINES)
    is_cancelled = state == BatchState.FAILED and (batch["reason"] or "").startswith(CANCELLED)
    files = [
        which for which in ("requests", "results") if _file(data, batch["number"], which).is_file()
    ]
    share = 1.0 if state in OVER else done / (batch["requests"] or 1)
    told = {"done": done, "share": share, "files": files, "is_over": state in OVER}
    return {**batch, **told, "word": "cancelled" if is_cancelled else str(state)}


def _file(data: FilePath, number: int, which: str) -> FilePath:
    return (
        batch_files.request_path(data, number)
        if which == "requests"
        else batch_files.result_path(data, number)
    )


def _lines(batch: dict[str, Any]) -> dict[str, int | None]:
    """Return what became of a batch's requests, by outcome; without a result the reasons that are kept tell it.

    Requests that were let go, and are charged with nothing, have none.
    """
    if batch["state"] != BatchState.FAILED:
        return {name: batch[name] for name in LINES}
    found = {
        name: sum(one["count"] for one in batch["reasons"] if one["outcome"] == name)
        for name in LINES
    }
    left = batch["requests"] - sum(found.values())
    return {**found, "let go, to be asked again": left} if left > 0 else dict(found)
