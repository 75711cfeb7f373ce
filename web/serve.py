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
from typing import NamedTuple

import uvicorn

from pipeline.core.errors import ConfigurationError
from pipeline.core.progress import NoProgress, Progress
from pipeline.core.settings import Settings
from web.app import application
from web.desk import Desk
from web.guard import Access

LOOPBACK = "127.0.0.1"
EVERYWHERE = frozenset({"0.0.0.0", ""})  # noqa: S104 - told apart, not bound
GRACE_S = 30.0  # so long what runs may finish after SIGTERM
LOOK_S = 1.0  # between looks whether it is to end
IDLE_S = 75.0  # longer than programs and browsers keep a connection, or it would end under a request


class Outside(NamedTuple):
    """How the page is reached from elsewhere: the address to listen on, its names, and what lets readers in.

    That is a password, or a proxy: the header in which it says who reads, and the addresses that it comes from.
    """

    host: str = LOOPBACK
    names: tuple[str, ...] = ()
    password: str = ""
    proxy_header: str = ""
    proxy_from: tuple[str, ...] = ()


def run(
    settings: Settings,
    *,
    port: int,
    ready: Callable[[str, str], None],
    readonly: bool = False,
    outside: Outside = Outside(),  # noqa: B008 - it does not change
    display: Progress = NoProgress(),  # noqa: B008 - it keeps nothing
) -> None:
    """Serve the page of the workspace that the settings name, on loopback or `outside`, until SIGINT or SIGTERM.

    In a folder that is new or empty a workspace is made, unless it is `readonly`; `display` says so.
    `ready` gets the address with its token once it is served, and one for a browser that is good once, for a while.

    Raises:
        ConfigurationError: the port is taken, there is no workspace, or nothing would keep others out.
    """
    _check_kept_out(outside)
    with contextlib.closing(_bound(outside.host, port)) as listening:
        number = listening.getsockname()[1]
        access = _access(outside, number, readonly=readonly)
        desk = Desk(settings, access)
        try:
            desk.begin_workspace(display)
            with desk.to_read():
                pass  # there is a workspace, which is said before anything is served
            shown = LOOPBACK if outside.host in EVERYWHERE else outside.host
            place = f"http://{shown}:{number}/"
            addresses = f"{place}?token={access.token}", f"{place}?code={access.codes.new()}"
            _serve(desk, listening, lambda: ready(*addresses))
        finally:
            desk.close()


def _check_kept_out(outside: Outside) -> None:
    """Refuse to serve others without a password or a proxy that says who they are.

    Raises:
        ConfigurationError: there is neither.
    """
    by_proxy = bool(outside.proxy_header and outside.proxy_from)
    if bool(outside.proxy_header) != bool(outside.proxy_from):
        raise ConfigurationError(
            "a proxy needs the header that it sets and the addresses that it comes from; nothing is served",
            hint="PROXY_HEADER=X-Forwarded-User PROXY_FROM=10.0.0.5",
        )
    if outside.host not in {LOOPBACK, "localhost"} and not (outside.password or by_proxy):
        raise ConfigurationError(
            f"on {outside.host} other machines could read and change everything; nothing is served",
            hint="set FINDABLE_WEB_PASSWORD, or PROXY_HEADER= and PROXY_FROM= behind a proxy that knows who reads",
        )


def _access(outside: Outside, port: int, *, readonly: bool) -> Access:
    """Return who may come in, under which names of the page."""
    own = [outside.host] if outside.host not in EVERYWHERE else [socket.gethostname()]
    names = {LOOPBACK, "localhost", *own, *outside.names}
    hosts = {f"{name}:{port}" for name in names} | {*outside.names}
    proxy = (outside.proxy_header, frozenset(outside.proxy_from)) if outside.proxy_header else None
    return Access(
        secrets.token_urlsafe(24),
        frozenset(hosts),
        cookie=f"findable_{port}",
        readonly=readonly,
        password=outside.password,
        proxy=proxy,
    )


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


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ConfigurationError: the port is taken, or the address is not this machine's.
    """
    try:
        found = socket.create_server((host, port), backlog=256)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        hint = "name another one, or any that is free: make web PORT=0"
        raise ConfigurationError(f"port {port} of {host} cannot be used: {why}", hint=hint) from error
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found
