"""Ctrl-C inside an event loop, and in another thread than the main one, which alone gets signals.

A call in a thread is ended as Ctrl-C ends a command: what asks live lets its calls finish, what sleeps wakes up.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
_loops: dict[int, Callable[[], object]] = {}  # by the threads in which loops run: what an interrupt calls


def interrupt_thread(number: int) -> None:
    """Let the loop that runs in the thread with this id end in order; nothing where none runs."""
    if tell := _loops.get(number):
        tell()


@contextlib.contextmanager
def on_interrupt(on_signal: Callable[[], None]) -> Iterator[None]:
    """Call `on_signal` for each SIGINT and SIGTERM during a block, in the loop that runs it.

    What is ignored stays ignored. In another thread than the main one, it is called for each `interrupt_thread`.
    """
    loop = asyncio.get_running_loop()
    if threading.current_thread() is not threading.main_thread():
        number = threading.get_ident()
        _loops[number] = lambda: loop.call_soon_threadsafe(on_signal)
        try:
            yield
        finally:
            del _loops[number]
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in ours:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in ours:
            loop.remove_signal_handler(number)
            signal.signal(number, before[number])


class Stop:
    """What a call that may be interrupted sleeps with."""

    def __init__(self) -> None:
        """Begin with no interrupt."""
        self._event, self._thread = threading.Event(), 0

    def now(self) -> None:
        """End the call: its sleep, and its loop in order."""
        self._event.set()
        interrupt_thread(self._thread)

    def sleep(self, seconds: float) -> None:
        """Sleep.

        Raises:
            KeyboardInterrupt: the call was ended.
        """
        if self._event.wait(seconds):
            raise KeyboardInterrupt

    def run(self, call: "Callable[[Stop], T]") -> T:
        """Return what a call gives in this thread."""
        self._thread = threading.get_ident()
        return call(self)


def run_in_thread(call: Callable[[Stop], T]) -> T:
    """Return what a call gives in a thread of its own; the caller's thread waits, and its loop with it."""
    stop = Stop()
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(stop.run, call)
        while True:
            try:
                return ended.result()
            except KeyboardInterrupt:
                if ended.done():
                    raise
                stop.now()


async def await_in_thread(call: Callable[[Stop], T]) -> T:
    """Return what a call gives; the caller's event loop goes on meanwhile, and a cancelled caller waits for its end."""
    stop = Stop()
    ended = asyncio.get_running_loop().run_in_executor(None, stop.run, call)
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        stop.now()
        await asyncio.wait([ended])
        ended.exception()  # which is not told: the caller is cancelled
        raise
