"""Index: the build in service, and the button that makes a new one."""

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse

from pipeline.index import build
from pipeline.ops import status
from web.render import desk_of, show_page
from web.running import Running, Work
from web.view import Link, View
from web.views.work import accepted

router = APIRouter()
VIEW = View(router, Link("/index", "Index"))


@router.post("/api/tasks/{task}/index", status_code=202)
def begin_index(request: Request, task: str) -> JSONResponse:
    """Begin to rebuild the index of a task, unless that is under way; the reply says where to look."""
    desk = desk_of(request)
    with desk.to_read(task):
        pass  # there is such a task

    def work(display: Work) -> dict[str, Any]:
        with desk.to_write(task, display) as ws:
            ws.bring_index()
            return asdict(build.run(ws))

    return accepted(desk.running.begin(f"index {task}", work))


@router.get("/index", include_in_schema=False)
def index_page(request: Request, task: str | None = None) -> HTMLResponse:
    """Show the index of a task."""
    with desk_of(request).to_read(task) as ws:
        return show_page(request, "index.html", ws, **_index(desk_of(request).running, status.run(ws)))


@router.get("/parts/index", include_in_schema=False)
def index_part(request: Request, task: str | None = None) -> HTMLResponse:
    """Show the same again, for a page that is open."""
    with desk_of(request).to_read(task) as ws:
        return show_page(request, "parts/index.html", ws, **_index(desk_of(request).running, status.run(ws)))


def _index(running: Running, report: status.StatusReport) -> dict[str, Any]:
    """Return what is known of the index, and of the work on it."""
    work = running.newest(f"index {report.subject}")
    return {"index": report.document["index"], "work": work.document if work else None}
