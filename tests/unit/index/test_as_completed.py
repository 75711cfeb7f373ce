"""Calls side by side: how many at once, what they give, and what becomes of a failure."""

import threading
from collections.abc import Callable, Iterator

from pipeline.index.embed import as_completed


def test_as_many_as_asked_for_are_under_way_at_once() -> None:
    """Three calls that wait for each other end, for they run at the same time."""
    together = threading.Barrier(3, timeout=20)
    found = dict(as_completed(((name, together.wait) for name in range(3)), width=3))
    assert sorted(found) == [0, 1, 2]


def test_never_more_are_under_way() -> None:
    """Of many calls the next is asked for only as there is room, and without calls there is nothing to wait for."""
    begun, ended, most = 0, 0, 0

    def calls() -> Iterator[tuple[int, Callable[[], int]]]:
        nonlocal begun, most
        for name in range(20):
            begun += 1
            most = max(most, begun - ended)
            yield name, lambda: 7

    for _, given in as_completed(calls(), width=4):
        ended += 1
        assert given == 7
    assert (begun, most) == (20, 4)
    assert list(as_completed(iter(()), width=3)) == []
