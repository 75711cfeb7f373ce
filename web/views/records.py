"""Batches, costs, reports, health and settings, and the long work of the page."""

from dataclasses import asdict
from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse

from pipeline.batch import cancel
from pipeline.batch import report as batch_report
from pipeline.batch.ingest import batch_account
from pipeline.batch.report import KEYS, list_batches, summary_of
from pipeline.batch.send import CANCELLED
from pipeline.core.settings import settings_rows
from pipeline.core.states import BatchState
from pipeline.ops import doctor
from pipeline.quality.figures import shown
from pipeline.quality.report import report_documents
from pipeline.store import batches, runs, workspace
from web.problem import Refused
from web.render import accepted, desk_of, show_page
from web.running import Work

router = APIRouter()

MOST = 2**31 - 1  # the largest number of a batch that a database can hold
Number = Annotated[int, Path(ge=1, le=MOST)]
LINES = ("answered", "refused", "invalid", "missing")  # which add up to the requests of a batch that is over


@router.get("/api/batches")
def get_batches(request: Request) -> list[dict[str, Any]]:
    """Return every batch, as `findable batches --json`."""
    with desk_of(request).to_read() as ws:
        return [one.document for one in list_batches(ws.store, now=ws.now())]


@router.get("/api/batches/{number}")
def get_batch(request: Request, number: Number) -> dict[str, Any]:
    """Return one batch with its states over time (`moves`) and what went wrong in it, with examples (`reasons`)."""
    with desk_of(request).to_read() as ws:
        with ws.store.read() as tx:
            task = ws.task_of(batches.get_batch(tx, number).task)
            account = batch_account(tx, task, number)
            journal = workspace.events_of(tx, "batch", number)
            moves = [{name: one[name] for name in ("at", "old", "new", "why")} for one in journal]
        document = summary_of(account.batch, now=ws.now()).document
        reasons = [asdict(one) for one in account.anomalies]
        told = {name: getattr(account, name) for name in ("unapplied", "outdated", "other_versions")}
        return {**document, "moves": moves, "is_over": account.batch.is_over, "reasons": reasons, **told}


def _is_cancelled(batch: dict[str, Any]) -> bool:
    return batch["state"] == BatchState.FAILED and (batch["reason"] or "").startswith(CANCELLED)


def _lines(batch: dict[str, Any]) -> dict[str, int | None]:
    """Return what became of a batch's requests, by outcome; without a result the reasons that are kept tell it.

    Requests that were let go, and are charged with nothing, have none.
    """
    if batch["state"] != BatchState.FAILED:
        return {name: batch[name] for name in LINES}
    found = {name: sum(one["count"] for one in batch["reasons"] if one["outcome"] == name) for name in LINES}
    left = batch["requests"] - sum(found.values())
    return {**found, "let go, to be asked again": left} if left > 0 else dict(found)


@router.post("/api/batches/{number}/cancel")
def cancel_batch(request: Request, number: Number, *, give_up: bool = False) -> dict[str, Any]:
    """Cancel a batch; one that the API does not show any more only where it is to be given up, as `batch-cancel`."""
    with desk_of(request).to_write() as ws:
        ws.agrees = lambda _question: give_up
        report = cancel.run(ws, number=number)
    return {"batch": report.number, "said": report.said, "next": str(report.next)}


@router.get("/batches", include_in_schema=False)
def batches_page(request: Request) -> HTMLResponse:
    """Show every batch, the newest first."""
    with desk_of(request).to_read() as ws:
        found = [one.document for one in list_batches(ws.store, now=ws.now())]
        shown = [{**one, "is_cancelled": _is_cancelled(one)} for one in found[::-1]]
        return show_page(request, "batches.html", ws, batches=shown)


@router.get("/batch", include_in_schema=False)
def batch_page(request: Request, number: Annotated[int, Query(ge=1, le=MOST)]) -> HTMLResponse:
    """Show one batch."""
    found = get_batch(request, number)
    with desk_of(request).to_read() as ws:
        known = {"lines": _lines(found), "is_cancelled": _is_cancelled(found)}
        return show_page(request, "batch.html", ws, batch=found, **known)


BARS = 31  # of the chart, the newest
By = Annotated[str, Query(pattern=f"^({'|'.join(KEYS)})$")]


@router.get("/api/costs")
def get_costs(request: Request, by: By = "day") -> dict[str, Any]:
    """Return what was spent, as `findable costs --json`."""
    with desk_of(request).to_read() as ws:
        return batch_report.costs(ws.store, ws.tasks, by=by).document


@router.get("/costs", include_in_schema=False)
def costs_page(request: Request, by: By = "day") -> HTMLResponse:
    """Show what was spent."""
    with desk_of(request).to_read() as ws:
        report = batch_report.costs(ws.store, ws.tasks, by=by)
        newest = list(report.rows.items())[-BARS:]
        highest = max((one.cost for _, one in newest), default=0.0)
        bars = [(key, one, one.cost / highest) for key, one in newest] if highest else []
        rows = [*report.rows.items(), *([("all", report.total)] if report.rows else [])]
        return show_page(request, "costs.html", ws, rows=rows, bars=bars, highest=highest, by=by, keys=KEYS)


SHOWN = 12  # reports beside each other on the page
Limit = Annotated[int, Query(ge=1, le=500)]


@router.get("/api/tasks/{task}/reports")
def get_reports(request: Request, task: str, limit: Limit = SHOWN) -> list[dict[str, Any]]:
    """Return the newest quality reports of a task, as `findable qc --json` wrote them, the newest first."""
    with desk_of(request).to_read(task) as ws:
        return report_documents(ws.data, ws.task.name, limit=limit)


@router.get("/reports", include_in_schema=False)
def reports_page(request: Request, task: str | None = None) -> HTMLResponse:
    """Show the gates over time, and which reports judged a pilot."""
    with desk_of(request).to_read(task) as ws:
        found = report_documents(ws.data, ws.task.name, limit=SHOWN)
        with ws.store.read() as tx:
            mine = [one for one in runs.all_pilots(tx) if one.task == ws.task.name]
        drawn = {PurePath(one.report).stem: one.number for one in mine if one.size and one.report}
        newest = list({one.extractor: one for one in mine}.values())
        gates = list(dict.fromkeys(gate["name"] for one in found for gate in one["gates"]))
        rows = [
            {**one, "pilot": drawn.get(one["name"]), "by_name": {gate["name"]: gate for gate in _gates(one)}}
            for one in found
        ]
        return show_page(request, "reports.html", ws, reports=rows, gates=gates, pilots=newest[::-1])


def _gates(report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the gates of a report, each with its value as it is read (`shown`)."""
    return [{**one, "shown": _value(report, one["name"], one["value"])} for one in report["gates"]]


def _value(report: dict[str, Any], name: str, value: float | None) -> str:
    unit = report["figures"].get(name, {}).get("unit", "mean")
    return f"{shown(value, unit)} {unit}" if unit == "bits" and value is not None else shown(value, unit)


@router.get("/api/settings")
def get_settings(request: Request) -> list[dict[str, Any]]:
    """Return every setting, as `findable settings --all --json`."""
    return [one._asdict() for one in settings_rows(desk_of(request).settings)]


@router.post("/api/doctor", status_code=202)
def begin_doctor(request: Request) -> JSONResponse:
    """Begin to check the workspace against itself and the backend, as `findable doctor --json`."""
    desk = desk_of(request)

    def work(_display: Work) -> dict[str, Any]:
        with desk.to_read() as ws:
            return doctor.document(doctor.run(ws))

    return accepted(desk.running.begin("doctor", work))


@router.get("/settings", include_in_schema=False)
def settings_page(request: Request) -> HTMLResponse:
    """Show every setting, and the button that checks everything."""
    desk = desk_of(request)
    work = desk.running.newest("doctor")
    with desk.to_read() as ws:
        shown = {"settings": settings_rows(desk.settings), "work": work.document if work else None}
        return show_page(request, "settings.html", ws, **shown)


@router.get("/api/work")
def list_work(request: Request) -> list[dict[str, Any]]:
    """Return the long work that this page began, oldest first."""
    return [one.document for one in desk_of(request).running.every()]


@router.get("/api/work/{number}")
def get_work(request: Request, number: int) -> dict[str, Any]:
    """Return how far one is, and what came of it."""
    found = desk_of(request).running.get(number)
    if found is None:
        raise Refused(404, f"there is no work {number}; the page may have been started again since")
    return found.document
