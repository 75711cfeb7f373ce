"""Run the local engine in separate processes, and control it; see `tests.engine`.

Only tests have the control paths.
"""

import json
import os
import select
import signal
import socket
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.request import ProxyHandler, Request, build_opener

from tests.scratch import MAX_WAIT_S, start_loaded_process

PROGRAM = "-m tests.engine"
# A proxy cannot reach servers on this machine.
DIRECT = build_opener(ProxyHandler({}))
# What the paths of a create and of a live call end with, and patterns that match no other path.
CREATE_CALL, LIVE_CALL = {
    "gemini": (":batchGenerateContent", ":generateContent"),
    "openai": ("/openai/v1/batches", "/chat/completions"),
}[os.environ.get("ASKROWS_TEST_PROVIDER", "gemini")]
CREATE_PATH = f"{CREATE_CALL}$"
# What the paths of a cancel, of the first request of an upload, and of a download look like.
CANCEL_PATH = "[:/]cancel$"
UPLOAD_PATH = r"^/upload/[^?]*$|^/openai/v1/files$"
DOWNLOAD_PATH = r":download|/content$"
# What the path of the list of batches looks like.
LIST_PATH = r"/batches(\?|$)"
LIVE_CALL_PATH = f"{LIVE_CALL}$"
# Arguments of a fault that lasts longer than its test.
HANGS = {"seconds": 300}
# Applies a fault to all calls of a test.
MANY_TIMES = 10_000


def call(url: str, *, method: str = "GET", document: Any = None) -> Any:
    """Send a request to a server on this machine, and return the JSON document of its reply.

    Raises:
        HTTPError: The server refused the request.
    """
    request_body = None if document is None else json.dumps(document).encode()
    headers = {"content-type": "application/json"}
    request = Request(url, request_body, headers, method=method)  # noqa: S310 - http to loopback
    with closing(DIRECT.open(request, timeout=MAX_WAIT_S)) as reply:
        reply_body = reply.read()
    return json.loads(reply_body) if reply_body else None


class Engine:
    """An engine with its state below a folder; the end of its `with` block kills it."""

    def __init__(
        self,
        root: Path,
        *,
        settings: Mapping[str, Any] | None = None,
        faults: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Configure an engine; the control paths define `settings` and `faults`."""
        self.root = root
        self.url = ""
        self.pid = 0
        self._port = 0
        self._settings = dict(settings or {})
        self._faults = [dict(fault) for fault in faults]
        self._connection: socket.socket | None = None

    def start(self) -> Self:
        """Start the engine; after a kill it has the same address again."""
        folder = start_loaded_process("engine", [PROGRAM])
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(MAX_WAIT_S)
        self._connection.connect(str(folder / "socket"))
        order = {
            "root": str(self.root),
            "settings": self._settings,
            "faults": self._faults,
            "port": self._port,
        }
        self._connection.sendall(json.dumps(order).encode() + b"\n")

        reply = json.loads(self._connection.makefile("r", encoding="utf-8").readline())
        assert "url" in reply, reply["failed"]
        self.url = reply["url"]
        self.pid = reply["pid"]
        self._port = int(self.url.rpartition(":")[2])
        return self

    def kill(self) -> None:
        """Kill the engine; its state stays on disk."""
        if self._connection is not None:
            process_file = os.pidfd_open(self.pid)
            signal.pidfd_send_signal(process_file, signal.SIGKILL)
            select.select([process_file], [], [], MAX_WAIT_S)
            os.close(process_file)

            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        """Start the engine."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill the engine."""
        self.kill()

    def count_calls(self, method: str, path_part: str) -> int:
        """Return the number of requests with a method and with this part in their path."""
        paths = [call["path"] for call in self.journal() if call["method"] == method]
        return sum(path_part in path for path in paths)

    def script_fault(
        self,
        word: str,
        *,
        nth: int = 1,
        times: int = 1,
        args: Mapping[str, Any] | None = None,
        **match: str,
    ) -> None:
        """Script a fault.

        Args:
            match: Requests with the fault: method, path (a regular expression), key of a line.
        """
        fault = {
            "fault": word,
            "match": match,
            "nth": nth,
            "times": times,
            "args": dict(args or {}),
        }
        self._control("faults", [fault])

    def scripted_faults(self) -> Any:
        """Return each scripted fault and how many requests met it."""
        return self._control("faults")

    def clear_faults(self) -> None:
        """Delete every scripted fault."""
        call(f"{self.url}/_emu/faults", method="DELETE")

    def configure(self, **values: Any) -> None:
        """Change settings of the engine."""
        self._control("settings", values)

    def advance_clock(self, seconds: float) -> None:
        """Advance the clock of the engine."""
        self._control("clock", {"advance_seconds": seconds})

    def batches(self) -> list[dict[str, Any]]:
        """Return every batch of the engine, including deleted batches, oldest first."""
        batches: list[dict[str, Any]] = self._control("batches")["batches"]
        return batches

    def journal(self) -> list[dict[str, Any]]:
        """Return every request since the start: method, path, status, JSON body, digests."""
        requests: list[dict[str, Any]] = self._control("journal")["requests"]
        return requests

    def creates(self) -> list[dict[str, Any]]:
        """Return the name and the request lines of every created batch, oldest first.

        They survive a kill of the engine. If a name occurs twice, there is a second batch.
        """
        path = self.root / "creates.jsonl"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines()]

    def _control(self, name: str, document: Any = None) -> Any:
        method = "GET" if document is None else "POST"
        return call(f"{self.url}/_emu/{name}", method=method, document=document)
