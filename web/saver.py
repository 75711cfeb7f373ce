"""Save new people in the order in which they came, those that wait in one transaction, each in time or not at all.

However many come at once, each is answered within seconds: who cannot be saved by then is refused, and told so.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from web.problem import Refused

T = TypeVar("T")
R = TypeVar("R")
WITHIN_S = 6.0  # in which one is begun to be saved, or is refused
TOGETHER = 50  # that are saved in one transaction
MOST = 1000  # that wait at once
LATEST_S = 1.0  # so long those that were begun may wait for another writer past their time


@dataclass
class _Waiting(Generic[T]):
    """A body that is to be saved, until when that is to begin, and what comes of it."""

    body: bytes
    until: float
    saved: Future[T] = field(default_factory=Future)


class Saver(Generic[T]):
    """One thread that saves: a database has one writer at a time."""

    def __init__(
        self, save_all: Callable[[Sequence[bytes], float], Sequence[T | Exception]], within_s: float = WITHIN_S
    ) -> None:
        """Begin each within so many seconds.

        `save_all` gets bodies and for how many seconds it may wait for another writer; it returns of each what came of
        it, or why it was not saved.
        """
        self.within_s = within_s
        self._save_all = save_all
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="saving")
        self._queue: deque[_Waiting[T]] = deque()

    async def save(self, body: bytes) -> T:
        """Save a body once the thread is free, and return what came of it.

        Raises:
            Refused: too many wait, or it did not begin in time; it is not saved then.
        """
        if len(self._queue) >= MOST:
            raise _full()
        one = _Waiting[T](body, time.monotonic() + self.within_s)
        self._queue.append(one)
        self._pool.submit(self._save_some)
        waited = asyncio.wrap_future(one.saved)
        await asyncio.wait([waited], timeout=self.within_s)
        if one.saved.cancel():
            raise _full()
        return await waited

    async def after(self, do: Callable[[], R]) -> R:
        """Call `do` once all that wait by now are saved, for which it would keep them waiting."""
        return await asyncio.wrap_future(self._pool.submit(do))

    def close(self) -> None:
        """End the thread; what waits is not saved."""
        self._pool.shutdown(cancel_futures=True)

    def _save_some(self) -> None:
        """Save those that came first."""
        some = self._taken()
        if not some:  # they were saved with those before
            return
        found: Sequence[T | BaseException]
        try:
            found = self._save_all([one.body for one in some], max(0.0, some[0].until - time.monotonic()) + LATEST_S)
        except BaseException as error:  # noqa: BLE001 - raised where each is waited for
            found = [error] * len(some)
        for one, came in zip(some, found, strict=True):
            if isinstance(came, BaseException):
                one.saved.set_exception(came)
            else:
                one.saved.set_result(came)

    def _taken(self) -> list[_Waiting[T]]:
        """Return those that are saved now, which are refused no more."""
        some: list[_Waiting[T]] = []
        while self._queue and len(some) < TOGETHER:
            one = self._queue.popleft()
            if one.saved.set_running_or_notify_cancel():
                some.append(one)
        return some


def _full() -> Refused:
    return Refused(503, "more new people come than can be saved in time; this one was not", hint="send it again soon")
