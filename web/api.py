"""The JSON API: the same documents as the commands' `--json`."""

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from pipeline.batch import listing
from pipeline.core.settings import settings_rows
from pipeline.cost import costs
from pipeline.index import build, search
from pipeline.ops import items, show, status
from web import admin
from web.desk import Desk
from web.problem import Refused
from web.running import Work

router = APIRouter(prefix="/api")
Limit = Annotated[int, Query(ge=1, le=500)]


def desk_of(request: Request) -> Desk:
    """Return what the page works with."""
    found: Desk = request.app.state.desk
    return found


@router.get("/status")
def get_status(request: Request, task: str | None = None) -> dict[str, Any]:
    """Return where everything stands, as `findable status --json`."""
    with desk_of(request).to_read(task) as ws:
        return status.run(ws).document


@router.get("/tasks")
def get_tasks(request: Request) -> list[dict[str, Any]]:
    """Return the tasks of the workspace."""
    with desk_of(request).to_read() as ws:
        return [
            {"name": one.name, "one": one.task.words.one, "many": one.task.words.many, "indexed": bool(one.collection)}
            for one in ws.subjects
        ]


@router.get("/{task}/items")
def list_items(
    request: Request, task: str, find: str = "", state: str | None = None, after: str | None = None, limit: Limit = 50
) -> dict[str, Any]:
    """Return one page of a task's items, as `findable items --json`; the next one begins behind `after`."""
    with desk_of(request).to_read(task) as ws:
        return items.run(ws, find.split(), state=state or None, after=after or None, limit=limit).document


@router.get("/{task}/items/{key:path}")
def get_item(request: Request, task: str, key: str, *, raw: bool = False) -> dict[str, Any]:
    """Return everything known about one item, as `findable show --item KEY --json`."""
    with desk_of(request).to_read(task) as ws:
        return show.run(ws, key, raw=raw)


@router.get("/{task}/search")
def get_search(request: Request, task: str, q: str, k: Limit = 10) -> dict[str, Any]:
    """Return what is nearest to a question, as `findable search --json`, and how far the index is behind."""
    with desk_of(request).to_read(task) as ws:
        report, collection = search.run(ws, q, k=k), ws.collection
        hits = [collection.shown(hit.rank, hit.similarity, hit.metadata) for hit in report.hits]
    return {"hits": hits, "behind": report.behind}


@router.get("/batches")
def get_batches(request: Request) -> list[dict[str, Any]]:
    """Return every batch, as `findable batches --json`."""
    with desk_of(request).to_read() as ws:
        return [one.document for one in listing.run(ws.store, now=ws.now())]


@router.get("/costs")
def get_costs(request: Request, by: str = "day") -> dict[str, Any]:
    """Return what was spent, as `findable costs --json`."""
    if by not in costs.KEYS:
        raise Refused(422, f"by={by} is none of {', '.join(costs.KEYS)}", field="by")
    with desk_of(request).to_read() as ws:
        return costs.document(costs.run(ws.store, ws.subjects, by=by))


@router.get("/settings")
def get_settings(request: Request) -> list[dict[str, Any]]:
    """Return every setting with its value and where that came from; keys are masked."""
    return [one._asdict() for one in settings_rows(desk_of(request).settings)]


@router.post("/{task}/index", status_code=202)
def begin_index(request: Request, task: str, response: Response) -> dict[str, Any]:
    """Begin to rebuild the index of a task; the reply says where to look."""
    desk = desk_of(request)

    def work(display: Work) -> dict[str, Any]:
        with desk.to_write(task, display) as ws:
            ws.bring_index()
            return asdict(build.run(ws))

    found = desk.running.begin(f"index {task}", work)
    response.headers["location"] = f"/api/work/{found.number}"
    return found.document


@router.get("/work/{number}")
def get_work(request: Request, number: int) -> dict[str, Any]:
    """Return how far long work has come, and what came of it."""
    found = desk_of(request).running.get(number)
    if found is None:
        raise Refused(404, f"there is no work {number}; the page may have been started again since")
    return found.document


@router.post("/admin/experts", status_code=201)
async def add_expert(request: Request) -> JSONResponse:
    """Add one person: 201 {ok, username, tags, findability_score, retrying} within eight seconds."""
    return JSONResponse(await admin.add_person(desk_of(request), await request.body()), status_code=201)
