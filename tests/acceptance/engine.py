"""The local engine in processes of its own, steered through control paths that tests alone have; see `tests.engine`."""

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

from tests.acceptance.process import LONGEST_S, loaded

PROGRAM = "-m tests.engine"
DIRECT = build_opener(ProxyHandler({}))  # no proxy stands before what is on this machine


def call(url: str, *, method: str = "GET", document: Any = None) -> Any:
    """Ask a server on this machine, with a JSON document or without, and return the one it answers with.

    Raises:
        HTTPError: it refused.
    """
    data = None if document is None else json.dumps(document).encode()
    request = Request(url, data, {"content-type": "application/json"}, method=method)  # noqa: S310 - http to loopback
    with closing(DIRECT.open(request, timeout=LONGEST_S)) as reply:
        body = reply.read()
    return json.loads(body) if body else None


class Engine:
    """One engine with a state of its own below a folder, killed with the block that it serves."""

    def __init__(
        self,
        root: Path,
        *,
        settings: Mapping[str, Any] | None = None,
        faults: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        """Take a folder; `settings` and `faults` are as the control paths take them."""
        self.root = root
        self.url = ""
        self.pid = 0
        self._port = 0
        self._settings = dict(settings or {})
        self._faults = [dict(one) for one in faults]
        self._connection: socket.socket | None = None

    def start(self) -> Self:
        """Begin to serve, at the same address as before where it was killed."""
        folder = loaded("engine", [PROGRAM])
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(LONGEST_S)
        self._connection.connect(str(folder / "socket"))
        order = {
            "root": str(self.root),
            "settings": self._settings,
            "faults": self._faults,
            "port": self._port,
        }
        self._connection.sendall(json.dumps(order).encode() + b"\n")
        said = json.loads(self._connection.makefile("r", encoding="utf-8").readline())
        assert "url" in said, said["failed"]
        self.url = said["url"]
        self.pid = said["pid"]
        self._port = int(self.url.rpartition(":")[2])
        return self

    def kill(self) -> None:
        """End it as SIGKILL does; its state is on disk."""
        if self._connection is not None:
            process = os.pidfd_open(self.pid)
            signal.pidfd_send_signal(process, signal.SIGKILL)
            select.select([process], [], [], LONGEST_S)
            os.close(process)
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Kill it."""
        self.kill()

    def fault(
        self,
        word: str,
        *,
        nth: int = 1,
        times: int = 1,
        args: Mapping[str, Any] | None = None,
        **match: str,
    ) -> None:
        """Script one fault; `match` has method, path (a regular expression) and key (of a line)."""
        one = {"fault": word, "match": match, "nth": nth, "times": times, "args": dict(args or {})}
        self._control("faults", [one])

    def faults(self) -> Any:
        """Return each scripted fault and how often it struck."""
        return self._control("faults")

    def clear_faults(self) -> None:
        """Forget every fault."""
        call(f"{self.url}/_emu/faults", method="DELETE")

    def configure(self, **values: Any) -> None:
        """Change how it behaves."""
        self._control("settings", values)

    def advance(self, seconds: float) -> None:
        """Move its clock on."""
        self._control("clock", {"advance_seconds": seconds})

    def batches(self) -> list[dict[str, Any]]:
        """Return every batch that really exists, deleted ones too, oldest first."""
        found: list[dict[str, Any]] = self._control("batches")["batches"]
        return found

    def journal(self) -> list[dict[str, Any]]:
        """Return every request that it was sent since it started: method, path, status, JSON body, digests."""
        found: list[dict[str, Any]] = self._control("journal")["requests"]
        return found

    def creates(self) -> list[dict[str, Any]]:
        """Return the name and the request lines of every batch that was made, oldest first, whoever was killed since.

        Two of one name are a second batch.
        """
        notes = self.root / "creates.jsonl"
        return (
            [json.loads(line) for line in notes.read_text().splitlines()] if notes.exists() else []
        )

    def _control(self, name: str, document: Any = None) -> Any:
        return call(
            f"{self.url}/_emu/{name}",
            method="GET" if document is None else "POST",
            document=document,
        )
