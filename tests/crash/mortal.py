"""Runs findable's commands as processes that die at a chosen moment; a program of the crash tests.

`python -m tests.crash.mortal` reads one JSON object a line, forks a process that runs that command with the product
already imported, and answers with one line: how it ended, what it printed, and the durable steps it took. A step
is a change to the workspace's files, a commit, or bytes sent (before and after). The product knows nothing of this.
"""

import importlib
import json
import mmap
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANGES = ("os.mkdir", "os.rename", "os.symlink", "os.link", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree")
WRITING = os.O_WRONLY | os.O_RDWR
QUIET = ("-shm", "-wal", "-journal")  # SQLite's own files; it has its own step, the commit
SHARED_BYTES = 1 << 20  # of steps' names, a line each
LONGEST = 160


class Steps:
    """Counts the steps of this process in memory shared with its parent, and sends it a signal before one of them."""

    def __init__(self, shared: mmap.mmap, *, folder: str, die_at: int, how: str) -> None:
        """Count from 0; `die_at` 0 lets the process live."""
        self._shared, self._folder, self._die_at = shared, folder, die_at
        self._signal = signal.Signals[f"SIG{how}"]
        self._count = 0

    def step(self, what: str) -> None:
        """Count one step that is about to happen, and die of it where that was asked for."""
        self._count += 1
        self._shared.write(what[:LONGEST].replace("\n", " ").encode() + b"\n")
        if self._count == self._die_at:
            os.kill(os.getpid(), self._signal)

    def watch(self) -> None:
        """Count every step from here on."""
        from sqlalchemy import Engine, event

        sys.addaudithook(self._on_audit)
        event.listen(Engine, "commit", lambda _connection: self.step("commit"))
        socket.socket.send = self._counted(socket.socket.send)  # type: ignore[method-assign]  # what the client calls
        socket.socket.sendall = self._counted(socket.socket.sendall)  # type: ignore[method-assign]  # or this

    def _on_audit(self, name: str, arguments: tuple[Any, ...]) -> None:
        """Count a change below the workspace's folder."""
        touched = [str(one) for one in arguments[:2] if str(one).startswith(self._folder)]
        if not touched or touched[0].endswith(QUIET):
            return
        if name in CHANGES or (name == "open" and isinstance(arguments[2], int) and arguments[2] & WRITING):
            self.step(f"{name} {touched[0]}")

    def _counted(self, send: Callable[..., Any]) -> Callable[..., Any]:
        """Return a socket method that counts a step before and after it."""

        def counted(connection: socket.socket, data: Any, *flags: int) -> Any:
            """Send, between two steps."""
            what = bytes(data[:LONGEST]).split(b"\r\n")[0].decode("latin-1")
            self.step(f"before sending {what}")
            sent = send(connection, data, *flags)
            self.step(f"after sending {what}")
            return sent

        return counted


def run(order: dict[str, Any], shared: mmap.mmap, out: int, err: int) -> None:
    """Be the child: run one command and end this process with its exit code."""
    from jobs.cli import main

    os.dup2(out, 1)
    os.dup2(err, 2)
    os.chdir(order["cwd"])
    for name in [name for name in os.environ if name.startswith(("FINDABLE_", "GEMINI_", "GOOGLE_"))]:
        del os.environ[name]
    os.environ.update(order["environ"])
    folder = order["environ"]["FINDABLE_DATA"]
    Steps(shared, folder=folder, die_at=order["die_at"], how=order["how"]).watch()
    try:
        main(order["args"], prog_name="findable")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def answer(order: dict[str, Any]) -> dict[str, Any]:
    """Fork a process for one command, wait for its end, and return what became of it."""
    shared = mmap.mmap(-1, SHARED_BYTES)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            run(order, shared, out.fileno(), err.fileno())
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        printed, said = out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace")
    trail = shared[:].rstrip(b"\0").decode().splitlines()
    return {"code": os.waitstatus_to_exitcode(status), "out": printed, "err": said, "trail": trail}


def preload() -> None:
    """Import what commands import when they run, so that a fork starts at once."""
    import pipeline.steps

    steps = sorted(Path(pipeline.steps.__file__).parent.glob("[a-z]*.py"))
    heavy = ("faiss", "google.genai.types", "alembic.command", "pipeline.gemini.client", "pipeline.index.staging")
    for name in (*heavy, "emulator.server", "jobs.cli", *(f"pipeline.steps.{path.stem}" for path in steps)):
        importlib.import_module(name)


if __name__ == "__main__":
    preload()
    for line in sys.stdin:
        sys.stdout.write(json.dumps(answer(json.loads(line))) + "\n")
        sys.stdout.flush()
