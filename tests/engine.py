"""One server of the local engine for all tests of a process; each test gets a state of its own on it.

To start and to stop a server takes a third of a second, most of it spent waiting; a new state takes a few milliseconds.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emulator.gate import Gate
from emulator.models import encoder, tagger
from emulator.server import Server, start
from emulator.settings import Settings
from emulator.wire import application
from emulator.world import World

_SERVERS: list[Server] = []
_PATIENCE_S = 5


@contextmanager
def lent(root: Path) -> Iterator[Server]:
    """Serve an empty state under `root` for the length of a block; every connection is closed at its end."""
    server = _server(root)
    world = World(root / "state", settings=Settings())
    _serve(server, world)
    world.start()
    try:
        yield server
    finally:
        _hang_up(server)
        server.world.close()


@contextmanager
def still(server: Server, root: Path) -> Iterator[None]:
    """Close the state under `root` for the length of a block, which may put another in its place, and go on with that.

    Settings and faults begin anew.
    """
    _hang_up(server)
    server.world.close()
    yield
    world = World(root / "state", settings=Settings())
    _serve(server, world)
    world.start()


def _server(root: Path) -> Server:
    """Return the server of this process, started with the first test that needs one, or after it was stopped.

    Its models are read before it is asked: on a busy machine that may take longer than a call waits for its answer.
    """
    if not _SERVERS or not _SERVERS[0]._thread.is_alive():
        tagger.tags("bees")
        encoder.encode(["bees"])
        _SERVERS[:] = [start(root / "first")]
        _SERVERS[0].world.close()
    return _SERVERS[0]


def _serve(server: Server, world: World) -> None:
    """Let every connection from now on be about another state."""
    server.world = world
    config = server._uvicorn.config
    config.app, config.loaded = Gate(application(world), world=world), False
    config.load()


def _hang_up(server: Server) -> None:
    """Close every connection and cancel what is being answered, and return when that is done."""
    state = server._uvicorn.server_state
    open_now = list(state.connections)
    if not open_now:
        return
    done = threading.Event()

    def end() -> None:
        """End them, in the thread that serves them."""
        for task in list(state.tasks):
            task.cancel()
        for connection in list(state.connections):
            connection.transport.abort()
        done.set()

    open_now[0].loop.call_soon_threadsafe(end)
    done.wait(_PATIENCE_S)
