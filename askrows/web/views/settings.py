"""Settings page with the health check, and the search index."""

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from askrows.pipeline.index.vectors import estimate_index_cost_usd
from askrows.pipeline.provider.service import choose_backend_by_model_or_keys
from askrows.pipeline.run.snapshot import read_snapshot
from askrows.web.render import PageState, has_running, render_page
from askrows.web.views.command_api import INDEX_EVENT

router = APIRouter()


@router.get("/settings", include_in_schema=False)
def render_settings(app_state: PageState, task: str | None = None) -> HTMLResponse:
    """Render the settings, and the newest health check that this page started."""
    with app_state.open_to_read(task) as run:
        work = app_state.background_work.find_newest(f"doctor {run.workspace.settings.task}")
        settings = app_state.settings
        return render_page(
            app_state,
            "settings.html",
            run,
            "settings",
            used_settings=settings.copy_with_backend_defaults(
                choose_backend_by_model_or_keys(settings)
            ),
            work_documents={} if work is None else {"doctor": work.document},
        )


@router.get("/parts/index", include_in_schema=False)
def render_search_index(app_state: PageState, task: str) -> HTMLResponse:
    """Render the index and the price of a new build, for the search page.

    If the newest build that this page started has ended, also with an error, the response triggers
    INDEX_EVENT in the browser.
    """
    with app_state.open_to_read(task) as run:
        # Work that ends while the index is read counts as running: the part loads itself again.
        work = app_state.background_work.find_newest(f"index {run.workspace.settings.task}")
        work_documents = {} if work is None else {"index": work.document}
        with read_snapshot(run.workspace, run.task, run.tasks) as snapshot:
            index_document = snapshot.index_document
            can_build = bool(snapshot.counts.done)
        response = render_page(
            app_state,
            "parts/index.html",
            run,
            "search",
            index=index_document,
            can_build=can_build,
            cost=estimate_index_cost_usd(run.workspace, run.service, run.task),
            work_documents=work_documents,
        )
    if work_documents and not has_running(work_documents.values()):
        response.headers["hx-trigger"] = INDEX_EVENT
    return response
