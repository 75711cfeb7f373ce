"""Run several calls at once, each in a thread of its own, and hand out what they give as they end.

The threads are daemons: an interrupt ends the caller at once, and with the process whatever is still under way.
"""

from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from threading import Thread
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")


def as_completed(calls: Iterable[tuple[K, Callable[[], T]]], *, width: int) -> Iterator[tuple[K, T]]:
    """Run calls, at most `width` at once, and yield (name, what it gave) of each as it ends.

    The next calls are asked for as there is room, in the caller's thread. After one has failed no other is begun; its
    error is raised when those under way have ended, so that nothing they gave is lost.
    """
    ended: SimpleQueue[tuple[K, T | None, BaseException | None]] = SimpleQueue()
    waiting, under_way, failure = iter(calls), 0, None

    def run(name: K, call: Callable[[], T]) -> None:
        try:
            given = call()
        except BaseException as error:  # noqa: BLE001 - raised again in the caller's thread
            ended.put((name, None, error))
        else:
            ended.put((name, given, None))

    while True:
        while failure is None and under_way < width and (one := next(waiting, None)) is not None:
            Thread(target=run, args=one, daemon=True).start()
            under_way += 1
        if not under_way:
            break
        name, given, error = ended.get()
        under_way -= 1
        if error is not None:
            failure = failure or error
        else:
            yield name, given  # type: ignore[misc]  # it gave something, or there was an error
    if failure is not None:
        raise failure
