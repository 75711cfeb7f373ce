"""Write in one thread what many tasks want written: together in one transaction, where several wait.

No task holds a connection while it waits for anything, and a slow disk is waited for once by many. Each piece of work
has a savepoint of its own, so that one that fails takes nothing from the others.
"""

import asyncio
import contextlib
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self, TypeVar

if TYPE_CHECKING:
    from pipeline.store.database import Connection, Store


LAST_S = 1.0  # so long the end waits for another program that keeps the database, where it is in a hurry
TOGETHER = 50  # pieces of work in one transaction, which keeps other writers waiting for some milliseconds

T = TypeVar("T")


class _Work(NamedTuple):
    do: "Callable[[Connection], Any]"
    writes: bool
    end: "asyncio.Future[Any]"


class DbWriter:
    """Reads and writes in a thread of its own, for the length of an `async with`."""

    def __init__(self, store: "Store") -> None:
        """Take the store; nothing is begun."""
        self._store = store
        self._waiting: SimpleQueue[_Work | None] = SimpleQueue()
        self._hurries = False

    async def __aenter__(self) -> Self:
        """Begin to work."""
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        Thread(target=self._work, name="db-writer", daemon=True).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish what was asked for, and end; in a hurry, leave what cannot be finished soon."""
        self._waiting.put(None)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._over.wait(), LAST_S if self._hurries else None)

    def hurry(self) -> None:
        """Keep no caller waiting at the end: what is not written soon is lost, as if the process were killed."""
        self._hurries = True

    async def write(self, do: "Callable[[Connection], T]") -> T:
        """Do something in a transaction that writes, and return what it gave once that is committed.

        Raises:
            Exception: whatever `do` raised; then nothing of it was written.
        """
        return await self._ask(do, writes=True)

    async def read(self, do: "Callable[[Connection], T]") -> T:
        """Do something in a snapshot, and return what it gave."""
        return await self._ask(do, writes=False)

    async def _ask(self, do: "Callable[[Connection], T]", *, writes: bool) -> T:
        """Queue a piece of work and wait for its end; a task that is cancelled meanwhile does not stop it."""
        end: asyncio.Future[T] = self._loop.create_future()
        self._waiting.put(_Work(do, writes, end))
        return await end

    def _work(self) -> None:
        last = False
        while not last:
            some = [self._waiting.get()]
            while len(some) < TOGETHER and not self._waiting.empty():
                some.append(self._waiting.get())
            last = None in some
            work = [one for one in some if one is not None]
            for one in work:
                if not one.writes:
                    self._read(one)
            if writes := [one for one in work if one.writes]:
                self._write(writes)
        self._call_in_loop(self._over.set)

    def _read(self, work: _Work) -> None:
        try:
            with self._store.read() as tx:
                found = work.do(tx)
        except BaseException as error:  # noqa: BLE001 - raised again where it was asked for
            self._call_in_loop(_resolve, work, None, error)
        else:
            self._call_in_loop(_resolve, work, found, None)

    def _write(self, works: list[_Work]) -> None:
        """Do pieces of work in one transaction; each caller gets its result or error when it is committed."""
        given: list[tuple[_Work, Any, BaseException | None]] = []
        try:
            with self._store.write() as tx:
                for work in works:
                    try:
                        with self._store.part(tx):
                            given.append((work, work.do(tx), None))
                    except Exception as error:
                        if self._store.has_ended(tx):
                            raise
                        given.append((work, None, error))
        except BaseException as error:  # noqa: BLE001 - of the transaction: no work was kept
            given = [(work, None, error) for work in works]
        for work, value, failure in given:
            self._call_in_loop(_resolve, work, value, failure)

    def _call_in_loop(self, what: Callable[..., None], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):  # of a loop that waited no longer
            self._loop.call_soon_threadsafe(what, *arguments)


def _resolve(work: _Work, value: Any, failure: BaseException | None) -> None:
    if work.end.done():
        return
    if failure is not None:
        work.end.set_exception(failure)
    else:
        work.end.set_result(value)
