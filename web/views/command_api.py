"""Where a task stands, what comes next as a button with its price, and how far long work is."""

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.encoders import jsonable_encoder
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import RootModel

from pipeline.batch import batch_files, budget, submit
from pipeline.batch.prepare import Selection
from pipeline.batch.submit import SubmitReport
from pipeline.core.command_hint import CommandHint
from pipeline.core.progress import NoProgress
from pipeline.core.states import Mode
from pipeline.engine.workspace import WorkspaceSession
from pipeline.index.vectors import Embedder
from pipeline.ops import status
from pipeline.quality.pilot import next_pilot
from pipeline.workflows import preflight
from web.app_state import AppState
from web.background_work import BackgroundJob, BackgroundJobs
from web.errors import RequestRefused
from web.render import accepted, desk_of, show_page

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
ENDS = {
    "tag": {"wait": "1"},
    "passages-backfill": {"wait": "1"},
}  # a button's work goes on to the end
INDEX = "index"


@router.get("/api/tasks")
def get_tasks(request: Request) -> list[dict[str, Any]]:
    """Return the tasks of the workspace."""
    with desk_of(request).to_read() as ws:
        return [
            {
                "name": one.subject,
                "one": one.words.one,
                "many": one.words.many,
                "indexed": ws.indexes(one),
            }
            for one in ws.tasks
        ]


@router.get("/api/tasks/{task}/next")
def get_next(request: Request, task: str) -> dict[str, Any]:
    """Return what to type next and, where the page can do it (`command`), what it would ask and cost (`plan`)."""
    with desk_of(request).to_read(task) as ws:
        return _next(ws, status.run(ws).next)


@router.post("/api/tasks/{task}/next", status_code=202)
def begin_next(request: Request, task: str, step: str, cost: Usd = 0.0) -> JSONResponse:
    """Begin the next step; `step` is what it is thought to be, `cost` the estimate in USD that was agreed to."""
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        now = status.run(ws).next
    if now is None or step != str(now) or not command_of(now):
        raise RequestRefused(
            409, f"the next step is {now or 'none'}; nothing was begun", hint="look at it again"
        )
    form = {name: str(value) for name, value in now.options.items() if name != "task"} | ENDS.get(
        now.command, {}
    )
    return accepted(begin(desk, now.command, form, task, cost))


def begin(
    desk: AppState, command: str, form: Mapping[str, str], task: str, cost: float
) -> BackgroundJob:
    """Begin a command of the table in a thread; while it is under way about a task, return that work.

    Raises:
        Refused: the page carries out no such command, or the workspace has no such task.
    """
    act = desk.act(command)
    desk.check_there(task)
    act.writes(form, task)  # what is wrong in the form is said at once

    def work(display: BackgroundJob) -> Any:
        if command == INDEX and not form.get("rollback"):
            with desk.to_read(task) as ws:
                ws.agreed = cost
                ws.spend(embedding(ws)["cost"], nothing="nothing was embedded")
        return desk.carry_out(act, form, task, display, cost=cost)

    return desk.running.begin(f"{command} {task}", work)


def command_of(step: CommandHint | None) -> str:
    """Return the command of a step that is a button; else an empty text."""
    return step.command if step is not None and step.command in LABELS else ""


def plan_of(ws: WorkspaceSession, command: str) -> dict[str, Any] | None:
    """Return what a command would ask, as its `DRY=1` says it, and `cost` in USD; None where nothing new is sent."""
    if command in {"tag", "passages-backfill"}:
        estimated = preflight.estimate(ws, limit=None, deadline_s=None)
        found = estimated.document()
        if command != "tag":  # a backfill goes by batch, whatever is recommended
            found |= {"recommended": "batch", "reason": "it may take days"}
        # The rows of a stopped run are asked again, at most at the price that was estimated for them.
        stopped = sum(
            one.estimated_cost for one in batch_files.dead_batches(ws) if one.task == ws.task.name
        )
        return {
            **found,
            "cost": round(estimated.going_out(found["recommended"] or "batch")[1] + stopped, 6),
        }
    if command not in {"batch-submit", "passages-pilot"}:
        return embedding(ws) if command == INDEX else None
    with ws.store.read() as tx:
        among = next_pilot(tx, ws.task, ws.extractor)[2] if command == "passages-pilot" else None
    ws.bring_items()
    dry = SubmitReport(submit.plan_all(ws, Selection(among=among))).document(ws.model, dry=True)
    return {**dry, "cost": dry["estimated_cost"], "recommended": "batch"}


def embedding(ws: WorkspaceSession) -> dict[str, Any]:
    """Return how many texts a new build would embed, and what that costs in USD."""
    embedder = Embedder(ws)
    collection = ws.task.index
    if collection is None or not embedder.is_paid():
        return {"cost": 0.0, "recommended": ""}
    with ws.store.read() as tx:
        texts, tokens, cost = embedder.cost(collection.entries(tx), bar=NoProgress())
    known = {"items": texts, "tokens_in": tokens, "tokens_out": 0, "cost": round(cost, 6)}
    return {**known, "recommended": "live", "reason": "texts are embedded in calls of a hundred"}


@router.get("/parts/state", include_in_schema=False)
def state_part(request: Request, task: str) -> HTMLResponse:
    """Show in one line where a task stands, what is under way, and what comes next."""
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        report = status.run(ws)
        document = report.document
        works = shown_works(desk.running)
        return show_page(
            request,
            "parts/state.html",
            ws,
            "rows",
            counts=report.counts,
            states=list(document[report.subject])[1:],
            eta_s=next((one["eta_s"] for one in report.runs), None),
            is_stopped=any(one["state"] == "killed" for one in report.runs),
            waits=sum(one.way is Mode.BATCH for one in report.open_batches),
            spent=document["spent"],
            budgets=budgets_of(ws),
            stale=document.get("stale") or {"count": 0},
            next=document["next"],
            command=command_of(report.next),
            works=works,
            is_busy=any(one["state"] == "running" for one in works),
            many_open=MANY,
        )


@router.get("/parts/next", include_in_schema=False)
def next_part(request: Request, task: str) -> HTMLResponse:
    """Show the button of the next step, with what it costs."""
    with desk_of(request).to_read(task) as ws:
        report = status.run(ws)
        words = ws.task.words
        # The rows of a stopped run are claimed until the next step, which asks them again.
        found = _next(ws, report.next)
        is_open = report.counts.open or report.counts.claimed
        if not found["command"]:
            return HTMLResponse("")  # there is nothing to begin by now
        many = words.one if is_open == 1 else words.many
        label = LABELS[found["command"]].format(open=f"{is_open:,}", many=many)
        cost = found["plan"]["cost"] if found["plan"] else 0.0
        begin = f"/api/tasks/{ws.settings.task}/next?" + urlencode(
            {"step": found["next"], "cost": repr(cost)}
        )
        known = {"label": label, "begin": begin, "cost": cost, "leaving": ws.leaving}
        return show_page(request, "parts/next.html", ws, "rows", **found, **known)


def shown_works(running: BackgroundJobs) -> list[dict[str, Any]]:
    """Return the long work of the page that a reader wants to know of: under way, failed, or over a moment ago."""
    found = [one.document for one in running.every()][-4:]
    return [
        one
        for one in found
        if one["state"] != "done" or one["warnings"] or one["ended_s"] < RECENT_S
    ]


def _next(ws: WorkspaceSession, step: CommandHint | None) -> dict[str, Any]:
    return {
        "next": str(step or ""),
        "command": command_of(step),
        "plan": plan_of(ws, command_of(step)),
    }


def budgets_of(ws: WorkspaceSession) -> list[dict[str, Any]]:
    """Return the budgets that hold for the task in use, with what is left of each in USD."""
    with ws.store.read() as tx:
        found = budget.budgets(ws, budget.running_budget(tx, ws.task)).left(tx)
    return [
        {
            "name": one.name,
            "usd": one.usd,
            "since": one.since.isoformat(),
            "left": round(max(0.0, left), 6),
        }
        for one, left in found
    ]


@router.get("/api/work")
def list_work(request: Request) -> list[dict[str, Any]]:
    """Return the long work that this page began, oldest first."""
    return [one.document for one in desk_of(request).running.every()]


@router.get("/api/work/{number}")
def get_work(request: Request, number: int) -> dict[str, Any]:
    """Return how far one is, and what came of it."""
    found = desk_of(request).running.get(number)
    if found is None:
        raise RequestRefused(
            404, f"there is no work {number}; the page may have been started again since"
        )
    return found.document


class CommandOptions(RootModel[dict[str, str]]):
    """The options of a command by their names, as texts."""


last = APIRouter()  # behind all others: its address has room for any name


@last.get("/api/{command}")
def read_command(request: Request, command: str, task: str = "") -> JSONResponse:
    """Return the document of a command that only looks, as with `--json`; its options stand in the address."""
    desk = desk_of(request)
    act = desk.act(command)
    if not act.only_looks:
        raise RequestRefused(
            405,
            f"{command} does more than look; nothing was begun",
            hint=f"POST /api/{command} begins it",
        )
    form = {name: value for name, value in request.query_params.items() if name != "task"}
    return JSONResponse(jsonable_encoder(desk.carry_out(act, form, task, NoProgress())))


@last.post("/api/{command}", status_code=202)
def begin_command(
    request: Request, command: str, body: CommandOptions, task: str = "", cost: Usd = 0.0
) -> JSONResponse:
    """Begin a command with its options, as it is typed; no more than `cost` (USD) is spent, by estimate."""
    desk = desk_of(request)
    return accepted(begin(desk, command, body.root, task or desk.named_task(task).task, cost))
