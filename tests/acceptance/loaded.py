"""A program that has the product loaded, and forks a process of its own for each command that is ordered.

`python -m tests.acceptance.loaded FOLDER OWNER PRODUCT COMMANDS URL` imports the product that lies at PRODUCT by
running COMMANDS (a JSON list of lists of words) once in a workspace that is gone then, and listens at FOLDER/socket as
long as the process OWNER lives. Each connection is one command: one JSON line with the files it reads from and writes
to is answered by one line with its number, and by one with its exit code (negative: the signal that ended it). What
hangs up before that has its command killed. To import the product takes seconds; a fork of what has it takes
milliseconds.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy.engine import Engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache

from tests.acceptance.process import COMMAND_TIMES
from tests.acceptance.steps import Fate, Steps
from tests.acceptance.watching import watch

NOT_PERMITTED = 77  # exit code of a child that may not do what its order asks of the machine
STREAMS = 3
SCRIPT = "a script of a user"  # in the place of a command: the path behind it is run as Python does
WARMING = {  # files that the first commands read
    "people.csv": "Username,Bio\nada,I keep bees and teach water law.\n",
    "passages.jsonl": '{"id": "p-1", "text": "Old bees keep longer than new bees."}\n',
}
SERVING = (
    "fastapi",
    "jinja2",
    "uvicorn",
)  # libraries of a page, which no command loads that ends by itself
BETWEEN = "\x1e\n"  # printed between what two commands of one order print
LONGEST_ORDER = 1 << 20  # bytes
MOST_STATEMENTS = 5000
ENDING_S = 60.0  # so long the threads of the first commands may take to end
NEW_MOUNTS = 0x00020000  # CLONE_NEWNS; CLONE_NEWUSER: who is not root may do so among themselves
NEW_USER = 0x10000000
PRIVATE = 1 << 18 | 1 << 14
BIND = 1 << 12
REMOUNT = 1 << 5
READ_ONLY = 1
KEPT = (
    2 | 4 | 8
)  # nosuid, nodev, noexec: who is not root may not take them off what was mounted by others


def entry(product: Path) -> Callable[[], object]:
    """Return what the installed command `findable` calls, as the project file of the product says."""
    scripts = tomllib.loads((product / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "scripts"
    ]
    module, _, name = scripts["findable"].partition(":")
    called: Callable[[], object] = getattr(importlib.import_module(module), name)
    return called


def called(main: Callable[[], object], words: Sequence[str]) -> int:
    """Call it with the words of a command line, or run the script that they name; return the exit code."""
    sys.argv = ["findable", *words]
    try:
        if words[:1] == [SCRIPT]:
            sys.path.insert(0, str(Path(words[1]).parent))
            runpy.run_path(words[1], run_name="__main__")
        else:
            main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def warm(main: Callable[[], object], commands: Sequence[Sequence[str]], url: str) -> None:
    """Run commands in a workspace that is gone then, so that a fork has all that they load when they run.

    `url` is that of an empty database; where it is empty, an SQLite file is made.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    environ = os.environ.copy()
    ssl.SSLContext.load_verify_locations = lambda *_arguments, **_options: None  # type: ignore[method-assign]  # no TLS here
    with tempfile.TemporaryDirectory(prefix="findable-warm-") as folder, contextlib.chdir(folder):
        os.environ.update({"FINDABLE_DATA": f"{folder}/data", "FINDABLE_BACKEND": "local"})
        os.environ.update({"FINDABLE_DATABASE_URL": url} if url else {})
        for name in SERVING:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        for name, text in WARMING.items():
            Path(name).write_text(text, encoding="utf-8")
        for words in commands:
            code = called(main, words)
            assert code == 0, f"{words} ended with {code}"
    os.environ.clear()
    os.environ.update(environ)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    deadline = time.monotonic() + ENDING_S
    while (threads := len(list(Path("/proc/self/task").iterdir()))) > 1:
        assert time.monotonic() < deadline, (
            f"{threads} threads: a process with more than one must not fork"
        )
        time.sleep(0.01)
    # A fork must not look through what is loaded: that takes time, and copies every page of it.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 50)


def share_compiled() -> None:
    """Let all connections of this process, and of its forks, know the statements that one of them has compiled.

    Each command connects anew, and would compile them all again.
    """
    shared = LRUCache[Any, Any](MOST_STATEMENTS)
    Engine._compiled_cache = property(lambda _: shared, lambda *_: None)  # type: ignore[assignment]
    DefaultDialect.__hash__ = lambda one: hash(type(one))  # type: ignore[assignment,method-assign]
    DefaultDialect.__eq__ = _is_same_dialect  # type: ignore[assignment,method-assign]


def _is_same_dialect(default_dialect: DefaultDialect, other: object) -> bool:
    return (
        type(default_dialect) is type(other)
        and default_dialect.server_version_info == other.server_version_info
    )


def run(main: Callable[[], object], order: dict[str, Any], files: Sequence[int]) -> NoReturn:
    """Be the child: run what is ordered and end this process with its exit code; or all that is ordered one by one."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    for stream in range(STREAMS):
        os.dup2(files[stream], stream)
    below = order["below"]
    if order["read_only"] and not made_read_only(below):
        os._exit(NOT_PERMITTED)
    if order["off_days"]:
        set_clock_wrong(order["off_days"])
    fate = Fate(**order["fate"])
    steps = Steps(
        lambda what: os.write(files[STREAMS], f"{what}\n".encode()), folder=below, fate=fate
    )
    watch(steps)
    if len(files) == STREAMS + 1:
        os._exit(obeyed(main, order, steps))
    with socket.socket(fileno=files[-1]) as orders, orders.makefile("r", encoding="utf-8") as lines:
        for line in lines:
            for file in (1, 2, files[STREAMS]):
                os.ftruncate(file, 0)
                os.lseek(file, 0, os.SEEK_SET)
            orders.sendall(f"{obeyed(main, json.loads(line), steps)}\n".encode())
    os._exit(0)


def obeyed(main: Callable[[], object], order: dict[str, Any], steps: Steps) -> int:
    """Run the commands of an order, as long as they end well; return the exit code of the last."""
    code = 1
    try:
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["environ"])
        for number, words in enumerate(order["commands"]):
            if number:
                sys.stdout.write(BETWEEN)
                sys.stdout.flush()
            if code := called(main, words):
                break
        steps.done()
    except BaseException:  # noqa: BLE001 - a child must not go on as its parent; what it said is shown
        traceback.print_exc()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


class AnyTime(type):
    """The type of a clock that takes every time for one of its own."""

    def __instancecheck__(cls, instance: object) -> bool:
        """Return whether it is a time at all."""
        return isinstance(instance, datetime)


def set_clock_wrong(days: int) -> None:
    """Let all modules of the product in this process read a clock that is so many days ahead."""
    ahead = timedelta(days=days)

    class WrongClock(datetime, metaclass=AnyTime):
        """Times of which the present one is wrong."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # no own type
            """Return the wrong present time."""
            return datetime.now(tz) + ahead

    for module in list(sys.modules.values()):
        is_of_product = (getattr(module, "__file__", None) or "").startswith(f"{sys.path[0]}/")
        is_of_tests = module.__name__ in {"__main__", __name__}
        if is_of_product and not is_of_tests and getattr(module, "datetime", None) is datetime:
            vars(module)["datetime"] = WrongClock


def made_read_only(folder: str) -> bool:
    """Let this process, and no other, see a folder as on a disk that cannot be written; false where it may not."""
    system = ctypes.CDLL(None)
    here = folder.encode()
    nothing = None
    whose = NEW_MOUNTS if os.geteuid() == 0 else NEW_MOUNTS | NEW_USER
    kept = os.statvfs(folder).f_flag & KEPT
    return not (
        system.unshare(whose)
        or system.mount(nothing, b"/", nothing, PRIVATE, nothing)
        or system.mount(here, here, nothing, BIND, nothing)
        or system.mount(nothing, here, nothing, REMOUNT | BIND | READ_ONLY | kept, nothing)
    )


class Listener:
    """Takes orders at a socket, one a connection, and tells each how its command ended."""

    def __init__(self, folder: Path, main: Callable[[], object]) -> None:
        """Listen from now on."""
        self._main = main
        self._running: dict[int, socket.socket] = {}
        self._folders: dict[int, str] = {}
        self._times = (folder.parent / COMMAND_TIMES).open("a", buffering=1, encoding="utf-8")
        self._selector = selectors.DefaultSelector()
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(folder / "part"))
        self._listening.listen(64)
        (folder / "part").rename(folder / "socket")
        woken, self._waking = socket.socketpair()
        for end in (woken, self._waking):
            end.setblocking(False)  # noqa: FBT003 - a positional argument of the library
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waking.fileno())
        self._selector.register(self._listening, selectors.EVENT_READ, self._take)
        self._selector.register(woken, selectors.EVENT_READ, self._reap)

    def serve(self, owner: int) -> None:
        """Serve as long as the owner lives."""
        while Path(f"/proc/{owner}").exists():
            for key, _ in self._selector.select(0.5):
                try:
                    key.data(key.fileobj)
                except (
                    OSError,
                    KeyError,
                    ValueError,
                ):  # of one that asked and went: the others are served on
                    traceback.print_exc()
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)

    def _take(self, listening: socket.socket) -> None:
        connection, _ = listening.accept()
        line, files, _, _ = socket.recv_fds(connection, LONGEST_ORDER, STREAMS + 2)
        while not line.endswith(b"\n"):
            if not (more := connection.recv(LONGEST_ORDER)):  # who asked is gone
                connection.close()
                return
            line += more
        pid = os.fork()
        if pid == 0:
            try:
                run(self._main, json.loads(line), files)
            finally:
                os._exit(1)  # whatever befell it, it serves nobody
        for file in files:
            os.close(file)
        self._running[pid] = connection
        self._folders[pid] = json.loads(line)["below"]
        connection.sendall(f"{pid}\n".encode())
        self._selector.register(connection, selectors.EVENT_READ, lambda _: self._hung_up(pid))

    def _hung_up(self, pid: int) -> None:
        """End the command of who does not wait for it any more."""
        self._selector.unregister(self._running[pid])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def _reap(self, woken: socket.socket) -> None:
        woken.recv(1024)
        with contextlib.suppress(ChildProcessError):
            while (ended := os.wait4(-1, os.WNOHANG))[0]:
                connection = self._running.pop(ended[0])
                with contextlib.suppress(KeyError):
                    self._selector.unregister(connection)
                with contextlib.suppress(OSError):
                    connection.sendall(f"{os.waitstatus_to_exitcode(ended[1])}\n".encode())
                connection.close()
                usage = ended[2]
                self._times.write(
                    json.dumps([self._folders.pop(ended[0]), usage.ru_utime + usage.ru_stime])
                    + "\n"
                )


def listen(
    folder: Path, owner: int, product: Path, commands: Sequence[Sequence[str]], url: str
) -> None:
    """Load all, then serve; why that failed is left in the folder, where those look who wait for it."""
    sys.path[0] = str(product)
    try:
        share_compiled()
        main = entry(product)
        warm(main, commands, url)
        listener = Listener(folder, main)
    except BaseException:
        (folder / "failed").write_text(traceback.format_exc(), encoding="utf-8")
        raise
    listener.serve(owner)
    shutil.rmtree(folder, ignore_errors=True)


def be_silent(log: Path) -> None:
    """Read from nothing, and write to a file, from here on."""
    with Path(os.devnull).open("rb") as nothing, log.open("ab") as file:
        for stream, opened in enumerate((nothing, file, file)):
            os.dup2(opened.fileno(), stream)


if __name__ == "__main__" and not os.fork():  # who called goes on
    be_silent(Path(sys.argv[1]) / "log")
    listen(
        Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4]), sys.argv[5]
    )
