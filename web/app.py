"""The application: the API, the pages, and how errors become answers."""

from pathlib import Path

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from pipeline.core.errors import FindableError
from web import api, pages, problem
from web.desk import Desk
from web.guard import Access, Guard
from web.problem import Refused

HERE = Path(__file__).parent


def application(desk: Desk, access: Access) -> ASGIApp:
    """Return the application on a workspace, behind its guard."""
    app = FastAPI(title="findable", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.state.desk = desk
    app.include_router(api.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.add_exception_handler(FindableError, _failed)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    return Guard(app, access=access)


def _answer(request: Request, found: dict[str, object]) -> Response:
    """Return a problem as JSON to a program, as a page to a reader."""
    status = int(str(found["status"]))
    if request.url.path.startswith("/api"):
        return Response(problem.as_bytes(found), status_code=status, media_type=problem.CONTENT_TYPE)
    return pages.problem_page(request, found, status=status)


async def _failed(request: Request, error: Exception) -> Response:
    assert isinstance(error, FindableError)
    return _answer(request, problem.of_error(error))


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return _answer(request, problem.of_refused(error))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    name = str(first["loc"][-1])
    return _answer(request, problem.document(422, "Invalid", f"{name}: {first['msg']}", field=name))
