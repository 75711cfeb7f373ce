"""Serve the page on this machine until it is told to stop: the views behind their guard."""

import contextlib
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from pipeline.core.errors import ConfigurationError, FindableError
from pipeline.core.progress import NoProgress, Progress
from pipeline.core.settings import Settings
from web import errors
from web.app_state import AppState, PageCommand
from web.guard import AccessRules, Guard
from web.render import problem_page
from web.views import ROUTERS

HERE = Path(__file__).parent
LOOPBACK = "127.0.0.1"
REQUESTS_S = 10.0  # so long requests, and then what runs, may go on after SIGTERM
WORK_S = 20.0
IDLE_S = (
    75.0  # longer than programs and browsers keep a connection, or it would end under a request
)
SHORTEST = 20  # characters of a token that is set


def run(
    settings: Settings,
    listening: socket.socket,
    *,
    ready: Callable[[str], None],
    readonly: bool = False,
    token: str = "",
    display: Progress = NoProgress(),  # noqa: B008 - it keeps nothing
    acts: Mapping[str, PageCommand] = MappingProxyType({}),
) -> None:
    """Serve the page of the workspace that the settings name, on a socket of loopback, until SIGINT or SIGTERM.

    In a folder that is new or empty a workspace is made, unless it is `readonly`; `display` says so. `ready` gets the
    address with its token, another one each time where none is given; `acts` are the commands it may carry out.

    Raises:
        ConfigurationError: there is no workspace, or the token is too short.
    """
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with contextlib.closing(listening):
        if token and len(token) < SHORTEST:
            raise ConfigurationError(
                f"FINDABLE_WEB_TOKEN has fewer than {SHORTEST} characters; nothing is served"
            )
        number = listening.getsockname()[1]
        hosts = frozenset(f"{name}:{number}" for name in (LOOPBACK, "localhost"))
        access = AccessRules(
            token or secrets.token_urlsafe(24),
            hosts,
            cookie=f"findable_{number}",
            readonly=readonly,
        )
        desk = AppState(settings, access, acts=acts)
        try:
            desk.begin_workspace(display)
            with desk.to_read():
                pass  # there is a workspace, which is said before anything is served
            _serve(
                desk, listening, lambda: ready(f"http://{LOOPBACK}:{number}/?token={access.token}")
            )
        finally:
            desk.close()


def _serve(desk: AppState, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until a signal comes; requests end first, then the work in the background."""
    config = uvicorn.Config(
        application(desk),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # and no access log: an address holds the token
        access_log=False,
        server_header=False,
        proxy_headers=False,  # who sent a request is not what it says
        timeout_graceful_shutdown=int(REQUESTS_S),
        timeout_keep_alive=int(IDLE_S),
    )
    with contextlib.suppress(KeyboardInterrupt):  # a signal comes again once the server has ended
        desk.start()
        ready()
        uvicorn.Server(config).run(sockets=[listening])
    desk.stop(within_s=WORK_S)


def application(desk: AppState) -> Guard:
    """Return the application on a workspace, behind its guard."""
    app = FastAPI(title="findable", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.state.desk = desk
    for router in ROUTERS:
        app.include_router(router)
    files = StaticFiles(directory=HERE / "static")
    app.mount(
        "/static", GZipMiddleware(files)
    )  # these alone: a page holds what its reader may not give away
    for kind in (FindableError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer)
    return Guard(app, access=desk.access)


async def _answer(request: Request, error: Exception) -> Response:
    found = errors.of(error)
    if request.url.path.startswith("/api") or "hx-request" in request.headers:
        return errors.response(found)
    return problem_page(request, found)
