"""The engine's clock: the system's, moved on by what a control call asked for.

Files expire after 48 hours and batches too; a test that waits for that moves the clock instead. The offset is kept
in the database, so that every host of the same state sees the same time.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime

from emulator.database import Database
from emulator.errors import invalid

SECOND_NS = 1_000_000_000
HOUR_NS = 3600 * SECOND_NS
LAST_NS = 7_258_118_400 * SECOND_NS
"""The year 2200; nanoseconds since 1970 fit into 64 bits until 2262."""


class Clock:
    """Tells the time in nanoseconds since 1970, real time plus the offset all hosts share."""

    def __init__(self, database: Database, *, read_ns: Callable[[], int] = time.time_ns) -> None:
        """Read real time from `read_ns` and the offset from `database`."""
        self._database = database
        self._read_ns = read_ns

    def now_ns(self) -> int:
        """Return the time in nanoseconds since 1970."""
        return self._read_ns() + int(self._database.fact("clock_offset_ns", default="0"))

    def advance(self, *, seconds: float) -> None:
        """Move the clock of every host by `seconds`, for good.

        Raises:
            ApiError: 400 where that leaves the years that can be told, 1970 to 2199.
        """
        with self._database.transaction():
            offset = int(self._database.fact("clock_offset_ns", default="0"))
            if not 0 <= self._read_ns() + offset + seconds * SECOND_NS < LAST_NS:
                raise invalid(f"the clock cannot be moved by {seconds!r} seconds: it shows 1970 to 2199")
            self._database.set_fact("clock_offset_ns", str(offset + int(seconds * SECOND_NS)))


def timestamp(moment_ns: int) -> str:
    """Return RFC 3339 in UTC with nine fractional digits and a Z, as Google writes times."""
    seconds, fraction = divmod(moment_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"
