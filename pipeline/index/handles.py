"""A file held open for reading at any place, whatever happens to its name meanwhile.

A file that was renamed or removed stays readable through its handle. That is why a reader of one build, or of one
state of the vector cache, always sees that one. The handle is closed when it is no longer used; closing it by hand
is allowed, not needed.
"""

import os
import weakref
from pathlib import Path

from pipeline.errors import InconsistentError


class ReadHandle:
    """One open file; reads are by offset, so threads and positions do not disturb one another."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            FileNotFoundError: there is no such file.
        """
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
        """Return exactly `size` bytes from `offset`.

        Raises:
            InconsistentError: the file ends before that.
        """
        data = os.pread(self.descriptor, size, offset)
        while len(data) < size:  # the system may hand out less at a time
            more = os.pread(self.descriptor, size - len(data), offset + len(data))
            if not more:
                raise InconsistentError(f"{self.path} ends after {self.size} bytes, before {offset + size}")
            data += more
        return data

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Fill `buffer` with the bytes from `offset`; new memory for every read would take longer than reading.

        Raises:
            InconsistentError: the file ends before that.
        """
        done = 0
        while done < len(buffer):
            more = os.preadv(self.descriptor, [buffer[done:]], offset + done)
            if not more:
                raise InconsistentError(f"{self.path} ends after {self.size} bytes, before {offset + len(buffer)}")
            done += more

    def close(self) -> None:
        """Give the file back to the system; doing it twice is no harm."""
        self._close()
