"""Save new people in the order in which they came, each in time or not at all.

However many come at once, each is answered within seconds: who cannot be saved by then is refused, and told so.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from web.problem import Refused

T = TypeVar("T")
WITHIN_S = 6.0  # in which one is begun to be saved, or is refused
USUAL_S = 0.02  # what one takes, until it is known
WEIGHT = 0.2  # of the newest in what one takes in the mean
LATEST_S = 1.0  # so long one that was begun may wait for another writer past its time


class Saver:
    """One thread that saves: a database has one writer at a time."""

    def __init__(self, within_s: float = WITHIN_S) -> None:
        """Begin each within so many seconds."""
        self.within_s = within_s
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="saving")
        self._lock = threading.Lock()
        self._waiting, self._takes_s = 0, USUAL_S

    async def save(self, do: Callable[[float], T]) -> T:
        """Call `do` with the seconds that it may wait for another writer, once the thread is free; return its result.

        Raises:
            Refused: it would not begin in time, or did not; it is not called then.
        """
        if self._waiting * self._takes_s > self.within_s:
            raise _full()
        until = time.monotonic() + self.within_s
        with self._lock:
            self._waiting += 1
        saving = self._pool.submit(self._timed, do, until)
        try:
            waited = asyncio.wrap_future(saving)
            await asyncio.wait([waited], timeout=self.within_s)
            if saving.cancel():
                raise _full()
            return await waited
        finally:
            with self._lock:
                self._waiting -= 1

    async def after(self, do: Callable[[], T]) -> T:
        """Call `do` once all that wait by now are saved, for which it would keep them waiting."""
        return await asyncio.wrap_future(self._pool.submit(do))

    def close(self) -> None:
        """End the thread; what waits is not called."""
        self._pool.shutdown(cancel_futures=True)

    def _timed(self, do: Callable[[float], T], until: float) -> T:
        """Call it, and learn how long one takes."""
        began = time.monotonic()
        try:
            return do(max(0.0, until - began) + LATEST_S)
        finally:
            self._takes_s += WEIGHT * (time.monotonic() - began - self._takes_s)


def _full() -> Refused:
    return Refused(503, "more new people come than can be saved in time; this one was not", hint="send it again soon")
