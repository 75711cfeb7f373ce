"""Load the product once, and fork a separate process for each ordered command.

`python -m tests.acceptance.loaded FOLDER OWNER PRODUCT COMMANDS URL` imports the product at PRODUCT
and runs COMMANDS (a JSON list of lists of words) once in a temporary workspace. Then it listens at
FOLDER/socket while the process OWNER lives.

Each connection is one command. Its order is a JSON line with the files of its input and output. The
first line of the reply is the process id. The second line is the exit code (negative: the signal
that ended the command) and the used processor time. A connection that closes before kills its
command.

The import of the product takes seconds. A fork takes milliseconds.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import selectors
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

from tests.acceptance.steps import Fate, Steps
from tests.acceptance.watching import watch
from tests.scratch import lives, serve_in_background, wait_until

# Exit code of a child without the permission that its order needs.
NOT_PERMITTED = 77
STREAM_COUNT = 3
# First word of a "command" that is a Python script; the second word is its path.
SCRIPT = "a script of a user"
# Files that the warm-up commands read.
WARM_UP_FILES = {
    "people.csv": "Username,Bio\nada,I keep bees and teach water law.\n",
    "passages.jsonl": '{"id": "p-1", "text": "Old bees keep longer than new bees."}\n',
}
# Libraries of the page; only a command that serves it loads them.
PAGE_LIBRARIES = ("fastapi", "jinja2", "uvicorn")
# Printed between the outputs of two commands of an order.
OUTPUT_SEPARATOR = "\x1e\n"
MAX_ORDER_BYTES = 1 << 20
MAX_STATEMENTS = 5000
# CLONE_NEWNS. A user who is not root also needs CLONE_NEWUSER.
NEW_MOUNTS = 0x00020000
NEW_USER = 0x10000000
PRIVATE = 1 << 18 | 1 << 14
BIND = 1 << 12
REMOUNT = 1 << 5
READ_ONLY = 1
# nosuid, nodev, noexec: a user who is not root may not remove them from a mount of another user.
LOCKED_FLAGS = 2 | 4 | 8


def entry(product: Path) -> Callable[[], object]:
    """Return the function of the installed command `askrows`, from the product's project file."""
    project_file = (product / "pyproject.toml").read_text(encoding="utf-8")
    scripts = tomllib.loads(project_file)["project"]["scripts"]
    module, _, name = scripts["askrows"].partition(":")
    function: Callable[[], object] = getattr(importlib.import_module(module), name)
    return function


def called(main: Callable[[], object], words: Sequence[str]) -> int:
    """Call `main` with the words of a command line, or run a script; return the exit code."""
    sys.argv = ["askrows", *words]
    try:
        if words[:1] == [SCRIPT]:
            sys.path.insert(0, str(Path(words[1]).parent))
            runpy.run_path(words[1], run_name="__main__")
        else:
            main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def warm_up(main: Callable[[], object], commands: Sequence[Sequence[str]], url: str) -> None:
    """Run commands in a temporary workspace, so that forks have everything that they load.

    Args:
        url: The URL of an empty database; if it is empty, the database is an SQLite file.
    """
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    environ = os.environ.copy()
    # No test uses TLS, and the certificates take time to load.
    ssl.SSLContext.load_verify_locations = _load_nothing  # type: ignore[method-assign]

    with tempfile.TemporaryDirectory(prefix="askrows-warm-") as folder, contextlib.chdir(folder):
        os.environ.update({"ASKROWS_DATA": f"{folder}/data", "ASKROWS_BACKEND": "local"})
        if url:
            os.environ["ASKROWS_DATABASE_URL"] = url
        for name in PAGE_LIBRARIES:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
        for name, text in WARM_UP_FILES.items():
            Path(name).write_text(text, encoding="utf-8")
        for words in commands:
            code = called(main, words)
            assert code == 0, f"{words} ended with {code}"

    os.environ.clear()
    os.environ.update(environ)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    # A process with more than one thread must not fork.
    wait_until(lambda: len(list(Path("/proc/self/task").iterdir())) == 1)

    # The garbage collector of a fork must not visit loaded objects: it would copy every page.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 50)


def _load_nothing(*_arguments: object, **_options: object) -> None:
    """Load no certificates."""


def share_compiled_statements() -> None:
    """Share compiled SQL statements between all connections of this process and of its forks.

    Each command connects again, and would compile all statements again.
    """
    cache = LRUCache[Any, Any](MAX_STATEMENTS)
    Engine._compiled_cache = property(lambda _: cache, lambda *_: None)  # type: ignore[assignment]
    DefaultDialect.__hash__ = _hash_dialect  # type: ignore[assignment,method-assign]
    DefaultDialect.__eq__ = _is_same_dialect  # type: ignore[assignment,method-assign]


def _hash_dialect(dialect: DefaultDialect) -> int:
    return hash(type(dialect))


def _is_same_dialect(dialect: DefaultDialect, candidate: object) -> bool:
    return (
        type(dialect) is type(candidate)
        and dialect.server_version_info == candidate.server_version_info
    )


def run(main: Callable[[], object], order: dict[str, Any], files: Sequence[int]) -> NoReturn:
    """Run an order in the child process, and end the process with its exit code.

    With a socket among the files, run the orders from that socket until it closes.
    """
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.setsid()
    for stream in range(STREAM_COUNT):
        os.dup2(files[stream], stream)

    folder = order["below"]
    if order["read_only"] and not make_read_only(folder):
        os._exit(NOT_PERMITTED)
    if order["off_days"]:
        set_clock_wrong(order["off_days"])

    trail_file = files[STREAM_COUNT]
    steps = Steps(
        lambda step: os.write(trail_file, f"{step}\n".encode()),
        folder=folder,
        fate=Fate(**order["fate"]),
    )
    watch(steps)
    if len(files) == STREAM_COUNT + 1:
        os._exit(run_commands(main, order, steps))

    with socket.socket(fileno=files[-1]) as orders, orders.makefile("r", encoding="utf-8") as lines:
        for line in lines:
            for file in (1, 2, trail_file):
                os.ftruncate(file, 0)
                os.lseek(file, 0, os.SEEK_SET)
            start_s = time.process_time()
            code = run_commands(main, json.loads(line), steps)
            orders.sendall(f"{code} {time.process_time() - start_s}\n".encode())
    os._exit(0)


def run_commands(main: Callable[[], object], order: dict[str, Any], steps: Steps) -> int:
    """Run the commands of an order in sequence until a command fails; return the last exit code."""
    code = 1
    try:
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["environ"])
        for number, words in enumerate(order["commands"]):
            if number:
                sys.stdout.write(OUTPUT_SEPARATOR)
                sys.stdout.flush()
            if code := called(main, words):
                break
        steps.finish_step()
    except BaseException:  # noqa: BLE001 - a child must not go on as its parent
        traceback.print_exc()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    return code


class AnyTime(type):
    """The type of a clock that accepts every time as an instance."""

    def __instancecheck__(cls, instance: object) -> bool:
        """Return whether an object is a time."""
        return isinstance(instance, datetime)


def set_clock_wrong(days: int) -> None:
    """Make all modules of the product in this process read a clock that is ahead by days."""
    offset = timedelta(days=days)

    class WrongClock(datetime, metaclass=AnyTime):
        """A clock with a wrong present time."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            """Return the wrong present time."""
            return datetime.now(tz) + offset

    for module in list(sys.modules.values()):
        is_of_product = (getattr(module, "__file__", None) or "").startswith(f"{sys.path[0]}/")
        is_of_tests = module.__name__ in {"__main__", __name__}
        if is_of_product and not is_of_tests and getattr(module, "datetime", None) is datetime:
            vars(module)["datetime"] = WrongClock


def make_read_only(folder: str) -> bool:
    """Make a folder read-only for this process alone; return False without the permission."""
    libc = ctypes.CDLL(None)
    mount_point = folder.encode()
    unshare_flags = NEW_MOUNTS if os.geteuid() == 0 else NEW_MOUNTS | NEW_USER
    locked_flags = os.statvfs(folder).f_flag & LOCKED_FLAGS
    remount_flags = REMOUNT | BIND | READ_ONLY | locked_flags
    # Each call returns 0 if it succeeds, and the next call then runs.
    return not (
        libc.unshare(unshare_flags)
        or libc.mount(None, b"/", None, PRIVATE, None)
        or libc.mount(mount_point, mount_point, None, BIND, None)
        or libc.mount(None, mount_point, None, remount_flags, None)
    )


class Listener:
    """Accept orders at a socket, one for each connection, and report how each command ended."""

    def __init__(self, folder: Path, main: Callable[[], object]) -> None:
        """Listen at the socket of a folder."""
        self._main = main
        self._running: dict[int, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(folder / "socket"))
        self._server.listen(64)
        (folder / "ready").touch()

        # A signal of an ended child wakes the selector.
        wakeup_reader, self._wakeup_writer = socket.socketpair()
        for end in (wakeup_reader, self._wakeup_writer):
            end.setblocking(False)  # noqa: FBT003 - a positional argument of the library
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup_writer.fileno())
        self._selector.register(self._server, selectors.EVENT_READ, self._accept_order)
        self._selector.register(wakeup_reader, selectors.EVENT_READ, self._report_ended)

    def serve(self, owner: int) -> None:
        """Serve while the owner lives."""
        while lives(owner):
            for key, _ in self._selector.select(0.5):
                # A connection that closed must not end the service for other connections.
                try:
                    key.data(key.fileobj)
                except (OSError, KeyError, ValueError):
                    traceback.print_exc()
        for pid in self._running:
            os.kill(pid, signal.SIGKILL)

    def _accept_order(self, server: socket.socket) -> None:
        connection, _ = server.accept()
        line, files, _, _ = socket.recv_fds(connection, MAX_ORDER_BYTES, STREAM_COUNT + 2)
        while not line.endswith(b"\n"):
            piece = connection.recv(MAX_ORDER_BYTES)
            # The client closed the connection before the end of its order.
            if not piece:
                connection.close()
                return
            line += piece

        pid = os.fork()
        if pid == 0:
            # The child must never return to the loop of its parent.
            try:
                run(self._main, json.loads(line), files)
            finally:
                os._exit(1)

        for file in files:
            os.close(file)
        self._running[pid] = connection
        connection.sendall(f"{pid}\n".encode())
        self._selector.register(
            connection, selectors.EVENT_READ, lambda _: self._kill_abandoned(pid)
        )

    def _kill_abandoned(self, pid: int) -> None:
        """Kill the command of a client that closed its connection."""
        self._selector.unregister(self._running[pid])
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)

    def _report_ended(self, wakeup_reader: socket.socket) -> None:
        """Send the exit code of each ended command to its client."""
        wakeup_reader.recv(1024)
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, wait_status, usage = os.wait4(-1, os.WNOHANG)
                if not pid:
                    return

                connection = self._running.pop(pid)
                with contextlib.suppress(KeyError):
                    self._selector.unregister(connection)
                with contextlib.suppress(OSError):
                    code = os.waitstatus_to_exitcode(wait_status)
                    connection.sendall(f"{code} {usage.ru_utime + usage.ru_stime}\n".encode())
                connection.close()


def listen(folder: Path, owner: int, product: str, commands: str, url: str) -> None:
    """Load the product, then serve."""
    sys.path[0] = product
    share_compiled_statements()
    main = entry(Path(product))
    warm_up(main, json.loads(commands), url)
    Listener(folder, main).serve(owner)


if __name__ == "__main__":
    serve_in_background(listen)
