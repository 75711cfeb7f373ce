"""An hour in seconds: a clock that goes on when there is nothing but waiting, and moves the engine's along with it."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipeline.engine.workspace import OpenWorkspace
from tests.lab import Api, Workspace

NOON = datetime.now(UTC).replace(hour=20, minute=0, second=0) + timedelta(days=1)  # in California: no day ends soon
LIVE = ":generateContent"
CALL = "_guarded"  # the coroutine of one call
LOOK_S = 0.001
NOTICE_S = 0.01  # real seconds: after so long the engine has seen that its clock moved on


@dataclass
class Swift:
    """The clock, in seconds since noon. Where answers are `slow`, calls that stand at the engine let time pass."""

    seconds: float = 0.0
    api: Api | None = None
    slow: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def monotonic(self) -> float:
        """Return the seconds."""
        return self.seconds

    def now(self) -> datetime:
        """Return the time of day."""
        return NOON + timedelta(seconds=self.seconds)

    def go_on(self, seconds: float) -> None:
        """Let time pass, at the engine too."""
        self.seconds += seconds
        if self.api is not None:
            self.api.advance(seconds)

    def sleep(self, seconds: float) -> None:
        """Let time pass, for what sleeps in a thread of its own; a call of another thread comes along meanwhile."""
        with self._lock:
            self.go_on(seconds)
        time.sleep(LOOK_S)

    async def asleep(self, seconds: float) -> None:
        """Wait until every call stands still at the engine, or is over, and then let time pass."""
        while self._calls() > self._standing():  # noqa: ASYNC110 - the engine does not tell what it does
            await asyncio.sleep(LOOK_S)
        self.go_on(seconds)
        await asyncio.sleep(NOTICE_S if self.slow and self._calls() else 0)

    def _calls(self) -> int:
        """Return how many calls are under way."""
        return sum(CALL in repr(task.get_coro()) for task in asyncio.all_tasks())

    def _standing(self) -> int:
        """Return how many of them the engine has and does not answer yet."""
        if not self.slow or self.api is None:
            return 0
        entries = self.api.journal()
        return sum(entry["status"] is None and bool(entry["requests"] or entry["faults"]) for entry in entries)


@contextmanager
def engine(root: Path, clock: Swift, **settings: Any) -> Iterator[Api]:
    """Run an engine for the length of a block, which a clock moves along."""
    with Api(root, settings=settings) as clock.api:
        clock.api.advance((clock.now() - datetime.now(UTC)).total_seconds())
        clock.slow = bool(settings.get("latencies"))
        yield clock.api


@contextmanager
def opened(workspace: Workspace, clock: Swift, **values: str) -> Iterator[OpenWorkspace]:
    """Open a workspace on the clock's engine, with settings by their bare names, for the length of a block."""
    assert clock.api is not None
    environ = workspace.environ | {"GOOGLE_GEMINI_BASE_URL": clock.api.url}
    environ |= {"FINDABLE_CALL_TIMEOUT": "60", "FINDABLE_RETRY_FOR": "60", "FINDABLE_RETRY_WAIT": "1"}
    environ |= {"FINDABLE_POLL_PATIENCE": "300"}
    there = Workspace(workspace.data, environ | {f"FINDABLE_{name}": value for name, value in values.items()})
    with there.open() as ws:
        ws.monotonic, ws.now, ws.sleep, ws.asleep = clock.monotonic, clock.now, clock.sleep, clock.asleep
        yield ws


@dataclass(frozen=True)
class Counts:
    """What the engine served and refused in some time."""

    served: int
    refused: int


def by_time(api: Api, *, seconds: float = 60.0) -> list[Counts]:
    """Return the counts of each minute, or other time, since the first live call; the last one, cut off, left out."""
    entries = [entry for entry in api.seen("POST", LIVE) if entry["requests"] or entry["quota_ids"]]
    first = min(entry["at_ns"] for entry in entries)
    found = [(int((entry["at_ns"] - first) / (seconds * 1e9)), bool(entry["quota_ids"])) for entry in entries]
    last = max(place for place, _ in found)
    return [Counts(found.count((one, False)), found.count((one, True))) for one in range(last)]


def most_in_a_minute(api: Api) -> int:
    """Return the most that was served in any sixty seconds."""
    times: list[int] = sorted(
        entry["at_ns"] for entry in api.seen("POST", LIVE) if entry["requests"] and not entry["quota_ids"]
    )
    return max(sum(at - 60e9 < other <= at for other in times) for at in times)
