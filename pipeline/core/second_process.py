"""Run a generator in a second process beside this one; it ends with its block, and with this process however that ends.

For work that may be killed at any moment. The process is a new one and not a fork of this one, which has threads and an
open database. What the generator yields is pickled; an error ends it, in silence, so whoever reads looks what is left.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def second_process(work: Callable[P, Iterator[T]], *args: P.args, **kwargs: P.kwargs) -> Iterator[Iterator[T]]:
    """Give what `work(...)`, a function of a module, yields in a process of its own for the length of a block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(theirs, work, args, kwargs), daemon=True)
    process.start()
    theirs.close()
    try:
        yield _received(ours)
    finally:
        process.terminate()
        process.join()
        ours.close()


def _received(connection: Connection) -> Iterator[T]:
    """Yield what the other process sends until it ends."""
    with suppress(EOFError, OSError):
        while True:
            yield connection.recv()


def _run(
    connection: Connection, work: Callable[..., Iterator[T]], args: tuple[object, ...], kwargs: dict[str, object]
) -> None:
    """Send what a generator yields, in the second process; Ctrl-C at a terminal is the first one's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with suppress(Exception):
        for one in work(*args, **kwargs):
            connection.send(one)


def _end_with_parent() -> None:
    """End this process as soon as the one that began it is gone."""
    if parent := multiprocessing.parent_process():
        wait([parent.sentinel])
        os._exit(1)
