"""People, and items of any task: found by a part of what they are called, page by page."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from pipeline.core.listed import ItemFilter
from pipeline.ops import items
from web.render import as_cell, desk_of, show_page
from web.view import Link, View

router = APIRouter()
VIEW = View(router, Link("/items"))
ROWS = 50  # of one page
Limit = Annotated[int, Query(ge=1, le=500)]


@router.get("/api/tasks/{task}/items")
def list_items(
    request: Request, task: str, find: str = "", *, state: str = "", after: str = "", limit: Limit = ROWS
) -> dict[str, Any]:
    """Return one page of a task's items, as `findable items --json`; the next one begins behind `after`."""
    with desk_of(request).to_read(task) as ws:
        return items.run(ws).page(ItemFilter(find.split(), state or None), after=after or None, limit=limit).document


@router.get("/items", include_in_schema=False)
def items_page(
    request: Request, task: str | None = None, find: str = "", state: str = "", after: str = ""
) -> HTMLResponse:
    """Show one page of a task's items."""
    with desk_of(request).to_read(task) as ws:
        with ws.store.read() as tx:
            _, *states = ws.task.counts(tx, now=ws.now())
        return show_page(request, "items.html", ws, states=states, **_listed(items.run(ws), find, state, after))


@router.get("/parts/items", include_in_schema=False)
def items_part(
    request: Request, task: str | None = None, find: str = "", state: str = "", after: str = ""
) -> HTMLResponse:
    """Show the rows alone."""
    with desk_of(request).to_read(task) as ws:
        return show_page(request, "parts/items.html", ws, **_listed(items.run(ws), find, state, after))


def _listed(listed: items.ItemList, find: str, state: str, after: str) -> dict[str, Any]:
    """Return a page of items as the table shows them."""
    page = listed.page(ItemFilter(find.split(), state or None), after=after or None, limit=ROWS)
    found = [
        {"key": one.id, "state": one.state, "cells": [as_cell(value) for value in one.values.values()]}
        for one in page.items
    ]
    more = urlencode({"task": listed.task.name, "find": find, "state": state, "after": page.after or ""})
    headers = list(page.items[0].values) if page.items else ["item"]
    known = {"find": find, "state": state, "after": page.after, "how_to_fill": listed.task.how_to_fill}
    return {"items": found, "headers": headers, "more": more, **known}
