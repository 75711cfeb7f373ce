"""Start, stop, kill and read commands as processes. This file only knows the product's folder.

`PRODUCT=path` (the environment) selects another checkout, `PRODUCT_PYTHON` another interpreter.
"""

import contextlib
import json
import math
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self, TextIO

from tests import scratch
from tests.acceptance.steps import Fate
from tests.scratch import BASE_ENVIRON, process_state, run_folder, wait_until

ROOT = Path(__file__).parents[2]
PRODUCT = Path(os.environ.get("PRODUCT") or ROOT).resolve()
PYTHON = os.environ.get("PRODUCT_PYTHON") or sys.executable
MAX_WAIT_S = scratch.MAX_WAIT_S
# Ends a test that repeats commands without end. A busy machine changes this time little.
MAX_PROCESSOR_S = 300.0
NO_FATE = Fate()


class ProcessorTime:
    """Counts the processor time of a test and of its commands; outside a test there is no limit."""

    def __init__(self) -> None:
        """Begin without a limit."""
        self.begin(math.inf)

    def begin(self, limit_s: float) -> None:
        """Begin a test, which fails after a number of seconds."""
        self._limit_s = limit_s
        self._start_s = time.process_time()
        self._commands_s = 0.0

    def add_command(self, seconds: float) -> None:
        """Count the time of an ended command, and fail if the test exceeds its limit."""
        self._commands_s += seconds
        used_s = time.process_time() - self._start_s + self._commands_s
        assert used_s < self._limit_s, f"the test used {used_s:.0f} s of processor time"


PROCESSOR_TIME = ProcessorTime()


def read_end(lines: TextIO) -> int:
    """Read the exit code of an ended command, and count its processor time."""
    code, seconds = lines.readline().split()
    PROCESSOR_TIME.add_command(float(seconds))
    return int(code)


@dataclass(frozen=True)
class EndedCommand:
    """An ended command."""

    # Exit code; negative if a signal ended the command.
    code: int
    stdout: str
    stderr: str
    # Its durable steps.
    trail: list[str] = field(repr=False)

    @property
    def output(self) -> str:
        """Return standard output and standard error."""
        return self.stdout + self.stderr

    @property
    def json(self) -> Any:
        """Return the JSON document on its standard output."""
        return json.loads(self.stdout)


class Running:
    """A started command. A test that does not wait for it kills it."""

    def __init__(
        self,
        folder: Path,
        commands: Sequence[Sequence[str]],
        *,
        environ: Mapping[str, str],
        cwd: Path,
        below: Path,
        fate: Fate = NO_FATE,
        read_only: bool = False,
        off_days: int = 0,
        stdin: int | None = None,
        orders: Sequence[int] = (),
    ) -> None:
        """Start commands at the loaded process in a folder.

        Several commands run in sequence until a command fails; only the last end is reported.

        Args:
            below: The folder of the durable steps.
            orders: A socket, from which the process then reads its commands.
        """
        order: dict[str, Any] = {
            "commands": [list(words) for words in commands],
            "environ": {**BASE_ENVIRON, **state_environ(), **environ},
            "cwd": str(cwd),
            "below": str(below),
            "fate": asdict(fate),
            "read_only": read_only,
            "off_days": off_days,
        }
        line = json.dumps(order).encode() + b"\n"
        self._files = [os.memfd_create(name) for name in ("out", "err", "trail")]
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(MAX_WAIT_S)
        self._socket.connect(str(folder / "socket"))

        null_file = os.open(os.devnull, os.O_RDONLY)
        input_file = null_file if stdin is None else stdin
        sent_bytes = socket.send_fds(self._socket, [line], [input_file, *self._files, *orders])
        # A command may have ended already: then even an empty rest cannot be sent.
        if sent_bytes < len(line):
            self._socket.sendall(line[sent_bytes:])
        os.close(null_file)

        self._lines = self._socket.makefile("r", encoding="utf-8")
        self.pid = int(self._lines.readline())
        self._ended_process: EndedCommand | None = None

    def wait(self) -> EndedCommand:
        """Wait until the command ends, and return it."""
        if self._ended_process is None:
            code = read_end(self._lines)
            stdout, stderr, trail = self._read_files()
            self._ended_process = EndedCommand(code, stdout, stderr, trail.splitlines())
            self.close()
        return self._ended_process

    def read_output(self) -> str:
        """Return the present output."""
        if self._ended_process is not None:
            return self._ended_process.output
        return "".join(self._read_files()[:2])

    def steps(self) -> list[str]:
        """Return the durable steps that the command has taken."""
        if self._ended_process is not None:
            return self._ended_process.trail
        return self._read_files()[2].splitlines()

    def stop(self, number: signal.Signals) -> EndedCommand:
        """Send a signal until the command ends.

        SQLite drops an exception that is raised while it reports a statement.
        """
        while not self.is_finished():
            self.signal(number)
            if select.select([self._socket], [], [], 5)[0]:
                break
        return self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def is_finished(self) -> bool:
        """Return whether the process has ended."""
        return self._ended_process is not None or not Path(f"/proc/{self.pid}").exists()

    def wait_until_stopped(self) -> bool:
        """Wait until SIGSTOP suspends the process; return False if it ends before."""
        wait_until(lambda: process_state(self.pid) == "T" or self.is_finished(), self.read_output)
        return not self.is_finished()

    def close(self) -> None:
        """Close the connection, which kills a running command."""
        self._lines.close()
        self._socket.close()
        for file in self._files:
            with contextlib.suppress(OSError):
                os.close(file)

    def __enter__(self) -> Self:
        """Return the command."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the command unless a test waited for it."""
        if self._ended_process is None:
            self.close()

    def _read_files(self) -> list[str]:
        return [
            os.pread(file, os.fstat(file).st_size, 0).decode("utf-8", "replace")
            for file in self._files
        ]


class Session(Running):
    """A process that runs commands in sequence, which is faster than a process for each command."""

    def __init__(self, folder: Path, below: Path) -> None:
        """Start the process without a command."""
        self._lock = threading.Lock()
        self._orders, process_end = socket.socketpair()
        self._orders.settimeout(MAX_WAIT_S)
        super().__init__(
            folder, (), environ={}, cwd=Path("/"), below=below, orders=[process_end.fileno()]
        )
        process_end.close()
        self._replies = self._orders.makefile("r", encoding="utf-8")

    def run(
        self, commands: Sequence[Sequence[str]], *, environ: Mapping[str, str], cwd: Path
    ) -> EndedCommand | None:
        """Run commands in sequence until a command fails, and return the last end.

        Return None, and run nothing, while another thread uses the session.
        """
        if not self._lock.acquire(blocking=False):
            return None
        try:
            return self._send_order(commands, environ, cwd)
        finally:
            self._lock.release()

    def _send_order(
        self, commands: Sequence[Sequence[str]], environ: Mapping[str, str], cwd: Path
    ) -> EndedCommand:
        order = {
            "commands": [list(words) for words in commands],
            "environ": {**BASE_ENVIRON, **state_environ(), **environ},
            "cwd": str(cwd),
        }
        self._orders.sendall(json.dumps(order).encode() + b"\n")
        code = read_end(self._replies)
        stdout, stderr, trail = self._read_files()
        return EndedCommand(code, stdout, stderr, trail.splitlines())

    def close(self) -> None:
        """End the process."""
        self._replies.close()
        self._orders.close()
        super().close()


_SESSIONS: dict[tuple[object, ...], Session] = {}


def run_in_session(
    folder: Path,
    commands: Sequence[Sequence[str]],
    *,
    environ: Mapping[str, str],
    cwd: Path,
    below: Path,
    task_files: Sequence[object] = (),
) -> EndedCommand:
    """Run commands in the session of `below` until a command fails; return the last end.

    A new session starts after a change of `task_files`. A separate process runs the commands while
    another thread uses the session.
    """
    key = (folder, below, cwd, *task_files)
    if key not in _SESSIONS:
        outdated_keys = [session_key for session_key in _SESSIONS if session_key[:2] == key[:2]]
        for outdated_key in outdated_keys:
            _SESSIONS.pop(outdated_key).close()
        _SESSIONS[key] = Session(folder, below)

    process = _SESSIONS[key].run(commands, environ=environ, cwd=cwd)
    return process or Running(folder, commands, environ=environ, cwd=cwd, below=below).wait()


def end_sessions() -> None:
    """End every session, so that the next command starts in a new process."""
    while _SESSIONS:
        _SESSIONS.popitem()[1].close()


def state_environ() -> dict[str, str]:
    """Return the variable of the folder in which commands store the user's state."""
    return {"XDG_STATE_HOME": str(run_folder() / "state")}


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the JSON objects in the lines of a file; an empty list if the file is missing."""
    documents = []
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            documents.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return [document for document in documents if isinstance(document, dict)]
