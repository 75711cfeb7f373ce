"""Serve the page on this machine until it is told to stop."""

import contextlib
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType, MappingProxyType

import uvicorn

from pipeline.core.errors import ConfigurationError
from pipeline.core.progress import NoProgress, Progress
from pipeline.core.settings import Settings
from web.app import application
from web.desk import Act, Desk
from web.guard import Access

LOOPBACK = "127.0.0.1"
GRACE_S = 30.0  # so long what runs may finish after SIGTERM
LOOK_S = 1.0  # between looks whether it is to end
IDLE_S = 75.0  # longer than programs and browsers keep a connection, or it would end under a request
SHORTEST = 20  # characters of a token that is set


def run(
    settings: Settings,
    listening: socket.socket,
    *,
    ready: Callable[[str], None],
    readonly: bool = False,
    token: str = "",
    display: Progress = NoProgress(),  # noqa: B008 - it keeps nothing
    acts: Mapping[str, Act] = MappingProxyType({}),
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
            raise ConfigurationError(f"FINDABLE_WEB_TOKEN has fewer than {SHORTEST} characters; nothing is served")
        number = listening.getsockname()[1]
        hosts = frozenset(f"{name}:{number}" for name in (LOOPBACK, "localhost"))
        access = Access(token or secrets.token_urlsafe(24), hosts, cookie=f"findable_{number}", readonly=readonly)
        desk = Desk(settings, access, acts=acts)
        try:
            desk.begin_workspace(display)
            with desk.to_read():
                pass  # there is a workspace, which is said before anything is served
            _serve(desk, listening, lambda: ready(f"http://{LOOPBACK}:{number}/?token={access.token}"))
        finally:
            desk.close()


def _serve(desk: Desk, listening: socket.socket, ready: Callable[[], None]) -> None:
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
        while not over.wait(LOOK_S):
            pass  # a signal that another thread took is seen when this one runs again
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
            proxy_headers=False,  # who sent a request is not what it says
            timeout_graceful_shutdown=int(GRACE_S),
            timeout_keep_alive=int(IDLE_S),
        )
    )
