"""Settings: what is set, the search index with its way back, and whether all that is stored is sound."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from pipeline.core.settings import settings_rows
from pipeline.index.builds import Builds
from pipeline.ops import status
from web.render import desk_of, show_page
from web.views.command_api import embedding

router = APIRouter()

FIRST = (
    "DATA",
    "DATABASE_URL",
    "MODEL",
    "TIER",
    "BUDGET_PER_DAY",
    "BACKEND",
)  # shown though nothing set them


@router.get("/settings", include_in_schema=False)
def settings_page(request: Request, task: str | None = None) -> HTMLResponse:
    """Show what is set, the index, and the button that checks everything."""
    return _page(request, "settings.html", task)


@router.get("/parts/settings", include_in_schema=False)
def settings_part(request: Request, task: str) -> HTMLResponse:
    """Show the index and the checks by now."""
    return _page(request, "parts/health.html", task)


def _page(request: Request, template: str, task: str | None) -> HTMLResponse:
    desk = desk_of(request)
    with desk.to_read(task) as ws:
        report = status.run(ws)
        builds = _builds(Builds(ws.data, ws.collection.folder)) if ws.is_indexed else []
        in_service = next((one["number"] for one in builds if one["in_service"]), None)
        older = (
            one["number"] for one in builds if in_service is None or one["number"] < in_service
        )
        works = {
            name: desk.running.newest(f"{name} {report.subject}") for name in ("index", "doctor")
        }
        rows = settings_rows(desk.settings)
        shown = [
            one
            for one in rows
            if one.source != "default" or one.name.removeprefix("FINDABLE_") in FIRST
        ]
        return show_page(
            request,
            template,
            ws,
            "settings",
            shown=shown,
            rest=[one for one in rows if one not in shown],
            document=report.document,
            index=report.document["index"],
            can_index=ws.task.index is not None,
            can_build=bool(report.counts.done),
            how=ws.task.how_to_index,
            builds=builds,
            before=max(older, default=None),
            cost=embedding(ws)["cost"],
            works={name: one.document for name, one in works.items() if one is not None},
        )


def _builds(builds: Builds) -> list[dict[str, Any]]:
    others = builds.others()
    names = ("number", "built_at", "count", "model", "dim")
    return [
        {"in_service": number not in others, **{name: getattr(one, name) for name in names}}
        for number, one in reversed(builds.whole().items())
    ]
