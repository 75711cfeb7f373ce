"""The program that runs mortal commands and engines, as the tests speak to it."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

from tests import scratch
from tests.acceptance.steps import Fate
from tests.lab import ROOT

ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # so that the program may fork
LIVES = Fate()
KILLED = -signal.SIGKILL
LOADING_S = 600.0  # to end a hang, as every limit here


@dataclass(frozen=True)
class Ended:
    """How one command ended: exit code (negative: the signal that killed it), what it printed, the steps it took."""

    code: int
    out: str
    err: str
    trail: list[str] = field(repr=False)

    @property
    def last(self) -> str:
        """Return the last step it took, or was about to take."""
        return self.trail[-1] if self.trail else ""


class Program:
    """A process that takes orders, JSON lines, and answers each with one; forked from what all of a run share.

    To import the product takes seconds. One process does it for all, and a fork of it serves one program.
    """

    def __init__(self, module: str = "tests.crash.mortal") -> None:
        """Begin it with the orders that a module of the tests obeys."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(_loaded()))
        self._lines = self._socket.makefile("rw", encoding="utf-8")
        self.tell(module)
        self.pid: int = self.answer()

    def tell(self, order: object) -> None:
        """Give it one order."""
        self._lines.write(json.dumps(order) + "\n")
        self._lines.flush()

    def answer(self) -> Any:
        """Wait for its answer and return it."""
        return json.loads(self._lines.readline())

    def has_answered(self) -> bool:
        """Return whether an answer waits to be read."""
        return bool(select.select([self._socket], [], [], 0)[0])

    def ask(self, order: object) -> Any:
        """Give it one order and return its answer."""
        self.tell(order)
        return self.answer()

    def close(self) -> None:
        """Let it end, and what it started with it."""
        self._lines.close()
        self._socket.close()


@cache
def _loaded() -> Path:
    """Return the socket of this run's loaded process, started where it does not run yet."""
    if scratch.RUN not in os.environ:
        scratch.announce()
    folder = Path(os.environ[scratch.RUN]).with_suffix(".loaded")
    with contextlib.suppress(FileExistsError):  # else another one starts it right now
        folder.mkdir()
        command = [sys.executable, "-W", "ignore", "-m", "tests.crash.mortal", str(folder), os.environ[scratch.OWNER]]
        subprocess.run(command, cwd=ROOT, env={**os.environ, **ONE_THREAD}, check=True, start_new_session=True)
    until = time.monotonic() + LOADING_S
    while not (folder / "socket").exists():
        assert not (folder / "failed").exists(), (folder / "failed").read_text(encoding="utf-8")
        assert time.monotonic() < until, f"nothing listens in {folder}"
        time.sleep(0.02)
    return folder / "socket"


class Mortal:
    """The program that runs commands which die at a chosen step. One order at a time."""

    NOT_PERMITTED = 77  # the exit code of a child that may not do what its order asks of the machine

    def __init__(self) -> None:
        """Start it."""
        self._program = Program()

    def run(
        self,
        environ: Mapping[str, str],
        *args: str,
        cwd: Path,
        fate: Fate = LIVES,
        read_only: bool = False,
        below: Path | None = None,
    ) -> Ended:
        """Run one command in a folder with nothing of ours in its environment but `environ`, and let its fate be.

        Its steps are those `below` a folder: that of the workspace, where nothing else is said.
        """
        order: dict[str, Any] = {"args": args, "environ": dict(environ), "cwd": str(cwd), "read_only": read_only}
        order |= {"die_at": fate.at, "side": fate.side, "how": fate.how}
        order["below"] = str(below or environ["FINDABLE_DATA"])
        return Ended(**self._program.ask(order | {"disk": {"once": fate.once, "pages": fate.pages}}))

    def close(self) -> None:
        """End the program."""
        self._program.close()

    def __enter__(self) -> Self:
        """Return the program, which runs already."""
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.close()
