"""Workspaces and searches that stay open while requests come: opening one costs more than most requests ask.

One request at a time has each. Once a second what other commands did to the whole of it (bind it, add a task) is taken
up; what no request wanted for a second is closed, so that it can be restored. A few to read are enough: more at once
would only share the processor.
"""

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

KEPT_S = 1.0  # without a request
FRESH_S = 1.0  # in which one is as it was found
AT_ONCE = 4  # reading requests for one purpose; those that come then wait

T = TypeVar("T")


@dataclass
class _Open(Generic[T]):
    """What is open, what closes it, when it was last found to be as it would be opened, and since when it waits."""

    it: T
    closing: contextlib.ExitStack
    found: float = field(default_factory=time.monotonic)
    waits: float = field(default_factory=time.monotonic)

    @property
    def is_idle(self) -> bool:
        """Whether it waits for too long."""
        return time.monotonic() - self.waits > KEPT_S

    def renewed(self, renew: Callable[[T], bool]) -> bool:
        """Return whether it is as it would be opened now, where need be because it was renewed; else it is closed."""
        if (now := time.monotonic()) - self.found <= FRESH_S:
            return True
        with contextlib.ExitStack() as closes_it:
            closes_it.push(self.closing)
            if renew(self.it):
                closes_it.pop_all()
                self.found = now
                return True
        return False


class Kept(Generic[T]):
    """What waits for the next request, by what it was opened for."""

    def __init__(self) -> None:
        """Begin with none."""
        self._free: dict[Hashable, list[_Open[T]]] = {}
        self._turns: dict[Hashable, threading.Semaphore] = defaultdict(partial(threading.Semaphore, AT_ONCE))
        self._lock = threading.Lock()
        self._sweeps: threading.Timer | None = None

    @contextlib.contextmanager
    def taken(
        self,
        purpose: Hashable,
        opens: Callable[[], contextlib.AbstractContextManager[T]],
        renew: Callable[[T], bool],
        *,
        in_turn: bool = True,
    ) -> Iterator[T]:
        """Give what waits for the length of a block, or what is opened then; an error closes it.

        `renew` brings up to date what is open for some time; where it returns False, that is opened anew.
        """
        with self._turn(purpose) if in_turn else contextlib.nullcontext():
            one = self._waiting(purpose)
            if one is None or not one.renewed(renew):
                one = self._opened(opens)
            try:
                yield one.it
            except BaseException:
                one.closing.close()
                raise
            self._put_back(purpose, one)

    def _turn(self, purpose: Hashable) -> threading.Semaphore:
        with self._lock:
            return self._turns[purpose]

    def close(self) -> None:
        """Close those that wait."""
        with self._lock:
            if self._sweeps is not None:
                self._sweeps.cancel()
                self._sweeps = None
            found = [one for some in self._free.values() for one in some]
            self._free.clear()
        for one in found:
            one.closing.close()

    def _waiting(self, purpose: Hashable) -> _Open[T] | None:
        with self._lock:
            some = self._free.get(purpose, [])
            return some.pop() if some else None

    @staticmethod
    def _opened(opens: Callable[[], contextlib.AbstractContextManager[T]]) -> _Open[T]:
        with contextlib.ExitStack() as stack:
            it = stack.enter_context(opens())
            return _Open(it, stack.pop_all())

    def _put_back(self, purpose: Hashable, one: _Open[T]) -> None:
        """Let one wait for the next request."""
        one.waits = time.monotonic()
        with self._lock:
            self._free.setdefault(purpose, []).append(one)
            if self._sweeps is None:
                self._sweep_later()

    def _sweep_later(self) -> None:
        self._sweeps = threading.Timer(KEPT_S, self._sweep)
        self._sweeps.daemon = True
        self._sweeps.start()

    def _sweep(self) -> None:
        """Close those that waited for too long, and look again while some wait."""
        with self._lock:
            old = [one for some in self._free.values() for one in some if one.is_idle]
            self._free = {purpose: [one for one in some if not one.is_idle] for purpose, some in self._free.items()}
            self._sweeps = None
            if any(self._free.values()):
                self._sweep_later()
        for one in old:
            one.closing.close()
