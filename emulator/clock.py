"""The engine's clock: the system's, moved on by what a control call asked for.

Files expire after 48 hours and batches too; a test that waits for that moves the clock instead. The offset is kept
in the database, so that every host of the same state sees the same time.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from emulator.database import Database
from emulator.errors import invalid

SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 3600 * SECOND_NS
LAST_NS = 7_258_118_400 * SECOND_NS
"""The year 2200; nanoseconds since 1970 fit into 64 bits until 2262."""
PACIFIC = ZoneInfo("America/Los_Angeles")
"""Where the day of a daily quota begins (rate limits page, read 2026-11)."""
_LOOK_S = 0.003


class Clock:
    """Tells the time in nanoseconds since 1970, real time plus the offset all hosts share."""

    def __init__(self, database: Database, *, read_ns: Callable[[], int] = time.time_ns) -> None:
        """Read real time from `read_ns` and the offset from `database`."""
        self._database = database
        self._read_ns = read_ns
        self._offset_ns = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self.now_ns()

    def now_ns(self) -> int:
        """Return the time in nanoseconds since 1970."""
        self._offset_ns = int(self._database.fact("clock_offset_ns", default="0"))
        return self._read_ns() + self._offset_ns

    def about_ns(self) -> int:
        """Return the time without asking the database: a move by another host since `now_ns` is missing from it."""
        return self._read_ns() + self._offset_ns

    async def reach(self, moment_ns: int) -> None:
        """Wait until the clock shows `moment_ns`, however it gets there; other requests go on meanwhile.

        A clock does not tell that it moved: one look every few milliseconds, for all who wait, sees it. Must be called
        on one and the same event loop.
        """
        if moment_ns <= self.about_ns():
            return
        loop = asyncio.get_running_loop()
        reached: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._waiting, (moment_ns, next(self._numbers), reached))
        if len(self._waiting) == 1:
            self._look(loop)
        await reached

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let those go whose moment has come, and look again soon while some wait."""
        while self._waiting and self._waiting[0][0] <= self.about_ns():
            reached = heapq.heappop(self._waiting)[2]
            if not reached.done():
                reached.set_result(None)
        if self._waiting:
            loop.call_later(_LOOK_S, self._look, loop)

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
        self.now_ns()


def timestamp(moment_ns: int) -> str:
    """Return RFC 3339 in UTC with nine fractional digits and a Z, as Google writes times."""
    seconds, fraction = divmod(moment_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{fraction:09d}Z"


def pacific_day(moment_ns: int) -> date:
    """Return the day it is on Pacific time."""
    return datetime.fromtimestamp(moment_ns // SECOND_NS, tz=PACIFIC).date()


def next_pacific_midnight_ns(moment_ns: int) -> int:
    """Return when the Pacific day of a moment is over; days of 23 and 25 hours are right."""
    tomorrow = pacific_day(moment_ns) + timedelta(days=1)
    midnight = datetime(tomorrow.year, tomorrow.month, tomorrow.day, tzinfo=PACIFIC)
    return int(midnight.timestamp()) * SECOND_NS
