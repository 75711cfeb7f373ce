"""Run the local engine for tests, with scripted faults and a journal of its requests.

`python -m tests.engine FOLDER OWNER` loads the engine and listens at FOLDER/socket as long as the
process OWNER lives. Each connection is an engine, which is a fork of this process:

- The client sends a JSON line with `root` (the folder of its state), `settings`, `faults` and
  `port`.
- The engine answers with a JSON line with its `url` and `pid`. It ends when the connection ends.
- The name and the lines of each create are written to `root`/creates.jsonl.
- The control paths are `/_emu/` with faults, settings, clock, journal and batches.
"""

import contextlib
import gc
import json
import os
import signal
import socket
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from askrows.emulator.answers import encoder, text
from tests.engine.gate import Gate
from tests.scratch import lives, serve_in_background


class _Protocol(H11Protocol):
    """HTTP/1.1 that adds its transport to the state of each request, for faults."""

    def connection_made(self, transport: Any) -> None:
        """Start a connection."""
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


def host(connection: socket.socket, order: dict[str, Any]) -> NoReturn:
    """Run an engine until the client closes the connection."""
    gate = Gate(Path(order["root"]), order["settings"])
    gate.script.add(order.get("faults") or [])
    listening = socket.create_server(("127.0.0.1", order.get("port", 0)), backlog=256)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    quiet_options: Any = {"log_config": None, "log_level": "critical", "server_header": False}
    server_options = {
        "http": _Protocol,
        "ws": "none",
        "lifespan": "off",
        "timeout_keep_alive": 120,
        **quiet_options,
    }
    server = uvicorn.Server(uvicorn.Config(gate, **server_options))
    threading.Thread(target=server.run, args=([listening],), daemon=True).start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    connection.sendall(json.dumps({"url": url, "pid": os.getpid()}).encode() + b"\n")
    with contextlib.suppress(OSError):
        while connection.recv(1):
            pass
    os._exit(0)


def listen(folder: Path, owner: int) -> None:
    """Load the models of answers, then fork an engine for each connection."""
    text.find_key_phrases("zither and quiet bees")
    encoder.encode(["bees"])
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "socket"))
        listening.listen(64)
        (folder / "ready").touch()
        listening.settimeout(0.5)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while lives(owner):
            with contextlib.suppress(TimeoutError):
                connection, _ = listening.accept()
                connection.setblocking(True)  # noqa: FBT003 - a positional argument of the library
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    listening.close()
                    try:
                        host(connection, json.loads(connection.makefile("r").readline()))
                    except BaseException:  # noqa: BLE001 - the client gets the error
                        connection.sendall(
                            json.dumps({"failed": traceback.format_exc()}).encode() + b"\n"
                        )
                    os._exit(1)
                connection.close()


if __name__ == "__main__":
    serve_in_background(listen)
