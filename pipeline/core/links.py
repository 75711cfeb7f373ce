"""Replace links in one rename, remove directories as a whole, and hold files open for reading.

A link is replaced by renaming another one over it, so that it leads to the old target or to the new one; a link of a
process that died before ends in `BESIDE`, and `Builds.sweep` removes it. A file that was renamed or removed stays
readable through its `ReadHandle`, so that a reader of one build, or of one state of the vector cache, sees that one.
"""

import contextlib
import os
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path

from pipeline.core import files
from pipeline.core.errors import InconsistentError

BESIDE = ".link-part"  # the ending of a link that has not taken its place yet


def replace_link(path: Path, target: Path) -> None:
    """Make `path` a link to `target` in one rename, on disk when this returns."""
    beside = path.with_name(f"{path.name}.{os.getpid()}{BESIDE}")
    beside.unlink(missing_ok=True)
    try:
        beside.symlink_to(target)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)  # where it could not take its place
    files.sync_directory(path.parent)


def move_aside(path: Path) -> str | None:
    """Rename what stands at `path` to the first free `<name>.bak-<n>` and return that; None where nothing stands."""
    if not os.path.lexists(path):
        return None
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.bak-{number}")):
        number += 1
    path.rename(aside)
    return aside.name


def remove_link(path: Path) -> None:
    """Remove a directory with all that is in it, or a file or link; nothing there is no harm."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def staging_of(path: Path) -> Path:
    """Make and return an empty folder beside `path` for what is not whole yet; what dead processes left there goes."""
    for part in path.parent.glob(f"{path.name}.*{files.PART}"):
        if part.is_dir() and files.is_abandoned(part):
            remove_link(part)
    staging = files.part_of(path)
    staging.mkdir(parents=True)
    return staging


@contextlib.contextmanager
def removed_on_error(directory: Path) -> Iterator[None]:
    """Remove `directory` when the block fails or is interrupted."""
    try:
        yield
    except BaseException:
        remove_link(directory)
        raise


class ReadHandle:
    """One open file; reads are by offset, so threads and positions do not disturb one another."""

    def __init__(self, path: Path) -> None:
        """Open the file."""
        self.path = path
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self._close = weakref.finalize(self, os.close, self.descriptor)
        found = os.fstat(self.descriptor)
        self.identity = (found.st_dev, found.st_ino)  # no other file has it while this one is open

    @property
    def size(self) -> int:
        """How many bytes the file has now."""
        return os.fstat(self.descriptor).st_size

    def read(self, size: int, offset: int) -> bytes:
        """Return exactly `size` bytes from `offset`; raises what `read_into` does."""
        data = bytearray(size)
        self.read_into(memoryview(data), offset)
        return bytes(data)

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` with the bytes from `offset`; raise InconsistentError where the file ends before."""
        done = 0
        while done < len(buffer):  # the system may read less at a time
            more = os.preadv(self.descriptor, [buffer[done:]], offset + done)
            if not more:
                raise InconsistentError(f"{self.path} ends after {self.size} bytes, before {offset + len(buffer)}")
            done += more

    def close(self) -> None:
        """Close the file, which also happens when the handle is no longer used; twice is no harm."""
        self._close()
