"""Where a task stands, what comes next as a button with its price, and how far long work is."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, JSONResponse

from pipeline.batch import budget, folder
from pipeline.core.states import Way
from pipeline.engine.workspace import OpenWorkspace
from pipeline.ops import status
from pipeline.ops.status import StatusCounts
from pipeline.store.batches import Batch
from web.problem import Refused
from web.render import accepted, desk_of, show_page
from web.running import Running, Work
from web.views.next_step import NextStep, command_of

router = APIRouter()

Usd = Annotated[float, Query(ge=0.0, allow_inf_nan=False)]
MANY = 5_000  # open rows, of which the cost is counted only when it is asked for
RECENT_S = 120.0  # so long what went well is shown after its end
LABELS = {  # what the button of a step says; other steps lead to a place
    "tag": "Ask the {open} open {many}",
    "batch-submit": "Send what is ready",
    "batch-poll": "Fetch the answers",
    "batch-ingest": "Take the answers in",
    "index": "Bring the search index up to date",
    "passages-pilot": "Try some passages first",
    "passages-backfill": "Ask all {open} {many}",
}


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
        return budgets_of(ws)


@router.get("/api/tasks/{task}/next")
def get_next(request: Request, task: str) -> dict[str, Any]:
    """Return what to type next and, where the page can do it (`command`), what it would ask and cost (`plan`)."""
    with desk_of(request).to_read(task) as ws:
        return _next(ws)


@router.post("/api/tasks/{task}/next", status_code=202)
def begin_next(request: Request, task: str, step: str, cost: Usd = 0.0) -> JSONResponse:
    """Begin the next step; `step` is what it is thought to be, `cost` the estimate in USD that was agreed to."""
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        now = status.run(ws).document["next"]
    if step != now or not command_of(step):
        raise Refused(409, f"the next step is {now or 'none'}; nothing was begun", hint="look at it again")

    def work(display: Work) -> dict[str, Any]:
        with desk.to_write(task, display) as ws:
            return NextStep(ws, step, cost).carry_out(display)

    return accepted(desk.running.begin(f"{command_of(step)} {task}", work))


@router.get("/parts/state", include_in_schema=False)
def state_part(request: Request, task: str) -> HTMLResponse:
    """Show in one line where a task stands, what is under way, and what comes next."""
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        report = status.run(ws)
        document = report.document
        counts = StatusCounts(*list(document[report.subject].values())[:6])
        index = document["index"] or {"behind": 0}
        runs = live_runs(ws, report.open_batches)
        return show_page(
            request,
            "parts/state.html",
            ws,
            "rows",
            counts=counts,
            states=list(document[report.subject])[1:],
            eta_s=next((one["eta_s"] for one in runs), None),
            waits=sum(one.way is Way.BATCH for one in report.open_batches),
            spent=document["spent"],
            budgets=budgets_of(ws),
            behind=index["behind"],
            stale=document.get("stale") or {"count": 0},
            next=document["next"],
            command=command_of(document["next"]),
            works=(works := shown_works(desk.running)),
            is_busy=any(one["state"] == "running" for one in works),
            many_open=MANY,
        )


@router.get("/parts/next", include_in_schema=False)
def next_part(request: Request, task: str) -> HTMLResponse:
    """Show the button of the next step, with what it costs."""
    with desk_of(request).to_read(task) as ws:
        found = _next(ws)
        if not found["command"]:
            return HTMLResponse("")  # there is nothing to begin by now
        counts = StatusCounts(*list(ws_counts(ws).values())[:6])
        words = ws.task.words
        many = words.one if counts.open == 1 else words.many
        label = LABELS[found["command"]].format(open=f"{counts.open:,}", many=many)
        cost = found["plan"]["cost"] if found["plan"] else 0.0
        begin = f"/api/tasks/{ws.settings.task}/next?" + urlencode({"step": found["next"], "cost": repr(cost)})
        known = {"label": label, "begin": begin, "cost": cost, "leaving": ws.leaving}
        return show_page(request, "parts/next.html", ws, "rows", **found, **known)


def ws_counts(ws: OpenWorkspace) -> dict[str, int]:
    """Return how many rows of the task in use are in each state."""
    with ws.store.read() as tx:
        return ws.task.table(tx).counts(tx)


def shown_works(running: Running) -> list[dict[str, Any]]:
    """Return the long work of the page that a reader wants to know of: under way, failed, or over a moment ago."""
    found = [one.document for one in running.every()][-4:]
    return [one for one in found if one["state"] != "done" or one["warnings"] or one["ended_s"] < RECENT_S]


def _next(ws: OpenWorkspace) -> dict[str, Any]:
    what = str(status.run(ws).document["next"])
    return {"next": what, "command": command_of(what), "plan": NextStep(ws, what).plan()}


def budgets_of(ws: OpenWorkspace) -> list[dict[str, Any]]:
    """Return the budgets that hold for the task in use, with what is left of each in USD."""
    with ws.store.read() as tx:
        found = budget.budgets(ws, budget.running_budget(tx, ws.task)).left(tx)
    return [
        {"name": one.name, "usd": one.usd, "since": one.since.isoformat(), "left": round(left, 6)}
        for one, left in found
    ]


def live_runs(ws: OpenWorkspace, going: list[Batch]) -> list[dict[str, Any]]:
    """Return the runs of our own calls that go on, whichever process they are of, with how far and how quick."""
    dead, now, found = {one.run or one.number for one in folder.dead_batches(ws)}, ws.now(), []
    for one in (one for one in going if one.way not in (Way.BATCH, Way.TRIAL)):
        done, took = max(one.calls, one.replies), max((now - one.created_at).total_seconds(), 1.0)
        pace = {"rate": done / took, "eta_s": (one.requests - done) * took / done} if done else {}
        state = "killed" if (one.run or one.number) in dead else "under way"
        told = {"number": one.number, "items": one.requests, "done": min(done, one.requests), "state": state}
        found.append({"rate": None, "eta_s": None, "estimated": one.estimated_cost, **told, **pace})
    return found


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
