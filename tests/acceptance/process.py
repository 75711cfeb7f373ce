"""A command as a process, as the tests start, stop, kill and read it. Of the product this knows only where it lies.

`PRODUCT=path` (the environment) takes that of another checkout, `PRODUCT_PYTHON` with another interpreter.
"""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.acceptance.steps import Fate
from tests.scratch import quick_folder

ROOT = Path(__file__).parents[2]
PRODUCT = Path(os.environ.get("PRODUCT") or ROOT).resolve()
PYTHON = os.environ.get("PRODUCT_PYTHON") or sys.executable
RUN = "ACCEPTANCE_RUN"  # folder of what all processes of one run of the tests share
COMMAND_TIMES = (
    "command-times"  # file there: a JSON line [folder, seconds of processor time] for each command
)
LONGEST_S = 300.0  # to end a hang, as every limit here
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
}  # so that a loaded process may fork
LIVES = Fate()


@dataclass(frozen=True)
class Done:
    """How a command ended: exit code (negative: the signal that killed it), what it printed, its durable steps."""

    code: int
    out: str
    err: str
    trail: list[str] = field(repr=False)

    @property
    def said(self) -> str:
        """Return all that it printed."""
        return self.out + self.err

    @property
    def json(self) -> Any:
        """Return the one document on its standard output."""
        return json.loads(self.out)


class Running:
    """A command that was started; one that is not waited for is killed with the test."""

    def __init__(
        self,
        folder: Path,
        commands: Sequence[Sequence[str]],
        *,
        environ: Mapping[str, str],
        cwd: Path,
        below: Path,
        fate: Fate = LIVES,
        read_only: bool = False,
        off_days: int = 0,
        stdin: int | None = None,
        orders: Sequence[int] = (),
    ) -> None:
        """Start it at the loaded process in a folder; its steps are those `below` another one.

        Of several commands, which run one after the other as long as they end well, the last one's end is told. Where
        there is a socket for `orders`, it runs what comes there instead.
        """
        order: dict[str, Any] = {
            "commands": [list(words) for words in commands],
            "environ": {**PLAIN, **state(), **environ},
            "cwd": str(cwd),
            "below": str(below),
        }
        order |= {"fate": asdict(fate), "read_only": read_only, "off_days": off_days}
        self._files = [os.memfd_create(name) for name in ("out", "err", "trail")]
        nothing = os.open(os.devnull, os.O_RDONLY)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(LONGEST_S)
        self._socket.connect(str(folder / "socket"))
        line = json.dumps(order).encode() + b"\n"
        sent = socket.send_fds(
            self._socket, [line], [nothing if stdin is None else stdin, *self._files, *orders]
        )
        self._socket.sendall(line[sent:])
        os.close(nothing)
        self._lines = self._socket.makefile("r", encoding="utf-8")
        self.pid = int(self._lines.readline())
        self._done: Done | None = None

    def wait(self) -> Done:
        """Wait for its end and return what became of it."""
        if self._done is None:
            code = int(self._lines.readline())
            out, err, trail = self._read()
            self._done = Done(code, out, err, trail.splitlines())
            self.close()
        return self._done

    def so_far(self) -> str:
        """Return what it printed so far."""
        return "".join(self._read()[:2]) if self._done is None else self._done.said

    def steps(self) -> list[str]:
        """Return the durable steps it took so far."""
        return self._read()[2].splitlines() if self._done is None else self._done.trail

    def stop(self, number: signal.Signals) -> Done:
        """Send it a signal, and again while it goes on: SQLite drops what is raised where it tells of a statement."""
        while not self.has_ended():
            self.signal(number)
            if select.select([self._socket], [], [], 5)[0]:
                break
        return self.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def is_stopped(self) -> bool:
        """Return whether it stands still."""
        with contextlib.suppress(FileNotFoundError):
            return (
                Path(f"/proc/{self.pid}/stat")
                .read_text(encoding="utf-8")
                .rpartition(")")[2]
                .split()[0]
                == "T"
            )
        return False

    def has_ended(self) -> bool:
        """Return whether it is over."""
        return self._done is not None or not Path(f"/proc/{self.pid}").exists()

    def until_stopped(self) -> bool:
        """Wait until it stands still; false where it ended without."""
        deadline = time.monotonic() + LONGEST_S
        while not self.is_stopped():
            if self.has_ended():
                return False
            assert time.monotonic() < deadline, "the command neither stopped nor ended"
            time.sleep(0.005)
        return True

    def close(self) -> None:
        """Let go of it; what still runs is killed."""
        self._lines.close()
        self._socket.close()
        for file in self._files:
            with contextlib.suppress(OSError):
                os.close(file)

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Kill it where it was not waited for."""
        if self._done is None:
            self.close()

    def _read(self) -> list[str]:
        return [
            os.pread(file, os.fstat(file).st_size, 0).decode("utf-8", "replace")
            for file in self._files
        ]


class Session(Running):
    """A process that runs one command after the other, which is quicker by far than a process for each."""

    def __init__(self, folder: Path, below: Path) -> None:
        """Start it; nothing runs yet."""
        self._free = threading.Lock()
        self._orders, theirs = socket.socketpair()
        self._orders.settimeout(LONGEST_S)
        super().__init__(
            folder, (), environ={}, cwd=Path("/"), below=below, orders=[theirs.fileno()]
        )
        theirs.close()
        self._replies = self._orders.makefile("r", encoding="utf-8")

    def run(
        self, commands: Sequence[Sequence[str]], *, environ: Mapping[str, str], cwd: Path
    ) -> Done | None:
        """Run commands one after the other, as long as they end well; return how the last one ended.

        Nothing is run, and nothing returned, while another thread runs something here.
        """
        if not self._free.acquire(blocking=False):
            return None
        try:
            return self._run(commands, environ, cwd)
        finally:
            self._free.release()

    def _run(
        self, commands: Sequence[Sequence[str]], environ: Mapping[str, str], cwd: Path
    ) -> Done:
        order = {
            "commands": [list(words) for words in commands],
            "environ": {**PLAIN, **state(), **environ},
            "cwd": str(cwd),
        }
        self._orders.sendall(json.dumps(order).encode() + b"\n")
        code = int(self._replies.readline())
        out, err, trail = self._read()
        return Done(code, out, err, trail.splitlines())

    def close(self) -> None:
        """End it."""
        self._replies.close()
        self._orders.close()
        super().close()


_SESSIONS: dict[tuple[object, ...], Session] = {}


def quickly(
    folder: Path,
    commands: Sequence[Sequence[str]],
    *,
    environ: Mapping[str, str],
    cwd: Path,
    below: Path,
    knows: Sequence[object] = (),
) -> Done:
    """Run commands one after the other, as long as they end well, in the session of `below`; return how the last ended.

    The session is begun anew where what it `knows` changed; while another thread runs something in it, a process of
    their own runs them.
    """
    key = (folder, below, cwd, *knows)
    if key not in _SESSIONS:
        for stale in [session for session in _SESSIONS if session[:2] == key[:2]]:
            _SESSIONS.pop(stale).close()
        _SESSIONS[key] = Session(folder, below)
    process = _SESSIONS[key].run(commands, environ=environ, cwd=cwd)
    return process or Running(folder, commands, environ=environ, cwd=cwd, below=below).wait()


def end_sessions() -> None:
    """End every session: whoever runs next knows nothing of what was."""
    while _SESSIONS:
        _SESSIONS.popitem()[1].close()


# what a command finds in its environment beside what its workspace sets: nothing of the user's
PLAIN = {
    name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ
} | {
    "NO_COLOR": "1",
    "COLUMNS": "120",
    **ONE_THREAD,
}


def state() -> dict[str, str]:
    """Return the variable of the folder in which commands keep what is the user's, and no workspace's."""
    return {"XDG_STATE_HOME": str(run_folder() / "state")}


def json_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a file that hold a JSON object; none where it is not there."""
    found = []
    for line in path.read_bytes().split(b"\n") if path.exists() else ():
        try:
            found.append(json.loads(line))
        except (ValueError, RecursionError):
            continue
    return [one for one in found if isinstance(one, dict)]


def run_folder() -> Path:
    """Return the folder that all processes of this run of the tests share, made where it is not there."""
    if RUN not in os.environ:
        os.environ[RUN] = tempfile.mkdtemp(prefix="findable-run-", dir=quick_folder())
        os.environ[f"{RUN}_OWNER"] = str(os.getpid())
    return Path(os.environ[RUN])


def loaded(name: str, command: Sequence[object], *, python: str | Path = PYTHON) -> Path:
    """Return the folder of a loaded process of this run, which listens at its socket; started where it does not run.

    `command` is what starts it: the folder and the number of the run's owner are put behind its first word.
    """
    folder = run_folder() / name
    program, *rest = command
    with contextlib.suppress(FileExistsError):  # else another process starts it right now
        folder.mkdir()
        words = [
            str(python),
            "-W",
            "ignore",
            *str(program).split(),
            str(folder),
            os.environ[f"{RUN}_OWNER"],
            *map(str, rest),
        ]
        subprocess.run(words, cwd=ROOT, env={**PLAIN}, check=True, start_new_session=True)
    deadline = time.monotonic() + LONGEST_S
    while not (folder / "socket").exists():
        assert not (folder / "failed").exists(), (folder / "failed").read_text(encoding="utf-8")
        assert time.monotonic() < deadline, f"nothing listens in {folder}"
        time.sleep(0.01)
    return folder
