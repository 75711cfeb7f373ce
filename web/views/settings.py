"""Settings: each with its value and where that came from; keys are masked."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from pipeline.core.settings import settings_rows
from web.render import desk_of, show_page
from web.view import Link, View

router = APIRouter()
VIEW = View(router, Link("/settings", "Settings", of_task=False))


@router.get("/api/settings")
def get_settings(request: Request) -> list[dict[str, Any]]:
    """Return every setting, as `findable settings --all --json`."""
    return [one._asdict() for one in settings_rows(desk_of(request).settings)]


@router.get("/settings", include_in_schema=False)
def settings_page(request: Request) -> HTMLResponse:
    """Show every setting, read only."""
    desk = desk_of(request)
    with desk.to_read() as ws:
        return show_page(request, "settings.html", ws, settings=settings_rows(desk.settings))
