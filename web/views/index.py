"""Index: the build in service and those beside it, the button that makes a new one, and the way back."""

import math
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse

from pipeline.index import build
from pipeline.index.build_lookup import BuildLookup
from pipeline.ops import status
from pipeline.ops.status import StatusCounts
from pipeline.store.database import Store
from web import steps
from web.render import desk_of, show_page
from web.running import Work
from web.view import Link, View
from web.views.work import accepted

router = APIRouter()
VIEW = View(router, Link("/index", "Index"))
COMMAND = "index"
Usd = Annotated[float | None, Query(ge=0.0, allow_inf_nan=False)]


@router.get("/api/tasks/{task}/index")
def get_index(request: Request, task: str) -> list[dict[str, Any]]:
    """Return the builds of a task's index that are on disk, the newest first."""
    with desk_of(request).to_read(task) as ws:
        return _builds(ws.store, BuildLookup(ws.data, ws.collection.folder))


@router.post("/api/tasks/{task}/index", status_code=202)
def begin_index(request: Request, task: str, cost: Usd = None) -> JSONResponse:
    """Begin to rebuild the index of a task, unless that is under way; the reply says where to look.

    With the estimate in USD that was agreed to (`cost`) nothing is embedded where it would cost more by now.
    """
    desk = desk_of(request)
    desk.check_there(task)

    def work(display: Work) -> dict[str, Any]:
        with desk.to_write(task, display) as ws:
            agreed = math.inf if cost is None else cost
            return steps.NextStep(ws, ws.task.words.make(COMMAND), agreed).carry_out(display)

    return accepted(desk.running.begin(f"index {task}", work))


@router.post("/api/tasks/{task}/index/rollback")
def roll_back(request: Request, task: str) -> dict[str, Any]:
    """Put the build before the one in service back, as `findable index --rollback`."""
    with desk_of(request).to_write(task) as ws:
        return asdict(build.roll_back_index(ws))


@router.post("/api/tasks/{task}/index/verify", status_code=202)
def begin_verify(request: Request, task: str) -> JSONResponse:
    """Begin to read every byte of the build in service; the result says what is wrong with it (`wrong`)."""
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        builds = BuildLookup(ws.data, ws.collection.folder)

    def work(_display: Work) -> dict[str, Any]:
        with builds.open() as index:
            number = index.manifest.number
        wrong = [*builds.damage(number), builds.unsound_rows(number)]
        return {"build": number, "wrong": [one for one in wrong if one]}

    return accepted(desk.running.begin(f"verify index {task}", work))


@router.get("/index", include_in_schema=False)
def index_page(request: Request, task: str | None = None) -> HTMLResponse:
    """Show the index of a task."""
    return _shown(request, task, "index.html")


@router.get("/parts/index/plan", include_in_schema=False)
def plan_part(request: Request, task: str) -> HTMLResponse:
    """Show what a new build will cost, and the button that begins it."""
    with desk_of(request).to_read(task) as ws:
        step = ws.task.words.make(COMMAND)
        plan = steps.NextStep(ws, step).plan()
        begin = f"/api/tasks/{ws.settings.task}/index?cost={plan['cost'] if plan else 0.0!r}"
        known = {"next": step, "command": COMMAND, "plan": plan, "begin": begin, "leaving": ws.leaving}
        return show_page(request, "parts/next.html", ws, **known, back="rebuild")


@router.get("/parts/index", include_in_schema=False)
def index_part(request: Request, task: str | None = None) -> HTMLResponse:
    """Show the same again, for a page that is open."""
    return _shown(request, task, "parts/index.html")


def _shown(request: Request, task: str | None, template: str) -> HTMLResponse:
    running = desk_of(request).running
    with desk_of(request).to_read(task) as ws:
        report = status.run(ws)
        found = (running.newest(f"{kind} {report.subject}") for kind in ("index", "verify index"))
        works = [one.document for one in found if one is not None]
        builds = _builds(ws.store, BuildLookup(ws.data, ws.collection.folder)) if ws.is_indexed else []
        shown = {"index": report.document["index"], "works": works, "builds": builds}
        has_items = bool(StatusCounts(*list(report.document[report.subject].values())[:6]).done)
        can_begin = not ws.is_indexed and ws.task.index is not None
        in_service = next((one["number"] for one in builds if one["in_service"]), None)
        can = {
            "can_begin": can_begin,
            "can_build": has_items and (ws.is_indexed or can_begin),
            "can_verify": in_service is not None,
            "can_go_back": any(in_service is None or one["number"] < in_service for one in builds),
        }
        return show_page(request, template, ws, how=ws.task.how_to_index, **shown, **can)


def _builds(store: Store, builds: BuildLookup) -> list[dict[str, Any]]:
    known, others = build.recorded_builds(store), set(builds.others())
    return [
        {
            "number": number,
            "in_service": number not in others,
            "built_at": builds.built_at(number),
            **{name: known[number][name] if number in known else None for name in ("count", "model", "dim")},
        }
        for number in reversed(builds.numbers())
    ]
