"""One item: its row beside its answers, where these came from, every request about it, and what it cost."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from pipeline.ops import show
from web.render import as_text, desk_of, show_page
from web.view import View

router = APIRouter()
VIEW = View(router)


@router.get("/api/tasks/{task}/item")
def get_item(request: Request, task: str, key: str, *, raw: bool = False) -> dict[str, Any]:
    """Return everything known about one item, as `findable show --item KEY --json`."""
    with desk_of(request).to_read(task) as ws:
        return show.run(ws, key, raw=raw)


@router.get("/item", include_in_schema=False)
def item_page(request: Request, key: str, task: str | None = None, *, raw: bool = False) -> HTMLResponse:
    """Show everything known about one item."""
    with desk_of(request).to_read(task) as ws:
        document = show.run(ws, key, raw=raw)
        columns = [(name, as_text(value) or "-") for name, value in document["columns"].items()]
        known = {name: value for name, value in document.items() if name != "task"}
        return show_page(request, "item.html", ws, **{**known, "columns": columns, "raw": raw, "key": key})
