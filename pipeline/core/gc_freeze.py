"""Keep what is alive anyway out of the garbage collector's search.

Most of that are the libraries; leaving them out saves a tenth of the time that ingesting or indexing takes, and a
quarter of what a short command takes.
"""

import atexit
import contextlib
import gc
from collections.abc import Iterator

_NEW_OBJECTS = 50_000  # more than a chunk of rows has at once; Python's own is 700


@contextlib.contextmanager
def gc_frozen() -> Iterator[None]:
    """Freeze all that is alive now for the length of a block, in the whole process; a block inside changes nothing.

    What the block makes is looked through as seldom as in a command, and once more at its end.
    """
    if gc.get_freeze_count():
        yield
        return
    before = gc.get_threshold()
    gc.freeze()
    gc.collect()  # of nothing: else all is not looked through before as much is new as a quarter of what was found then
    gc.set_threshold(_NEW_OBJECTS)
    try:
        yield
    finally:
        gc.collect()  # what a next block would freeze
        gc.set_threshold(*before)
        gc.unfreeze()


def collect_new() -> None:
    """Look for garbage among what is new, at the end of one of many steps of such a block, when little is alive.

    What its statements and threads leave in circles, 80 KB a request file, is otherwise found at the block's end.
    """
    gc.collect(0)


def seldom_collect() -> None:
    """Let this process look for garbage after many new objects, and not once more when it ends.

    Importing makes many and no garbage; what must be closed or written at the end is so by its owner.
    """
    gc.set_threshold(_NEW_OBJECTS)
    atexit.register(gc.freeze)
