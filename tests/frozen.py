"""What a process of tests imported, kept out of the garbage collector's search for good.

The product freezes what is alive for the length of long work, unless it finds something frozen, and to find it counts
all of it: a million objects here, which takes as long as a command does.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.core import gc_freeze


def freeze() -> None:
    """Freeze all that is alive now; the product need not ask whether something is."""
    gc.collect()
    gc.freeze()
    gc_freeze.gc_frozen = _as_it_is


@contextmanager
def _as_it_is() -> Iterator[None]:
    """Change nothing."""
    yield
