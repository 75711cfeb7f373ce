"""Python's search for garbage in circles, kept to what a long piece of work makes itself.

Work on hundreds of thousands of rows makes and drops many objects; after every so many of them Python looks through all
that are alive, most of which are the libraries. Leaving those out is a tenth of what ingesting or indexing takes.
"""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def gc_frozen() -> Iterator[None]:
    """Leave all that is alive now out of the search for the length of a block; the whole process is concerned.

    Blocks within one another, and programs that leave objects out themselves, are let be.
    """
    if gc.get_freeze_count():
        yield
        return
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
