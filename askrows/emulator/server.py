"""Start and stop the local engine, in a thread of this process or in the foreground.

It listens on the loopback interface unless it gets a socket. It prints nothing. A host is a process
that serves a state; the state stays on disk when the host ends.
"""

import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import uvicorn

from askrows.emulator.api import Api
from askrows.emulator.state import EngineState
from askrows.emulator.worker import BatchWorker


class Server:
    """A running engine. Use it as a context manager, or call `stop`."""

    def __init__(
        self,
        root: Path,
        *,
        listening_socket: socket.socket | None = None,
        log: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Start serving and answering batches in background threads.

        Args:
            root: Folder of the state, which is created if it is missing.
            listening_socket: Socket to serve on; `stop` closes it. Default: a free loopback port.
            log: Called with one line for each request, on the server's thread.

        Raises:
            OSError: The folder cannot be written.
        """
        self._state = EngineState(root)
        self._worker = BatchWorker(self._state)

        if listening_socket is None:
            listening_socket = socket.create_server(("127.0.0.1", 0), backlog=256)
        # asyncio sets this option only on sockets that name their protocol. Small replies would
        # wait 40 ms if it is missing.
        listening_socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = listening_socket
        host, port = listening_socket.getsockname()
        self.url = f"http://{host}:{port}"

        config = uvicorn.Config(
            Api(self._state, self._worker, log),
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            server_header=False,
            timeout_keep_alive=120,
            timeout_graceful_shutdown=0,
        )
        self._uvicorn = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._uvicorn.run,
            args=([listening_socket],),
            name="local-engine",
            daemon=True,
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop serving, stop the worker and close the state.

        Running requests are broken off. The next process that serves this state answers the
        unfinished batches. Does nothing while the interpreter ends: its threads are gone by then,
        and locks that they acquired are never released.
        """
        if sys.is_finalizing():
            return

        self._uvicorn.should_exit = True
        self._thread.join()
        self._socket.close()
        self._worker.stop()
        self._state.close()

    def __enter__(self) -> Self:
        """Return the server, which already runs."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self.stop()


def serve_until_signal(
    root: Path,
    listening_socket: socket.socket,
    *,
    on_ready: Callable[[str], None],
    **server_options: Any,
) -> None:
    """Run the engine until SIGINT or SIGTERM, then stop it and close the socket.

    Call this in the main thread. It waits for the two signals itself: they are blocked meanwhile,
    so they raise no KeyboardInterrupt and call no handler.

    Args:
        root: Folder of the engine's files and database.
        on_ready: Called with the URL when the engine serves.
        server_options: Other arguments of `Server`.

    Raises:
        OSError: The folder cannot be written.
    """
    stop_signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    try:
        with Server(root, listening_socket=listening_socket, **server_options) as server:
            on_ready(server.url)
            signal.sigwait(stop_signals)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, stop_signals)
