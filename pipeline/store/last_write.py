"""Tell whether a database file was written to, by what the system says of it, without a connection to it."""

import contextlib
import time
from pathlib import Path
from typing import NamedTuple

JUST_NS = 100_000_000  # a write so short a time ago may be followed by one of the same time, told by ticks of a clock


class LastWrite(NamedTuple):
    """Which file a database is, and what is another once it was written to; None where that cannot be told."""

    file: tuple[int, int] | None = None
    mark: tuple[tuple[int, int, int], ...] | None = None


def last_write_to(path: Path) -> LastWrite:
    """Return what is known of an SQLite file and its journal; neither is opened, which would end SQLite's locks."""
    found = []
    for one in (path, Path(f"{path}-wal")):
        with contextlib.suppress(OSError):
            found.append(one.stat())
    if not found:
        return LastWrite()
    file = (found[0].st_dev, found[0].st_ino)
    if time.time_ns() - max(one.st_mtime_ns for one in found) < JUST_NS:
        return LastWrite(file)
    return LastWrite(file, tuple((one.st_ino, one.st_size, one.st_mtime_ns) for one in found))
