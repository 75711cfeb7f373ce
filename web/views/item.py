"""One item: its row beside its answers, where these came from, every request about it, and what is like it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from pipeline.core.errors import FindableError, InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.experts import show as person
from pipeline.index.reader import whole_document
from pipeline.index.search import SearchOptions, SearchReport
from pipeline.ops import show
from pipeline.passages.show import marked_of_passage
from web.asked import Text
from web.desk import PEOPLE, Desk
from web.render import as_stated, as_text, desk_of, show_page
from web.steps import NextStep
from web.view import View
from web.views.acts import acts_shown, is_askable
from web.views.item_shown import answers_shown, concepts_by_version, heading_of, quotations_in, wire_shown
from web.views.passages import TASK as PASSAGES
from web.views.tags import tags_shown

router = APIRouter()
VIEW = View(router)
FEW = 5  # answers that are shown at first
NEAR = 5  # of those that are like an item
Many = Annotated[int, Query(ge=1, le=100)]


@router.get("/api/tasks/{task}/item")
def get_item(request: Request, task: str, key: Text, *, raw: bool = False) -> dict[str, Any]:
    """Return everything known about one item, as `findable show --item KEY --json`."""
    with desk_of(request).to_read(task) as ws:
        return show.run(ws, key, raw=raw)


@router.get("/api/tasks/{task}/near")
def get_near(request: Request, task: str, key: Text, k: Many = NEAR) -> dict[str, Any]:
    """Return what is most like one item, as `findable search --like KEY --json`, and how far the index is behind."""
    hits, report = _near(desk_of(request), task, key, k)
    return {"hits": hits, "behind": report.behind}


@router.get("/item", include_in_schema=False)
def item_page(request: Request, key: Text, task: str | None = None, *, raw: bool = False) -> HTMLResponse:
    """Show everything known about one item."""
    with _shown(request, task, key, raw=raw) as (ws, shown):
        return show_page(request, "item.html", ws, **shown)


@router.get("/parts/state", include_in_schema=False)
def state_part(request: Request, key: Text, task: str, state: str = "") -> Response:
    """Show the state of an item and what came with it, where it is another one than was shown; else nothing (204)."""
    with desk_of(request).to_read(task) as ws:
        try:
            with ws.store.read() as tx:
                now = show.state_of(tx, ws.task, key, now=ws.now())
        except InputError:  # it is not here any more
            return show_page(request, "parts/state.html", ws, key=key, state="", is_answered=False)
    if now == state:
        return Response(status_code=204)
    with _shown(request, task, key) as (ws, shown):
        return show_page(request, "parts/changed.html", ws, **shown, oob=True)


@contextmanager
def _shown(
    request: Request, task: str | None, key: str, *, raw: bool = False
) -> Iterator[tuple[OpenWorkspace, dict[str, Any]]]:
    """Give what the page shows of an item, beside the workspace, which is open for the length of a block.

    Raises:
        InputError: there is no such item.
    """
    with desk_of(request).to_read(task) as ws:
        known = show.run(ws, key, raw=raw)
        name, tags = ws.settings.task, dict[str, Any]()
        if name == PEOPLE:
            tags = tags_shown(request, person.run(ws, key))
        concepts = {}
        if name == PASSAGES and known["columns"]:
            concepts = concepts_by_version(marked_of_passage(ws.store, ws.subjects, ws.settings, known["item"]))
        columns = [(column, as_text(value)) for column, value in known.pop("columns").items()]
        known.pop("task")
        shown = answers_shown(known, tags.get("edits", ()))
        can_ask = is_askable(ws.store, ws.task, known)
        cost = NextStep(ws, "").one_call(known["item"]) if can_ask else None
        for one in known["requests"] if raw else ():
            one["wire"] = wire_shown(one)
        yield (
            ws,
            {
                **known,
                **heading_of(known, name, columns),
                "answers": shown,
                "quotations": list(quotations_in(shown[0].get("answer"))) if shown else [],
                "concepts": concepts,
                "few": FEW,
                "columns": columns,
                "raw": raw,
                "key": key,
                "item_tags": bool(tags),
                "is_answered": as_stated(known["state"]) == ws.task.words.done,
                "has_index": ws.is_indexed,
                **tags,
                **acts_shown(desk_of(request), name, key, known, can_ask=can_ask, cost=cost),
            },
        )


@router.get("/parts/near", include_in_schema=False)
def near_part(request: Request, key: Text, task: str) -> HTMLResponse:
    """Show what is most like one item, or why that cannot be told."""
    desk, hits, problem = desk_of(request), list[dict[str, Any]](), ""
    try:
        hits, _ = _near(desk, task, key, NEAR)
    except FindableError as error:
        problem = error.message
    with desk.to_read(task) as ws:
        return show_page(request, "parts/near.html", ws, hits=hits, problem=problem)


def _near(desk: Desk, task: str, key: str, k: int) -> tuple[list[dict[str, Any]], SearchReport]:
    """Return what is like one item, best first, and the report of the search."""
    with desk.to_search(task) as opened:
        report = opened.ask_like(key, SearchOptions(k))
        return [whole_document(opened.collection, hit) for hit in report.hits], report
