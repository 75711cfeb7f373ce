"""How the service is that answers our own calls: how many it gets at once, and when a run gives up.

What fails for one row is charged to that row. What fails for the service's sake is not: all calls wait longer with each
failure in a row, one is made at a time while nothing comes back, and where nothing comes for too long the run ends.
"""

import math
from collections.abc import Callable

from pipeline.core.errors import FindableError, RemoteError, ThrottledError
from pipeline.core.states import Mode
from pipeline.engine.workspace import WorkspaceSession
from pipeline.gemini.client import FLEX_S
from pipeline.gemini.pace import RateLimiter
from pipeline.store import batches

MOST = 64  # ours: more calls at once than this is no ordinary use of a live API
STALL_S = 30.0  # calls are under way, and none succeeded for so long: one at a time
TROUBLES = 3  # failures in a row, after which one call at a time is made, and patience may end
LONGEST_PAUSE_S = 60.0
FLEX_CALL_S = (
    60.0  # ours: what a call by flex takes before any was measured; it aims at 1 to 15 minutes
)
SHED = (503,)  # the HTTP code by which flex has no room; its 429 are waited for as all others are
SHED_FOR_S = 3_600.0  # ours: flex sheds what it has no room for, and is tried again for so long without any answer


def calls_at_once(ws: WorkspaceSession, mean_s: float) -> int:
    """Return how many calls of so many seconds may be under way: those that may begin in the time that one takes."""
    first = ws.settings.concurrency
    rpm = ws.limits.rpm
    needed = math.ceil(rpm / 60 * mean_s) if rpm is not None and first > 1 else 0
    return max(first, min(MOST, needed))


class LiveThrottle:
    """How many calls may be under way, and until when all wait; one that `hurries` gives up at a second refusal."""

    def __init__(
        self,
        ws: WorkspaceSession,
        end: Callable[[FindableError], None],
        way: Mode,
        *,
        hurries: bool,
    ) -> None:
        """Begin with a service that is taken to be well."""
        self._ws = ws
        self._end = end
        self._hurries = hurries
        is_flex = way is Mode.FLEX
        self._shed_for_s = SHED_FOR_S if is_flex else 0.0
        self._stall_s = FLEX_S if is_flex else STALL_S
        self.pace = RateLimiter(ws.limits, at=ws.monotonic())
        with ws.store.read() as tx:
            self._mean_s = batches.call_seconds(tx, ws.model.name, way) or (
                FLEX_CALL_S if is_flex else 0.0
            )
        self.hold_until = self._quiet_since = ws.monotonic()
        self._throttled = 0
        self.has_answered = False
        self._is_stalled = False
        self.down: RemoteError | None = None  # how the service failed the last call
        self._troubles = 0
        self._trouble_at = -math.inf
        self._trouble_about = ""
        self._failing_since = self._throttled_since = math.inf

    def patience_s(self, error: RemoteError) -> float:
        """Return how long, in seconds, what fails so is tried again."""
        return max(self._shed_for_s if error.code in SHED else 0.0, self._ws.settings.retry_for)

    def at_once(self, *, in_flight: int) -> int:
        """Return how many calls may be under way now."""
        if not in_flight:
            self._quiet_since = self._ws.monotonic()
        return (
            1
            if self._is_stalled or self._troubles >= TROUBLES
            else calls_at_once(self._ws, self._mean_s)
        )

    def look(self, *, in_flight: int) -> None:
        """Say where the run has just stalled; time without a call under way is none."""
        if (
            not self._is_stalled
            and in_flight
            and self._ws.monotonic() - self._quiet_since >= self._stall_s
        ):
            self._is_stalled = True
            self._ws.display.warn(
                f"no answer for {self._stall_s:.0f} s: one call at a time until one comes"
            )

    def answered(self, *, took_s: float) -> None:
        """Take an answer, whatever it says."""
        self.pace.succeeded()
        self._quiet_since = self._ws.monotonic()
        if self._is_stalled:
            self._ws.display.say("answers come again: several calls at once")
        self._mean_s += (took_s - self._mean_s) / (20 if self.has_answered else 1)
        self.has_answered = True
        self._is_stalled = False
        self._troubles = 0
        self.down = None
        self._failing_since = self._throttled_since = math.inf

    def refused(self, error: ThrottledError) -> None:
        """Take a refusal for a quota: that of the day ends the run, and so does one that never passes."""
        now = self._ws.monotonic()
        self._throttled += 1
        self._throttled_since = min(self._throttled_since, now)
        is_lasting = now - self._throttled_since > max(
            self._shed_for_s, self._ws.settings.poll_patience
        )
        if error.resets_at is not None or is_lasting or (self._hurries and self._throttled > 1):
            self._end(error)
        self.pace.refused(at=now, delay_s=error.retry_after_s)

    def failed(self, error: RemoteError, *, began: float, about: str) -> None:
        """Take a failure of the service: all wait longer and longer, and give up when nothing comes for too long.

        Calls that were under way together fail together, and that is one trouble: another try must fail, too. Those
        `about` one item in a row are one as well, for it may be the item's.
        """
        settings = self._ws.settings
        now = self._ws.monotonic()
        self.down, self._failing_since = error, min(self._failing_since, now)
        if began >= self._trouble_at and about != self._trouble_about:
            self._troubles = self._troubles + 1
            self._trouble_at = now
            self._trouble_about = about
        if self._troubles > 1:
            self.hold_until = now + min(
                LONGEST_PAUSE_S, settings.retry_wait * 2.0 ** min(self._troubles - 2, 10)
            )
        if self._troubles >= TROUBLES and now - self._failing_since > self.patience_s(error):
            self._end(error)
