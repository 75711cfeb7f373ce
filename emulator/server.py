"""Starting and stopping the engine: in a thread of this process, or in the foreground.

It binds to loopback unless told otherwise, writes nothing by itself, and is ready when `start` returns.
"""

import asyncio
import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from emulator.access_log import AccessLog
from emulator.gate import Gate
from emulator.settings import Settings
from emulator.wire import application
from emulator.world import World

_KEEP_ALIVE_S = 120


class AddressError(OSError):
    """The address cannot be served on: its port is taken, or its host is not this machine (`is_host`)."""

    def __init__(self, why: str, *, is_host: bool) -> None:
        """Take the system's reason."""
        super().__init__(why)
        self.why, self.is_host = why, is_host


class _Protocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, with the connection's transport in each request's state for the faults."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's own choice
        """Begin a connection."""
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


class Server:
    """A running engine. Use it as a context manager, or call `stop`."""

    def __init__(self, world: World, *, host: str, port: int, log: Callable[[str], None] | None = None) -> None:
        """Serve `world` on a port that is bound when this returns (0: the system chooses).

        `log` gets a line for each request that was served.

        Raises:
            AddressError: it cannot be bound.
        """
        self.world = world
        """What the server serves, for tests to look into."""
        self._socket = _bound(host, port)
        # asyncio sets it only on sockets that name their protocol; without it small answers wait 40 ms
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        bound = self._socket.getsockname()[1]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{bound}"
        served = Gate(application(world), world=world)
        config = uvicorn.Config(
            served if log is None else AccessLog(served, write=log),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=0,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="local-engine", daemon=True)
        self._thread.start()
        world.start()

    def _run(self) -> None:
        """Serve until told to stop."""
        self._uvicorn.run(sockets=[self._socket])

    def stop(self) -> None:
        """Stop serving and working and close the state; a batch that is not over goes on with the next host.

        When the interpreter ends that is left: the threads are gone, and a lock that one of them held stays locked.
        """
        if sys.is_finalizing():
            return
        self._uvicorn.should_exit = True
        self._thread.join()
        self._socket.close()
        self.world.close()

    def __enter__(self) -> Self:
        """Return the server, which is running already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop the server."""
        self.stop()


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        AddressError: it cannot.
    """
    try:
        return socket.create_server((host, port), backlog=256)
    except socket.gaierror as error:
        raise AddressError(error.strerror or str(error), is_host=True) from error
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise AddressError(why, is_host=error.errno == errno.EADDRNOTAVAIL) from error


def start(
    root: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    seed: int = 0,
    settings: Mapping[str, object] | None = None,
    read_ns: Callable[[], int] = time.time_ns,
    log: Callable[[str], None] | None = None,
) -> Server:
    """Start the engine on the state under `root` in a background thread and return it, ready for requests.

    `settings` are those of `emulator.settings.Settings` by name; `log` gets a line for each request.

    Raises:
        ApiError: a setting that is none.
        AddressError: the port is taken, or the host is not this machine.
        OSError: the folder cannot be written.
        RuntimeError: the state was written by another version of the engine.
    """
    world = World(root, settings=Settings(seed=seed).changed(settings or {}), read_ns=read_ns)
    try:
        return Server(world, host=host, port=port, log=log)
    except BaseException:
        world.database.close()
        raise


def serve(
    root: Path,
    *,
    ready: Callable[[str], None] = lambda _url: None,
    refused: Callable[[str, bool], None] = lambda _why, _is_host: None,
    **how: Any,
) -> None:
    """Run the engine until SIGINT or SIGTERM, then stop it cleanly; takes and raises what `start` does.

    `ready` is told the URL once it serves. Where the address cannot be served on, `refused` is told why, and whether
    that is the host's doing: it may raise. Must be called in the main thread, where signals arrive.
    """
    over = threading.Event()

    def finish(_signal: int, _frame: FrameType | None) -> None:
        over.set()

    wanted = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(each, finish) for each in wanted]
    try:
        with start(root, **how) as server:
            ready(server.url)
            over.wait()
    except AddressError as error:
        refused(error.why, error.is_host)
        raise
    finally:
        for each, handler in zip(wanted, before, strict=True):
            signal.signal(each, handler)
