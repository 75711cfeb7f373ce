"""What is done beside a caller: one thing after the other, all of it before the block ends, and no error lost."""

import threading
from functools import partial

import pytest

from pipeline.core.beside import done_beside


def test_things_are_done_in_order_and_beside_the_caller() -> None:
    """The caller goes on while the first one waits for it; at the end all are done, each after the one before."""
    done, going_on = list[int](), threading.Event()

    def first() -> None:
        """Wait for the caller."""
        assert going_on.wait(10)
        done.append(0)

    with done_beside() as begin:
        begin(first)
        going_on.set()
        for number in range(1, 20):
            begin(partial(done.append, number))
    assert done == list(range(20))


@pytest.mark.parametrize("more", [0, 1])
def test_an_error_is_raised(more: int) -> None:
    """When the next thing is given, which is not begun then, or at the end."""

    def fail() -> None:
        """Be a full disk."""
        raise OSError(28, "No space left on device")

    done = list[int]()
    with pytest.raises(OSError, match="No space left"), done_beside() as begin:
        begin(fail)
        for number in range(more):
            begin(partial(done.append, number))
    assert not done


def test_nothing_is_under_way_after_an_error_of_the_caller() -> None:
    """What was begun is over when the block ends, whichever way."""
    done = list[str]()
    with pytest.raises(ValueError, match="mine"), done_beside() as begin:
        begin(partial(done.append, "begun"))
        raise ValueError("mine")
    assert done == ["begun"]
