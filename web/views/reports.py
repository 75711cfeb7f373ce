"""Reports: the gates of a task over time, the newest report first; of a pilot, too."""

from pathlib import PurePath
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from pipeline.quality.figures import shown
from pipeline.quality.report import report_documents
from pipeline.store import runs
from web.render import desk_of, show_page
from web.view import Link, View

router = APIRouter()
VIEW = View(router, Link("/reports", "Reports"))
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
