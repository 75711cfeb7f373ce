"""Starting and stopping the engine: in a thread of this process, or in the foreground.

It binds to loopback unless told otherwise, and writes nothing by itself.
"""

import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import uvicorn

from emulator.api import Api
from emulator.catalogue import Quotas
from emulator.state import EngineState
from emulator.worker import BatchWorker


class Server:
    """A running engine. Use it as a context manager, or call `stop`."""

    def __init__(
        self,
        root: Path,
        *,
        listening: socket.socket | None = None,
        limits: Mapping[str, int] = MappingProxyType({}),
        log: Callable[[str], None] = lambda _line: None,
    ) -> None:
        """Start the engine on the state under `root` in a background thread; it is ready for requests.

        Where no socket listens it takes any free port of this machine; `limits` are those of `Quotas`; `log` gets a
        line for each request.

        Raises:
            OSError: the folder cannot be written.
            RuntimeError: the state was written by another version of the engine.
        """
        self._state = EngineState(root)
        self._worker = BatchWorker(self._state)
        listening = listening or socket.create_server(("127.0.0.1", 0), backlog=256)
        # asyncio sets it only on sockets that name their protocol; without it small answers wait 40 ms
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        host, port = listening.getsockname()
        self.url = f"http://{host}:{port}"
        self._socket = listening
        config = uvicorn.Config(
            Api(self._state, self._worker, Quotas(limits), log),
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
            target=self._uvicorn.run, args=([listening],), name="local-engine", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Stop serving and working and close the state; a batch that is not over is the next host's.

        When the interpreter ends that is left: the threads are gone, and a lock that one of them held stays locked.
        """
        if sys.is_finalizing():
            return
        self._uvicorn.should_exit = True
        self._thread.join()
        self._socket.close()
        self._worker.stop()
        self._state.close()

    def __enter__(self) -> Self:
        """Return the server, which is running already."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self.stop()


def serve(
    root: Path, listening: socket.socket, *, ready: Callable[[str], None], **how: Any
) -> None:
    """Run the engine on a socket until SIGINT or SIGTERM, then stop it cleanly; takes and raises what `Server` does.

    `ready` is told the URL once it serves. Must be called in the main thread, where signals arrive.
    """
    wanted = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    try:
        with Server(root, listening=listening, **how) as server:
            ready(server.url)
            signal.sigwait(wanted)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)
