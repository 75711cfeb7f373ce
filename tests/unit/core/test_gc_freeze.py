"""What is alive at the beginning of long work is not searched for garbage until its end."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from pipeline.core.gc_freeze import gc_frozen  # itself, before it is another's


@pytest.fixture(autouse=True)
def _nothing_frozen() -> Iterator[None]:
    """Begin with nothing left out, and leave out again what was."""
    gc.unfreeze()
    yield
    gc.freeze()


def test_what_was_there_is_left_out_until_the_end() -> None:
    """Inside nothing that was alive is looked at; afterwards all is again, after an error or an inner block too."""
    before = gc.get_freeze_count()
    with pytest.raises(KeyError), gc_frozen():
        with gc_frozen():
            pass
        inside = gc.get_freeze_count()
        raise KeyError
    assert (before, inside > 0, gc.get_freeze_count()) == (0, True, 0)


def test_what_a_block_leaves_in_circles_goes_with_it() -> None:
    """Garbage that only the collector finds is not frozen by the next block, which would keep it."""
    with gc_frozen():
        one = _Linked()
        one.other = one
        left = weakref.ref(one)
        del one
    assert left() is None


class _Linked:
    """Knows another one."""

    other: "_Linked"
