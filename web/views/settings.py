"""Health: what `doctor` finds, and every setting with its value and its origin; keys are masked. Read only."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse

from pipeline.core.settings import settings_rows
from pipeline.ops import doctor
from web.desk import Desk
from web.render import desk_of, show_page
from web.running import Work
from web.view import Link, View
from web.views.work import accepted

router = APIRouter()
VIEW = View(router, Link("/settings", "Health", of_task=False))


@router.get("/api/settings")
def get_settings(request: Request) -> list[dict[str, Any]]:
    """Return every setting, as `findable settings --all --json`."""
    return [one._asdict() for one in settings_rows(desk_of(request).settings)]


@router.post("/api/doctor", status_code=202)
def begin_doctor(request: Request) -> JSONResponse:
    """Begin to check the workspace against itself and the backend, as `findable doctor --json`."""
    desk = desk_of(request)

    def work(_display: Work) -> dict[str, Any]:
        with desk.to_read() as ws:
            return doctor.document(doctor.run(ws))

    return accepted(desk.running.begin("doctor", work))


@router.get("/settings", include_in_schema=False)
def settings_page(request: Request) -> HTMLResponse:
    """Show every setting, and the button that checks everything."""
    desk = desk_of(request)
    with desk.to_read() as ws:
        return show_page(request, "settings.html", ws, settings=settings_rows(desk.settings), work=_newest(desk))


@router.get("/parts/doctor", include_in_schema=False)
def doctor_part(request: Request) -> HTMLResponse:
    """Show what the last check found, for a page that is open."""
    desk = desk_of(request)
    with desk.to_read() as ws:
        return show_page(request, "parts/doctor.html", ws, work=_newest(desk))


def _newest(desk: Desk) -> dict[str, Any] | None:
    work = desk.running.newest("doctor")
    return work.document if work else None
