"""Run a generator in a second process beside this one; it ends with its block, and with this process however that ends.

For work that may be killed at any moment. The process is a new one and not a fork of this one, which has threads and an
open database, and it runs nothing of the program that this one was started as. What the generator yields is pickled; an
error ends it in silence, as where none can be begun, so the caller looks at what is left.
"""

import copyreg
import io
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Generic, ParamSpec, TypeVar, cast

from pipeline.core.redact import Secret

P = ParamSpec("P")
T = TypeVar("T")

# finds modules where this process does, and no others
BOOT = (
    "import sys, pickle; sys.path[:] = pickle.load(sys.stdin.buffer); "
    "from pipeline.core.second_process import main; main()"
)


def can_begin() -> bool:
    """Return whether there is a processor for a second process, and a Python to start."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count > 1 and bool(sys.executable)


class Told(Generic[T]):
    """What a second process has said: `so_far`, and when it has `ended`, all of it; nothing where there is none."""

    def __init__(self, stream: IO[bytes] | None = None) -> None:
        """Read it beside what this process does."""
        self.so_far: list[T] = []
        self._reader = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._reader.start()

    def ended(self) -> list[T]:
        """Return all that was said, when the process is over."""
        self._reader.join()
        return self.so_far

    def _read(self, stream: IO[bytes] | None) -> None:
        """Keep what the other process sends until it ends."""
        with suppress(EOFError, OSError, pickle.UnpicklingError):
            while stream is not None:
                self.so_far.append(pickle.load(stream))  # noqa: S301 - of a process of ours


@contextmanager
def second_process(work: Callable[P, Iterator[T]], *args: P.args, **kwargs: P.kwargs) -> Iterator[Told[T]]:
    """Give what `work(...)`, a function of a module, yields in a process of its own for the length of a block."""
    words = [sys.executable, "-I", "-c", BOOT]
    try:
        begun = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # noqa: S603
    except OSError:
        yield Told()
        return
    with begun as process:
        told = Told[T](cast("IO[bytes]", process.stdout))
        asked = cast("IO[bytes]", process.stdin)
        try:
            with suppress(OSError):
                asked.write(pickle.dumps(sys.path) + _dumped((work, args, kwargs)))
                asked.flush()
            yield told
        finally:
            process.kill()
            told.ended()
            with suppress(OSError):  # of one that ended before it was asked
                asked.close()


def _dumped(what: object) -> bytes:
    """Return what goes through the pipe, secrets too, which are pickled nowhere else."""
    out = io.BytesIO()
    pickler = pickle.Pickler(out)
    pickler.dispatch_table = copyreg.dispatch_table | {Secret: Secret.parts}
    pickler.dump(what)
    return out.getvalue()


def main() -> None:
    """Be the second process: send what a generator yields. Ctrl-C at a terminal is the first one's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work, args, kwargs = pickle.load(sys.stdin.buffer)  # noqa: S301 - of the process that began this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what is printed is no part of it
        for one in work(*args, **kwargs):
            pickle.dump(one, out)
            out.flush()


def _end_with_parent() -> None:
    """End this process as soon as the one that began it is gone, which its standard input tells."""
    sys.stdin.buffer.read()
    os._exit(1)
