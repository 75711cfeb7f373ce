"""Reports: the gates of a task over time, the newest report first; of a pilot, too."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from pipeline.ops import status
from pipeline.quality import report_files
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
        return report_files.report_documents(ws.data, ws.task.name, limit=limit)


@router.get("/reports", include_in_schema=False)
def reports_page(request: Request, task: str | None = None) -> HTMLResponse:
    """Show the gates over time, and which report judged the pilot of the version in use."""
    with desk_of(request).to_read(task) as ws:
        found = report_files.report_documents(ws.data, ws.task.name, limit=SHOWN)
        pilot = status.run(ws).document.get("pilot")
        judged = str(pilot["report"] or "") if pilot else ""
        gates = list(dict.fromkeys(gate["name"] for one in found for gate in one["gates"]))
        rows = [{**one, "by_name": {gate["name"]: gate for gate in one["gates"]}} for one in found]
        return show_page(request, "reports.html", ws, reports=rows, gates=gates, pilot=pilot, judged=judged)
