"""Do one thing after the other beside a caller who makes the next one ready."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager


@contextmanager
def done_beside() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Give what does one thing at a time in a thread of its own; all are done when the block ends.

    For what waits, for a disk or a server, or computes without the interpreter. An error is raised when the next thing
    is given, or at the end.
    """
    with ThreadPoolExecutor(1) as pool:
        done: Future[None] | None = None

        def begin(work: Callable[[], None]) -> None:
            nonlocal done
            if done is not None:
                done.result()
            done = pool.submit(work)

        yield begin
        if done is not None:
            done.result()
