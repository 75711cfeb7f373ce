"""Home: what there is, what is under way, what it cost, what needs a person, and what comes next."""

from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from pipeline.ops import status
from web.render import desk_of, show_page
from web.view import Link, View

router = APIRouter()
VIEW = View(router, Link("/", "Home"))


@router.get("/api/status")
def get_status(request: Request, task: str | None = None) -> dict[str, Any]:
    """Return where everything stands, as `findable status --json`."""
    with desk_of(request).to_read(task) as ws:
        return status.run(ws).document


@router.get("/api/tasks")
def get_tasks(request: Request) -> list[dict[str, Any]]:
    """Return the tasks of the workspace."""
    with desk_of(request).to_read() as ws:
        return [
            {"name": one.name, "one": one.task.words.one, "many": one.task.words.many, "indexed": bool(one.collection)}
            for one in ws.subjects
        ]


@router.get("/", include_in_schema=False)
def home_page(request: Request, task: str | None = None) -> HTMLResponse:
    """Show where everything stands."""
    with desk_of(request).to_read(task) as ws:
        return show_page(request, "home.html", ws, **_state(status.run(ws)))


@router.get("/parts/home", include_in_schema=False)
def home_part(request: Request, task: str | None = None) -> HTMLResponse:
    """Show the same again, for a page that is open."""
    with desk_of(request).to_read(task) as ws:
        return show_page(request, "parts/home.html", ws, **_state(status.run(ws)))


def _state(report: status.StatusReport) -> dict[str, Any]:
    """Return what the page shows."""
    document, name = report.document, report.subject
    counts = [
        (key.replace("_", " "), count, "/items?" + urlencode({"task": name, "state": "" if key == "total" else key}))
        for key, count in document[name].items()
    ]
    waiting = [one for one in document["due"] if one["outcome"] is None]
    known = {key: document[key] for key in ("index", "parked", "spent", "next")}
    return {"counts": counts, "open_batches": report.open_batches, "due": waiting, **known}
