"""Serve the page on this machine until a signal ends it."""

import contextlib
import gc
import secrets
import socket
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

from askrows.pipeline.core.errors import AskrowsError, ConfigurationError
from askrows.pipeline.core.progress import NoProgress, Progress
from askrows.pipeline.core.settings import Settings
from askrows.web import errors
from askrows.web.app_state import AppState, PageCommand
from askrows.web.guard import AccessRules, Guard
from askrows.web.render import render_problem
from askrows.web.views import ROUTERS

PACKAGE_FOLDER = Path(__file__).parent
LOOPBACK = "127.0.0.1"
# After SIGTERM, open requests may finish within this time.
REQUEST_GRACE_S = 10.0
# After the requests, background work may finish within this time.
WORK_GRACE_S = 20.0
# Clients reuse connections for up to a minute. A shorter timeout would close one under a request.
KEEP_ALIVE_S = 75.0
MIN_TOKEN_CHARS = 20
# Beginnings of paths whose errors are no pages. An export is saved as a file.
PROGRAM_PATHS = ("/api", "/rows.")


def make_access_rules(port: int, *, token: str, readonly: bool) -> AccessRules:
    """Return the rules for requests to a page of this machine.

    Args:
        port: Port of the page.
        token: The token; empty means a new random token.
        readonly: Refuse every request that changes something.

    Raises:
        ConfigurationError: The token is too short.
    """
    if token and len(token) < MIN_TOKEN_CHARS:
        raise ConfigurationError(
            f"ASKROWS_WEB_TOKEN has fewer than {MIN_TOKEN_CHARS} characters; nothing is served",
        )
    return AccessRules(
        token or secrets.token_urlsafe(24),
        frozenset(f"{host}:{port}" for host in (LOOPBACK, "localhost")),
        cookie=f"askrows_{port}",
        readonly=readonly,
    )


def serve_page(
    settings: Settings,
    listener: socket.socket,
    *,
    access: AccessRules,
    on_ready: Callable[[str], None],
    display: Progress = NoProgress(),  # noqa: B008 - it keeps nothing
    page_commands: Mapping[str, PageCommand] = MappingProxyType({}),
) -> None:
    """Serve the page of the workspace in the settings until SIGINT or SIGTERM; close the socket.

    A workspace is created in a missing or empty data folder, unless the page is read-only. Uploads
    are deleted at the end.

    Args:
        settings: Name the workspace.
        listener: A bound socket of the loopback interface.
        access: Rules for requests; see `make_access_rules`.
        on_ready: Called with the address and its token when the page is about to be served.
        display: Receives a message if a workspace is created.
        page_commands: The commands that the page can run, by name.

    Raises:
        ConfigurationError: There is no workspace.
    """
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    port = listener.getsockname()[1]
    with contextlib.closing(listener):
        address = f"http://{LOOPBACK}:{port}/?token={access.token}"
        app_state = AppState(settings, access, page_commands=page_commands)
        try:
            app_state.create_missing_workspace(display)
            # Raise before anything is served if there is no workspace.
            with app_state.open_to_read():
                pass
            _serve(app_state, listener, partial(on_ready, address))
        finally:
            app_state.close()


def _serve(app_state: AppState, listener: socket.socket, announce: Callable[[], None]) -> None:
    """Start to ask about new rows, call `announce`, then serve until SIGINT or SIGTERM arrives.

    New rows are asked in the background, unless the page is read-only. The call blocks until the
    end. After the signal, open requests may finish within REQUEST_GRACE_S, and then background work
    within WORK_GRACE_S; work that takes longer is interrupted. The server writes no log.
    """
    config = uvicorn.Config(
        create_app(app_state),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        # An access log would contain the token, which is in the first address.
        access_log=False,
        server_header=False,
        # A client's X-Forwarded headers prove nothing.
        proxy_headers=False,
        timeout_graceful_shutdown=int(REQUEST_GRACE_S),
        timeout_keep_alive=int(KEEP_ALIVE_S),
    )
    # Modules stay, so full collections of garbage need not look at their objects.
    gc.freeze()
    # uvicorn raises the signal again after the server has ended.
    with contextlib.suppress(KeyboardInterrupt):
        app_state.start()
        announce()
        uvicorn.Server(config).run(sockets=[listener])
    app_state.stop(within_s=WORK_GRACE_S)


def create_app(app_state: AppState) -> Guard:
    """Return the ASGI application of a page, wrapped in the guard that checks each request.

    It has all routers, the static files, and a handler that answers with any error.
    """
    app = FastAPI(title="askrows", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.state.app_state = app_state
    for router in ROUTERS:
        app.include_router(router)

    # Only static files are compressed: the length of a compressed page could leak its content.
    static_files = StaticFiles(directory=PACKAGE_FOLDER / "static")
    app.mount("/static", GZipMiddleware(static_files))

    for error_class in (AskrowsError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(error_class, _make_error_response)
    return Guard(app, access=app_state.access)


async def _make_error_response(request: Request, error: Exception) -> Response:
    """Return problem+json to programs, scripts and downloads, an HTML page to a browser.

    The page's own scripts get messages without commands and settings.
    """
    document = errors.to_problem_document(error)
    if "hx-request" in request.headers:
        return errors.make_problem_response(errors.to_page_problem(document))
    if request.url.path.startswith(PROGRAM_PATHS):
        return errors.make_problem_response(document)
    return render_problem(request.app.state.app_state, document)
