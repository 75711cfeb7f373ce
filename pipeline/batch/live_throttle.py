"""Throttle live calls and decide when a live run stops.

A failed row is charged in batch/live.py. Failures of the service are handled here:

- All calls wait longer after each failure in a row.
- Calls are made one at a time while no reply arrives.
- The run stops if no call succeeds for RETRY_FOR seconds (flex: one hour), or on a daily quota.
"""

import math
from collections.abc import Callable

from pipeline.core.errors import FindableError, RemoteError, ThrottledError
from pipeline.core.states import Mode
from pipeline.engine.session import WorkspaceSession
from pipeline.gemini.client import FLEX_TIMEOUT_S
from pipeline.gemini.pace import RateLimiter
from pipeline.store import batches

# Our own bound: more parallel calls are no ordinary use of a live API.
MAX_LIVE_CALLS = 64
# If no call succeeds for this time while calls are running, calls are made one at a time.
STALL_S = 30.0
# After this many failures in a row calls are made one at a time, and the run may stop.
MAX_PARALLEL_FAILURES = 3
MAX_PAUSE_S = 60.0
# Our own estimate of a flex call before any was measured; Gemini aims at 1 to 15 minutes.
FLEX_CALL_S = 60.0
# Flex returns this code if it has no capacity. It returns 429 only for a quota, as other modes do.
FLEX_SHED_CODES = (503,)
# Our own bound: how long flex calls without capacity are repeated before the run stops.
FLEX_RETRY_S = 3_600.0
# Weight of a new call in the moving average of call durations, after the first call.
DURATION_WEIGHT = 1 / 20
# The exponent at which the pause after failures stops to double.
MAX_BACKOFF_EXPONENT = 10


def max_parallel_calls(ws: WorkspaceSession, mean_s: float) -> int:
    """Return how many calls may run in parallel if a call takes `mean_s` seconds.

    It is CONCURRENCY, or as many calls as the requests per minute allow if that is more, up to
    MAX_LIVE_CALLS. CONCURRENCY=1 stays 1. Without a limit of requests per minute it is CONCURRENCY.
    """
    concurrency = ws.settings.concurrency
    max_requests = ws.limits.rpm
    if max_requests is None or concurrency <= 1:
        return max(concurrency, 0)

    started_during_one_call = math.ceil(max_requests / 60 * mean_s)
    return max(concurrency, min(MAX_LIVE_CALLS, started_during_one_call))


class LiveThrottle:
    """Number of calls that may run in parallel, and the time until which all calls wait."""

    def __init__(
        self,
        ws: WorkspaceSession,
        stop_run: Callable[[FindableError], None],
        mode: Mode,
        *,
        hurries: bool,
    ) -> None:
        """Start with a service that is assumed to work.

        Reads the measured duration of past calls of the model and mode.

        Args:
            stop_run: Stops the run with an error.
            mode: The mode of the run. Flex has longer times for stalls and retries.
            hurries: Stop the run at the second 429.
        """
        self._ws = ws
        self._stop_run = stop_run
        self._hurries = hurries
        is_flex = mode is Mode.FLEX
        self._shed_retry_s = FLEX_RETRY_S if is_flex else 0.0
        self._stall_s = FLEX_TIMEOUT_S if is_flex else STALL_S
        self.rate_limiter = RateLimiter(ws.limits, at=ws.monotonic())
        with ws.store.read() as tx:
            measured_s = batches.mean_call_seconds(tx, ws.model.name, mode)
        default_s = FLEX_CALL_S if is_flex else 0.0
        # Moving average of the duration of a call.
        self._mean_call_s = measured_s or default_s
        # Monotonic time until which no call starts.
        self.hold_until = ws.monotonic()
        # Monotonic time since which calls are running and none succeeded.
        self._unanswered_since = self.hold_until
        # 429s since the start of the run.
        self._throttled_count = 0
        self.has_answered = False
        self._is_stalled = False
        # The error of the last call, or None if it succeeded.
        self.last_failure: RemoteError | None = None
        # Failures in a row. Calls that ran in parallel and fail together count as a single failure.
        self._failure_count = 0
        self._failed_at = -math.inf
        self._failed_row = ""
        # Monotonic times of the first failure and the first 429 since the last success.
        self._failing_since = math.inf
        self._throttled_since = math.inf

    def patience_s(self, error: RemoteError) -> float:
        """Return the seconds for which a call that fails with this error is repeated."""
        shed_retry_s = self._shed_retry_s if error.code in FLEX_SHED_CODES else 0.0
        return max(shed_retry_s, self._ws.settings.retry_for)

    def max_parallel(self, *, in_flight: int) -> int:
        """Return how many calls may run in parallel now, if `in_flight` calls are running."""
        if not in_flight:
            # Time without a running call is no stall.
            self._unanswered_since = self._ws.monotonic()
        if self._is_stalled or self._failure_count >= MAX_PARALLEL_FAILURES:
            return 1
        return max_parallel_calls(self._ws, self._mean_call_s)

    def silent_s(self, *, in_flight: int) -> float:
        """Return for how many seconds no running call succeeded; 0 without a running call."""
        if not in_flight:
            return 0.0
        return self._ws.monotonic() - self._unanswered_since

    def check_stall(self, *, in_flight: int) -> None:
        """Switch to serial calls, with a warning, if no running call succeeds for long.

        Long is STALL_S seconds (flex: the time-out of a call). Does nothing without a running call.
        """
        if self._is_stalled or not in_flight:
            return
        if self._ws.monotonic() - self._unanswered_since >= self._stall_s:
            self._is_stalled = True
            self._ws.display.warn(
                f"no answer for {self._stall_s:.0f} s: one call at a time until one comes",
            )

    def note_answer(self, *, took_s: float) -> None:
        """Note a call with a reply, valid or not: failures and stalls are over.

        Updates the moving average of call durations. The end of a stall is printed.

        Args:
            took_s: Duration of the call.
        """
        self.rate_limiter.succeeded()
        self._unanswered_since = self._ws.monotonic()
        if self._is_stalled:
            self._ws.display.say("answers come again: several calls at once")
        weight = DURATION_WEIGHT if self.has_answered else 1
        self._mean_call_s += (took_s - self._mean_call_s) * weight
        self.has_answered = True
        self._is_stalled = False
        self._failure_count = 0
        self.last_failure = None
        self._failing_since = math.inf
        self._throttled_since = math.inf

    def note_refusal(self, error: ThrottledError) -> None:
        """Note a 429: later calls wait for the quota.

        The run stops if the quota is that of the day, if 429s last longer than `poll_patience`
        without a success (flex: at least one hour), or at the second 429 of a run that hurries.
        """
        now = self._ws.monotonic()
        self._throttled_count += 1
        self._throttled_since = min(self._throttled_since, now)
        timeout_s = max(self._shed_retry_s, self._ws.settings.poll_patience)
        is_lasting = now - self._throttled_since > timeout_s
        is_second = self._hurries and self._throttled_count > 1
        if error.resets_at is not None or is_lasting or is_second:
            self._stop_run(error)
        self.rate_limiter.refused(at=now, delay_s=error.retry_after_s)

    def note_failure(self, error: RemoteError, *, started_s: float, row_id: str) -> None:
        """Note a failure of the service: all calls wait, and the run stops if nothing succeeds.

        The pause begins with the second failure in a row and doubles up to MAX_PAUSE_S. The run
        stops after MAX_PARALLEL_FAILURES failures in a row, if the time since the first is over
        `patience_s`. Two failures count as a single failure if their calls ran in parallel, or if
        they are about the same row, because that row may be the cause.

        Args:
            started_s: Monotonic time at which the call started.
            row_id: Id of the row.
        """
        now = self._ws.monotonic()
        self.last_failure = error
        self._failing_since = min(self._failing_since, now)
        if started_s >= self._failed_at and row_id != self._failed_row:
            self._failure_count += 1
            self._failed_at = now
            self._failed_row = row_id
        if self._failure_count > 1:
            exponent = min(self._failure_count - 2, MAX_BACKOFF_EXPONENT)
            pause_s = self._ws.settings.retry_wait * 2.0**exponent
            self.hold_until = now + min(MAX_PAUSE_S, pause_s)

        has_failed_too_long = now - self._failing_since > self.patience_s(error)
        if self._failure_count >= MAX_PARALLEL_FAILURES and has_failed_too_long:
            self._stop_run(error)
