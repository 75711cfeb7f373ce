"""Read a file that may be an image: a regular one, without waiting or following a link, unchanged while it is read."""

import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pipeline.engine.pictures import MAX_BYTES, PictureError

UNPRINTED = "its name holds a line end or another character that is not printed"
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # not what cameras and systems name files with, as U+202F
_HEAD = 16  # bytes in which a file says that it may be an image


class NoFileError(PictureError):
    """A path leads to no regular file."""


class ChangedError(PictureError):
    """A file changed while it was read."""


class Stamp(NamedTuple):
    """What tells that a file is the one that was read: its size, and when it and its entry were changed last, in ns."""

    size: int
    changed: int
    moved: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Stamp":
        """Return the stamp that a look at a file gives."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def is_printed(path: str) -> bool:
    """Return whether a path stands on one line, wherever it is shown."""
    return _CONTROLS.search(path) is None


def read_file(
    path: str | Path, *, is_wanted: Callable[[bytes], object] = lambda _head: True
) -> tuple[bytes, Stamp] | None:
    """Return the bytes of a file and its stamp, one byte more than `MAX_BYTES` at most; None where it is not wanted.

    `is_wanted` is asked about the first 16 bytes.

    Raises:
        NoFileError: it is a folder, a device or a pipe.
        ChangedError: it changed meanwhile.
        OSError: it cannot be read, or is a link.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        before = Stamp.of(os.fstat(file.fileno()))
        data = file.read(_HEAD)
        if not is_wanted(data):
            return None
        data += file.read(MAX_BYTES + 1 - len(data))
        after = Stamp.of(os.fstat(file.fileno()))
    if before != after or len(data) != min(after.size, MAX_BYTES + 1):
        raise ChangedError("it changed while it was read")
    return data, after


def _without_waiting(path: str, flags: int) -> int:
    """Open a file, never waiting for a writer of a pipe; a link in its place is not followed."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoFileError("it is no file but a folder, a device or a pipe")
    return descriptor
