"""Runs findable's commands as processes that die at a chosen moment; a program of the crash tests.

`python -m tests.crash.mortal` forks a process for whichever test connects, which has imported all and lived a day in a
workspace that is gone (no thread, no connection, no index). That reads one JSON object a line, forks for each, and
answers with one line. There are three kinds of orders: to run a command (the answer says how it ended, what it printed,
and the durable steps it took), to start an engine, and to end it.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import mmap
import os
import pkgutil
import shutil
import signal
import socket
import ssl
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import pydantic

from tests import compiled, postgresql
from tests.acceptance.steps import Fate, Steps
from tests.acceptance.watching import watch
from tests.lab import Workspace
from tests.scratch import quick_folder

SHARED_BYTES = 1 << 20  # of steps' names, a line each
DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
NEW_MOUNTS = 0x00020000  # CLONE_NEWNS: what is mounted from here on is seen by this process alone
NEW_USER = 0x10000000  # CLONE_NEWUSER: who is not root may do so among themselves
NOT_PERMITTED = 77
PEOPLE = "Username,Bio\nada,I keep bees and teach water law.\n"
DAY = (
    *(("import", "people.csv"), ("batch-submit",), ("batch-poll",), ("batch-ingest",), ("index",), ("search", "water")),
    *(("score",), ("status", "--json"), ("status", "--exact", "--json"), ("export", "out.csv"), ("doctor",)),
)
FAILED = 99  # the exit code of a child whose work broke
ENDING_S = 60.0  # so long the threads of a day may take to end
LAZY = (
    "bm25s",
    "faiss",
    "google.genai.types",
    "google.auth.aio.credentials",
    "httpcore2",
    "anyio.streams.tls",
    "anyio._backends._asyncio",
)
PRIVATE, BIND, REMOUNT, READ_ONLY = 1 << 18 | 1 << 14, 1 << 12, 1 << 5, 1
KEPT = 2 | 4 | 8  # nosuid, nodev, noexec: who is not root may not take them off what was mounted by others


def run(order: dict[str, Any], shared: mmap.mmap, out: int, err: int) -> None:
    """Be the child: run one command and end this process with its exit code."""
    from jobs.cli import main
    from tests.crash import page_acts

    os.dup2(out, 1)
    os.dup2(err, 2)
    os.chdir(order["cwd"])
    for name in list(os.environ):
        if name.startswith(("FINDABLE_", "GEMINI_", "GOOGLE_")) or name.lower().endswith("_proxy"):
            del os.environ[name]
    os.environ.update(order["environ"])
    folder = order["environ"]["FINDABLE_DATA"]
    if order.get("read_only") and not made_read_only(folder):
        os._exit(NOT_PERMITTED)
    fate = Fate(order["die_at"], order.get("side", "before"), order["how"], **order.get("disk", {}))
    below = order.get("below", folder)
    steps = Steps(lambda what: shared.write(what.encode("utf-8", "replace") + b"\n"), folder=below, fate=fate)
    watch(steps)
    code = 1
    try:
        name = order["args"][0]
        page_acts.act(name) if name in page_acts.NAMES else main(order["args"], prog_name="findable")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        sys.stdout.flush()
        sys.stderr.flush()
    steps.done()
    os._exit(code)


def made_read_only(folder: str) -> bool:
    """Let this process, and no other, see a folder as on a disk that cannot be written; false where it may not."""
    system = ctypes.CDLL(None)
    here, nothing = folder.encode(), None
    whose = NEW_MOUNTS if os.geteuid() == 0 else NEW_MOUNTS | NEW_USER
    kept = os.statvfs(folder).f_flag & KEPT
    return not (
        system.unshare(whose)
        or system.mount(nothing, b"/", nothing, PRIVATE, nothing)
        or system.mount(here, here, nothing, BIND, nothing)
        or system.mount(nothing, here, nothing, REMOUNT | BIND | READ_ONLY | kept, nothing)
    )


def obey(order: dict[str, Any]) -> dict[str, Any]:
    """Fork a process for one command, wait for its end, and return what became of it."""
    shared = mmap.mmap(-1, SHARED_BYTES)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            to_the_end(lambda: run(order, shared, out.fileno(), err.fileno()))
        _, status = os.waitpid(child, 0)
        out.seek(0)
        err.seek(0)
        printed, said = out.read().decode("utf-8", "replace"), err.read().decode("utf-8", "replace")
    trail = shared[:].rstrip(b"\0").decode().splitlines()
    shared.close()
    return {"code": os.waitstatus_to_exitcode(status), "out": printed, "err": said, "trail": trail}


def to_the_end(work: Callable[[], None]) -> NoReturn:
    """Be a child: do its work, and end with it."""
    code = FAILED
    try:
        work()
        code = 0
    except BaseException as error:  # noqa: BLE001 - a child must not go on as its parent
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    os._exit(code)


def preload() -> None:
    """Import and read what commands do when they run, so that a fork starts at once; no roots of TLS are needed."""
    import emulator
    import jobs
    import pipeline
    import web
    from pipeline.index import terms

    for room in (pipeline, jobs, emulator, web):
        for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
            if not module.name.endswith("__main__"):
                importlib.import_module(module.name)
    for name in LAZY:
        importlib.import_module(name)
    for model in vars(sys.modules["google.genai.types"]).values():
        if isinstance(model, type) and issubclass(model, pydantic.BaseModel):
            model.model_rebuild()  # which pydantic leaves to the first use, in every child anew
    terms.terms_of("bees пчёлы")
    ssl.SSLContext.load_verify_locations = lambda *_arguments, **_options: None  # type: ignore[method-assign]  # no TLS here
    live_a_day()
    until = time.monotonic() + ENDING_S
    while (threads := threads_of_this_process()) > 1:  # what a busy machine has not let end yet
        assert time.monotonic() < until, f"{threads} threads: a process with more than one must not fork"
        time.sleep(0.01)
    gc.collect()
    gc.freeze()  # what no child's collector looks at stays shared


def threads_of_this_process() -> int:
    """Return how many threads there are, those of libraries included."""
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def live_a_day() -> None:
    """Let the commands of a day compile their statements, once for all forks, in a workspace that is gone then.

    Where one of them fails on a busy machine, each fork compiles what is missing.
    """
    compiled.share()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with tempfile.TemporaryDirectory(prefix="findable-day-", dir=quick_folder()) as folder, contextlib.chdir(folder):
        Path("people.csv").write_text(PEOPLE, encoding="utf-8")
        data = Path(folder) / "data"
        settings = {"DATA": str(data), "BACKEND": "local", "POLL_FIRST": "0.02", "CREATE_TIMEOUT": "60"}
        workspace = Workspace(data, {f"FINDABLE_{name}": value for name, value in settings.items()})
        for command in DAY:
            workspace.run(*command)
        postgresql.drop_below(Path(folder))
    for number, handler in handlers.items():
        signal.signal(number, handler)


def serve_orders(connection: socket.socket) -> None:
    """Answer each order, a JSON line, with another; the first names the module that obeys."""
    lines = connection.makefile("rw", encoding="utf-8")
    obeyed = importlib.import_module(json.loads(lines.readline())).obey
    found: Any = os.getpid()
    while True:
        lines.write(json.dumps(found) + "\n")
        lines.flush()
        if not (line := lines.readline()):
            return
        found = obeyed(json.loads(line))


def listen(folder: Path, owner: int) -> None:
    """Import all, then fork a process for each that connects, as long as the owner of this run lives.

    Why it cannot is left in the folder, where those look who wait for it.
    """
    try:
        preload()
    except BaseException:
        (folder / "failed").write_text(traceback.format_exc(), encoding="utf-8")
        raise
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "part"))
        listening.listen(64)
        (folder / "part").rename(folder / "socket")
        listening.settimeout(0.5)
        while postgresql.lives(owner):
            with contextlib.suppress(TimeoutError):
                connection, _ = listening.accept()
                connection.setblocking(True)  # noqa: FBT003 - a positional argument of the library
                if os.fork() == 0:
                    listening.close()
                    to_the_end(partial(serve_orders, connection))
                connection.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__" and not os.fork():  # who called goes on
    postgresql.be_silent()
    listen(Path(sys.argv[1]), int(sys.argv[2]))
