"""Run a call in a thread of its own, where the caller's thread has an event loop that runs, and end it with the caller.

Asking live runs an event loop, and a thread has one at a time. An interrupt of the caller, or the end of its task, ends
the call as Ctrl-C ends a command; the caller goes on when it has ended.
"""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from pipeline.live.interrupts import interrupt_thread

T = TypeVar("T")


class Stop:
    """What a call that may be interrupted sleeps with."""

    def __init__(self) -> None:
        """Begin with no interrupt."""
        self._event = threading.Event()

    def wake(self) -> None:
        """End the sleep that is under way: an interrupt of the thread is raised when it is awake."""
        self._event.set()

    def sleep(self, seconds: float) -> None:
        """Sleep.

        Raises:
            KeyboardInterrupt: the call was interrupted before.
        """
        if self._event.is_set():
            raise KeyboardInterrupt
        self._event.wait(seconds)


class _Running(Generic[T]):
    """One call in its thread."""

    def __init__(self, call: Callable[[Stop], T]) -> None:
        """Begin the call."""
        self.ended: Future[T] = Future()
        self._stop, self._call = Stop(), call
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            given = self._call(self._stop)
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            self.ended.set_exception(error)
        else:
            self.ended.set_result(given)

    def interrupt(self) -> None:
        """End the call where it stands, or the second time what is under way in it."""
        if self._thread.ident is not None and not self.ended.done():
            interrupt_thread(self._thread.ident)
        self._stop.wake()


def run_in_thread(call: Callable[[Stop], T]) -> T:
    """Return what a call gives; the caller's thread waits, and its event loop, if one runs, with it."""
    running = _Running(call)
    while True:
        try:
            return running.ended.result()
        except KeyboardInterrupt:
            if running.ended.done():
                raise
            running.interrupt()


async def await_in_thread(call: Callable[[Stop], T]) -> T:
    """Return what a call gives; the caller's event loop goes on meanwhile, and a cancelled caller waits for its end."""
    running = _Running(call)
    ended = asyncio.wrap_future(running.ended)
    try:
        return await asyncio.shield(ended)
    except asyncio.CancelledError:
        running.interrupt()
        await asyncio.wait([ended])
        ended.exception()  # which is not told: the caller is cancelled
        raise
