"""The application: the views behind their guard, and how errors become answers."""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from pipeline.core.errors import FindableError
from web import problem
from web.desk import Desk
from web.guard import Guard
from web.render import problem_page
from web.views import ROUTERS

HERE = Path(__file__).parent


def application(desk: Desk) -> Guard:
    """Return the application on a workspace, behind its guard."""
    app = FastAPI(title="findable", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.state.desk = desk
    for router in ROUTERS:
        app.include_router(router)
    files = StaticFiles(directory=HERE / "static")
    app.mount("/static", GZipMiddleware(files))  # these alone: a page holds what its reader may not give away
    for kind in (FindableError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer)
    return Guard(app, access=desk.access)


async def _answer(request: Request, error: Exception) -> Response:
    found = problem.of(error)
    if request.url.path.startswith("/api") or "hx-request" in request.headers:
        return problem.response(found)
    return problem_page(request, found)
