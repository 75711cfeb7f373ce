"""Settings page with the health check, and the search index with its builds."""

from typing import Any

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from pipeline.core.settings import list_setting_rows
from pipeline.index.builds import Builds
from pipeline.ops import status
from web.app_state import AppState
from web.render import PageState, render_page
from web.views.command_api import plan_embedding

router = APIRouter()

# Settings that are listed first even if they have their default.
PROMINENT_SETTINGS = ("DATA", "DATABASE_URL", "MODEL", "TIER", "BUDGET_PER_DAY", "BACKEND")


@router.get("/settings", include_in_schema=False)
def render_settings(app_state: PageState, task: str | None = None) -> HTMLResponse:
    """Render the settings and the button of the health check."""
    return _render_settings_template(app_state, "settings.html", task)


@router.get("/parts/index", include_in_schema=False)
def render_index(app_state: PageState, task: str) -> HTMLResponse:
    """Render the index with its builds and the price of a new build, for the search page."""
    with app_state.open_to_read(task) as ws:
        # Work that ends while the index is read counts as running: the part loads itself again.
        work = app_state.background_work.find_newest(f"index {ws.settings.task}")
        work_documents = {} if work is None else {"index": work.document}
        report = status.read_status(ws)
        builds = _list_builds(Builds(ws.data, ws.indexed_task.folder)) if ws.is_indexed else []
        return render_page(
            app_state,
            "parts/index.html",
            ws,
            "search",
            index=report.document["index"],
            can_build=bool(report.counts.done),
            builds=builds,
            previous_build=_previous_build(builds),
            cost=plan_embedding(ws)["cost"],
            work_documents=work_documents,
        )


@router.get("/parts/settings", include_in_schema=False)
def render_health(app_state: PageState, task: str) -> HTMLResponse:
    """Render the health check."""
    return _render_settings_template(app_state, "parts/health.html", task)


def _render_settings_template(app_state: AppState, template: str, task: str | None) -> HTMLResponse:
    """Render a template with the settings and the newest health check that this page started.

    Settings that were set or are in PROMINENT_SETTINGS are listed first, apart from the others.

    Args:
        template: Path of the template: the whole page or a part.
        task: The task, or None for the default task.
    """
    with app_state.open_to_read(task) as ws:
        work = app_state.background_work.find_newest(f"doctor {ws.settings.task}")
        work_documents = {} if work is None else {"doctor": work.document}
        settings = list_setting_rows(app_state.settings)
        prominent = [
            setting
            for setting in settings
            if setting.source != "default"
            or setting.name.removeprefix("FINDABLE_") in PROMINENT_SETTINGS
        ]
        return render_page(
            app_state,
            template,
            ws,
            "settings",
            prominent_settings=prominent,
            default_settings=[setting for setting in settings if setting not in prominent],
            document=status.read_status(ws).document,
            work_documents=work_documents,
        )


def _list_builds(builds: Builds) -> list[dict[str, Any]]:
    """Return the complete builds on disk, newest first."""
    inactive_numbers = builds.unused_numbers()
    return [
        {
            "number": build.number,
            "built_at": build.built_at,
            "count": build.count,
            "model": build.model,
            "dim": build.dim,
            "in_service": number not in inactive_numbers,
        }
        for number, build in reversed(builds.read_manifests().items())
    ]


def _previous_build(builds: list[dict[str, Any]]) -> int | None:
    """Return the newest build before the build in service, or None.

    If no build is in service, it is the newest build.
    """
    active_number = next((build["number"] for build in builds if build["in_service"]), None)
    earlier_numbers = (
        build["number"]
        for build in builds
        if active_number is None or build["number"] < active_number
    )
    return max(earlier_numbers, default=None)
