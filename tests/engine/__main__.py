"""The local engine as tests steer it: what goes wrong is scripted, what was asked is written down.

`python -m tests.engine FOLDER OWNER` loads the engine and listens at FOLDER/socket as long as the process OWNER lives.
Each connection is one engine, a fork of this process: one JSON line with `root` (the folder of its state), `settings`,
`faults` and `port` is answered by one with its `url` and `pid`; it ends when the connection does. What each
create asked for is written to `root`/creates.jsonl: its name and lines. The control paths are `/_emu/` with faults,
settings, clock, journal and batches.
"""

import contextlib
import gc
import json
import os
import shutil
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, NoReturn

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from emulator.answers import encoder, tags
from tests.acceptance.loaded import be_silent
from tests.engine.gate import Gate


class _Protocol(H11Protocol):
    """HTTP/1.1 with the connection's transport in each request's state, for faults."""

    def connection_made(self, transport: Any) -> None:
        """Begin a connection."""
        self.app_state = {**self.app_state, "transport": transport}
        super().connection_made(transport)


def host(connection: socket.socket, order: dict[str, Any]) -> NoReturn:
    """Be one engine, until nobody holds the other end of the connection."""
    gate = Gate(Path(order["root"]), order["settings"])
    gate.script.add(order.get("faults") or [])
    listening = socket.create_server(("127.0.0.1", order.get("port", 0)), backlog=256)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    quiet: Any = {"log_config": None, "log_level": "critical", "server_header": False}
    how = {"http": _Protocol, "ws": "none", "lifespan": "off", "timeout_keep_alive": 120, **quiet}
    server = uvicorn.Server(uvicorn.Config(gate, **how))
    threading.Thread(target=server.run, args=([listening],), daemon=True).start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    connection.sendall(json.dumps({"url": url, "pid": os.getpid()}).encode() + b"\n")
    with contextlib.suppress(OSError):
        while connection.recv(1):
            pass
    os._exit(0)


def listen(folder: Path, owner: int) -> None:
    """Load what answers need, then fork an engine for each who connects."""
    tags.tag_text("zither and quiet bees", min_count=3, max_count=3)
    encoder.encode(["bees"])
    gc.collect()
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "part"))
        listening.listen(64)
        (folder / "part").rename(folder / "socket")
        listening.settimeout(0.5)
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while Path(f"/proc/{owner}").exists():
            with contextlib.suppress(TimeoutError):
                connection, _ = listening.accept()
                connection.setblocking(True)  # noqa: FBT003 - a positional argument of the library
                if os.fork() == 0:
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                    listening.close()
                    try:
                        host(connection, json.loads(connection.makefile("r").readline()))
                    except BaseException:  # noqa: BLE001 - who asked is told, and this process serves nobody
                        connection.sendall(
                            json.dumps({"failed": traceback.format_exc()}).encode() + b"\n"
                        )
                    os._exit(1)
                connection.close()
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__" and not os.fork():  # who called goes on
    place = Path(sys.argv[1])
    be_silent(place / "log")
    try:
        listen(place, int(sys.argv[2]))
    except BaseException:
        (place / "failed").write_text(traceback.format_exc(), encoding="utf-8")
        raise
