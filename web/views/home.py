"""Home: what there is, what is under way, what it cost, what needs a person, and what comes next."""

from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse

from pipeline.batch import budget, folder
from pipeline.core.states import Way
from pipeline.engine.workspace import OpenWorkspace
from pipeline.ops import status
from pipeline.quality.report import report_documents
from pipeline.store.batches import Batch
from web import steps
from web.problem import Refused
from web.render import as_stated, desk_of, show_page
from web.running import Running, Work
from web.view import Link, View
from web.views.imports import IMPORTS
from web.views.work import accepted

router = APIRouter()
VIEW = View(router, Link("/", "Home"))
Usd = Annotated[float, Query(ge=0.0, allow_inf_nan=False)]


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
            {"name": one.subject, "one": one.words.one, "many": one.words.many, "indexed": ws.indexes(one)}
            for one in ws.tasks
        ]


@router.get("/api/tasks/{task}/budgets")
def get_budgets(request: Request, task: str) -> list[dict[str, Any]]:
    """Return the budgets that hold for a task, with what is left of each in USD."""
    with desk_of(request).to_read(task) as ws:
        return _Home(ws).budgets()


@router.get("/api/tasks/{task}/next")
def get_next(request: Request, task: str) -> dict[str, Any]:
    """Return what to type next and, where the page can do it (`command`), what it would ask and cost (`plan`)."""
    with desk_of(request).to_read(task) as ws:
        return _Home(ws).next()


@router.post("/api/tasks/{task}/next", status_code=202)
def begin_next(request: Request, task: str, step: str, cost: Usd = 0.0) -> JSONResponse:
    """Begin the next step; `step` is what it is thought to be, `cost` the estimate in USD that was agreed to."""
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        now = status.run(ws).document["next"]
    if step != now or not steps.command_of(step):
        raise Refused(409, f"the next step is {now or 'none'}; nothing was begun", hint="look at it again")

    def work(display: Work) -> dict[str, Any]:
        with desk.to_write(task, display) as ws:
            return steps.NextStep(ws, step, cost).carry_out(display)

    command = steps.command_of(step)
    return accepted(desk.running.begin(f"{command} {task}", work))


@router.get("/", include_in_schema=False)
def home_page(request: Request, task: str | None = None) -> HTMLResponse:
    """Show where everything stands."""
    with desk_of(request).to_read(task) as ws:
        return show_page(request, "home.html", ws, **_Home(ws).state(desk_of(request).running))


@router.get("/parts/home", include_in_schema=False)
def home_part(request: Request, task: str | None = None) -> HTMLResponse:
    """Show the same again, for a page that is open."""
    with desk_of(request).to_read(task) as ws:
        return show_page(request, "parts/home.html", ws, **_Home(ws).state(desk_of(request).running))


@router.get("/parts/next", include_in_schema=False)
def next_part(request: Request, task: str | None = None) -> HTMLResponse:
    """Show what the next step will cost, and the button that begins it."""
    with desk_of(request).to_read(task) as ws:
        found = _Home(ws).next()
        address = f"/api/tasks/{ws.settings.task}/next?"
        cost = found["plan"]["cost"] if found["plan"] else 0.0
        begin = address + urlencode({"step": found["next"], "cost": repr(cost)})
        return show_page(request, "parts/next.html", ws, **found, begin=begin, leaving=ws.leaving, back="next")


@dataclass(frozen=True)
class _Home:
    """What is told of an open workspace."""

    ws: OpenWorkspace

    def next(self) -> dict[str, Any]:
        what = str(status.run(self.ws).document["next"])
        command = steps.command_of(what)
        return {"next": what, "command": command, "plan": steps.NextStep(self.ws, what).plan()}

    def budgets(self) -> list[dict[str, Any]]:
        ws = self.ws
        with ws.store.read() as tx:
            found = budget.budgets(ws, budget.running_budget(tx, ws.task)).left(tx)
        return [
            {"name": one.name, "usd": one.usd, "since": one.since.isoformat(), "left": round(left, 6)}
            for one, left in found
        ]

    def _live_runs(self, going: list[Batch]) -> list[dict[str, Any]]:
        """Return the runs of our own calls that go on, whichever process they are of, with how far and how quick."""
        dead, now, found = {one.run or one.number for one in folder.dead_batches(self.ws)}, self.ws.now(), []
        for one in (one for one in going if one.way is Way.LIVE):
            done, took = max(one.calls, one.replies), max((now - one.created_at).total_seconds(), 1.0)
            pace = {"rate": done / took, "eta_s": (one.requests - done) * took / done} if done else {}
            state = "killed" if (one.run or one.number) in dead else "under way"
            told = {"number": one.number, "items": one.requests, "done": min(done, one.requests), "state": state}
            found.append({"rate": None, "eta_s": None, "estimated": one.estimated_cost, **told, **pace})
        return found

    def state(self, running: Running) -> dict[str, Any]:
        ws = self.ws
        report = status.run(ws)
        document, name = report.document, report.subject
        counts = [
            (
                as_stated(key),
                count,
                "/items?" + urlencode({"task": name, "state": "" if key == "total" else key}),
            )
            for key, count in document[name].items()
        ]
        newest = report_documents(ws.data, ws.task.name, limit=1)
        return {
            "counts": counts,
            "open_batches": [one for one in report.open_batches if one.way is Way.BATCH],
            "live_runs": self._live_runs(report.open_batches),
            "works": [one.document for one in running.every()][-4:],
            "budgets": self.budgets(),
            "due": [one for one in document["due"] if one["outcome"] is None],
            "failed_gates": [gate for one in newest for gate in one["gates"] if gate["passed"] is False],
            "stale": document.get("stale") or {"count": 0},
            "command": steps.command_of(document["next"]),
            "imports": IMPORTS,
            **{key: document[key] for key in ("index", "parked", "spent", "next")},
        }
