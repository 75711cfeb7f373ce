"""Serve the page until it is told to stop."""

import contextlib
import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from pipeline.core.errors import ConfigurationError
from pipeline.core.settings import Settings
from web.app import application
from web.desk import Desk
from web.guard import Access

PORT = 8765
GRACE_S = 30.0  # so long what runs may finish after SIGTERM


def run(
    settings: Settings, *, port: int, ready: Callable[[str], None], readonly: bool = False, token: str = ""
) -> None:
    """Serve the page of the workspace that the settings name on loopback, until SIGINT or SIGTERM.

    `ready` gets the address with its token once it is served.

    Raises:
        ConfigurationError: the port is taken, or there is no workspace.
    """
    with contextlib.closing(_bound(port)) as listening:
        number = listening.getsockname()[1]
        hosts = frozenset({f"127.0.0.1:{number}", f"localhost:{number}"})
        access = Access(token or secrets.token_urlsafe(24), hosts, cookie=f"findable_{number}", readonly=readonly)
        desk = Desk(settings, access)
        try:
            with desk.to_read():
                pass  # there is a workspace, which is said before anything is served
            _serve(desk, listening, lambda: ready(f"http://127.0.0.1:{number}/?token={access.token}"))
        finally:
            desk.close()


def _serve(desk: Desk, listening: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until SIGINT or SIGTERM; then what runs may finish."""
    over = threading.Event()

    def finish(_signal: int, _frame: FrameType | None) -> None:
        over.set()

    wanted = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(each, finish) for each in wanted]
    server = _server(application(desk))
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="page", daemon=True)
    try:
        serving.start()
        desk.start()
        ready()
        over.wait()
    finally:
        until = time.monotonic() + GRACE_S
        server.should_exit = True
        desk.stop(within_s=GRACE_S)
        serving.join(max(1.0, until - time.monotonic()))
        for each, handler in zip(wanted, before, strict=True):
            signal.signal(each, handler)


def _server(app: object) -> uvicorn.Server:
    """Return a server that logs nothing: an address holds the token."""
    return uvicorn.Server(
        uvicorn.Config(
            app,  # type: ignore[arg-type]  # an ASGI application
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=int(GRACE_S),
        )
    )


def _bound(port: int) -> socket.socket:
    """Return a socket that listens on loopback.

    Raises:
        ConfigurationError: the port is taken.
    """
    try:
        found = socket.create_server(("127.0.0.1", port), backlog=256)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        hint = "name another one, or any that is free: make web PORT=0"
        raise ConfigurationError(f"port {port} cannot be used: {why}", hint=hint) from error
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found
