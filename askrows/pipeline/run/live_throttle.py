"""Decide when the next live call may start, and when a live run stops.

A failed row is charged in run/live_calls.py. Failures of the service are handled here:

- All calls wait longer after each further failure without a success between.
- Calls are made one at a time while no reply arrives.
- The run stops if no call succeeds for RETRY_FOR seconds (flex: one hour), or on a daily quota.

`LiveProgress` describes the calls for a person who watches them.
"""

import asyncio
import contextlib
import math
from dataclasses import dataclass

from askrows.pipeline.batch.run import Run
from askrows.pipeline.batch.run_result import RunResult
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import (
    AskrowsError,
    ConfigurationError,
    NotSentError,
    RemoteError,
    ThrottledError,
    UnavailableError,
)
from askrows.pipeline.core.states import describe_reason
from askrows.pipeline.core.text import format_usd, plural, shorten
from askrows.pipeline.provider.rate_limiter import RateLimiter, StartedCall
from askrows.pipeline.provider.retry import RetryPolicy

# Our own bound: more parallel calls are no ordinary use of a live API.
MAX_LIVE_CALLS = 64
# If no call succeeds for this time while calls are running, calls are made one at a time.
STALL_S = 30.0
# After this many failures without a success calls are made one at a time, and the run may stop.
MAX_PARALLEL_FAILURES = 3
MAX_PAUSE_S = 60.0
# How often a waiting call checks the limits again, and replies are synced to disk.
CHECK_INTERVAL_S = 1.0
# The code of a call for which the service has no room. It has 429 only for a quota.
OVERLOADED_CODE = 503
# Weight of a new call in the moving average of call durations, after the first call.
DURATION_WEIGHT = 1 / 20


# A shorter wait for the API is normal and not shown.
MIN_SHOWN_WAIT_S = 5.0
MAX_SHOWN_REASON_CHARS = 90


@dataclass
class LiveProgress:
    """The progress of the calls of a run, for a person who watches them."""

    # The name of the provider that is called.
    provider: str
    # Calls that may run at the same time now.
    max_parallel_calls: int = 1
    # Seconds from now until the limits or the service allow another call.
    pause_s: float = 0.0
    # Why the service failed last; empty if it has replied since.
    service_failure: str = ""
    # Reason of the newest failure of a row.
    newest_failure: str = ""
    # Replies that arrived and rows that were given up, without those that are asked again.
    replies: int = 0

    def describe(self, result: RunResult) -> str:
        """Return a note about the calls.

        It has, in this order:

        - the number of calls at the same time
        - a failure of the provider
        - how long the next call must wait, from MIN_SHOWN_WAIT_S; a wait without a known end is
          left out
        - the number of failures and the newest reason
        - the cost, except 0

        Reasons are cut to MAX_SHOWN_REASON_CHARS.
        """
        notes = [f"{self.max_parallel_calls} at once"]
        if self.service_failure:
            failure = self.service_failure.removeprefix(
                f"{self.provider} failed on the request to "
            )
            notes.append(f"{self.provider} fails ({shorten(failure, MAX_SHOWN_REASON_CHARS)})")
        if MIN_SHOWN_WAIT_S <= self.pause_s < math.inf:
            notes.append(f"waits {self.pause_s:.0f} s for the API")
        if result.failed:
            failure = shorten(describe_reason(self.newest_failure), MAX_SHOWN_REASON_CHARS)
            notes.append(f"{result.failed.total()} failed ({failure})")
        if result.calls_cost:
            notes.append(format_usd(result.calls_cost))
        return ", ".join(notes)


def max_parallel_calls(concurrency: int, max_requests: int | None, mean_s: float) -> int:
    """Return how many calls may run in parallel if a call takes `mean_s` seconds.

    It is the setting CONCURRENCY, or as many calls as the requests per minute allow if that is
    more, up to MAX_LIVE_CALLS. A CONCURRENCY of 1 stays 1.

    Args:
        concurrency: The setting CONCURRENCY.
        max_requests: The limit of requests per minute, or None without a limit.
        mean_s: Mean duration of a call.
    """
    if max_requests is None or concurrency <= 1:
        return max(concurrency, 0)

    started_during_one_call = math.ceil(max_requests / 60 * mean_s)
    return max(concurrency, min(MAX_LIVE_CALLS, started_during_one_call))


class LiveThrottle:
    """When calls of a live run may start, how many run in parallel, and when the run stops.

    Only for the thread of the run's event loop.
    """

    def __init__(self, run: Run, result: RunResult, progress: LiveProgress) -> None:
        """Start with a service that is assumed to work.

        Args:
            run: The run. Its mode may have longer times for stalls and retries.
            result: Gets the error that stops the run.
            progress: Gets the number of calls that may run in parallel, and the seconds until the
                next call.
        """
        self._run = run
        self._result = result
        self.progress = progress
        facts = run.mode.facts
        self._shed_retry_s = facts.shed_retry_s
        self._stall_s = max(STALL_S, facts.min_timeout_s)
        self._hold_policy = RetryPolicy(run.workspace.settings.retry_wait, MAX_PAUSE_S)
        self.rate_limiter = RateLimiter(run.rate_limits, monotonic=run.workspace.monotonic)
        # Moving average of the duration of a call. Before the first, only calls of minutes count.
        self._mean_call_s = facts.usual_call_s if facts.min_timeout_s else 0.0
        # Monotonic time after which no reply is waited for.
        self.deadline = run.workspace.monotonic() + run.deadline_s
        self.is_stopped = False
        # An error that is not ours, raised at the end of the run.
        self.unexpected_error: Exception | None = None
        # The tasks of running calls; the run adds a task right after `acquire`.
        self.running_calls: set[asyncio.Task[None]] = set()
        # Set when something changed for which a waiting call or run looks.
        self._changed = asyncio.Event()
        # Monotonic time until which no call starts.
        self._hold_until = run.workspace.monotonic()
        # Monotonic time since which calls are running and none succeeded.
        self._unanswered_since = self._hold_until
        # 429s since the start of the run.
        self._throttled_count = 0
        self.has_answered = False
        self._is_stalled = False
        # The error of the last call, or None if it succeeded.
        self.last_failure: RemoteError | None = None
        # Failures since the last success. Calls that ran in parallel and fail together count as a
        # single failure.
        self._failure_count = 0
        self._failed_at = -math.inf
        self._failed_row = ""
        # Monotonic time of the first failure since the last success.
        self._failing_since = math.inf

    # The end of the run

    def stop(self, error: Exception | None = None) -> None:
        """Stop the run: start no more calls, and keep the first error for the result.

        An OSError is kept as a ConfigurationError. Another error that is not a AskrowsError is
        kept in `unexpected_error`, to be raised when the running calls have ended. Nothing is
        raised here.

        Args:
            error: The reason, or None if a person interrupted the run.
        """
        if isinstance(error, OSError):
            error = ConfigurationError(
                f"{error.strerror or error}; no further row was asked, and finished work is stored",
                hint="check the disk and its permissions, then run the same command again",
            )
        if isinstance(error, AskrowsError):
            self._result.record_calls_error(error)
        elif error is not None:
            self.unexpected_error = self.unexpected_error or error
        self.is_stopped = True
        self.notify()

    @property
    def late_reason(self) -> str:
        """Return the reason of a call that did not end before the deadline."""
        return f"no reply came within {self._run.deadline_s:g} s"

    def raise_if_late(self) -> None:
        """Raise UnavailableError if the deadline of the run is over."""
        if self._run.workspace.monotonic() >= self.deadline:
            raise UnavailableError(self.late_reason, hint="run the same command again later")

    # Starting a call

    async def acquire(self, tokens: int) -> StartedCall | None:
        """Wait until a call may start, and count it for the rate limits.

        Meanwhile the progress's `pause_s` is the seconds until the limits allow the call, and its
        `max_parallel_calls` the number of calls that may run at once.

        Args:
            tokens: Estimated prompt tokens of the call. They fit into a minute.

        Returns:
            The call, to be settled or withdrawn later, or None if the run was stopped meanwhile.

        Raises:
            UnavailableError: The deadline of the run is over.
            ThrottledError: The day's quota is used up and no call is running, or the limits allow
                no call within the run's patience.
        """
        while not self.is_stopped:
            self.raise_if_late()
            pause_s = self._compute_seconds_to_start(tokens)
            if pause_s <= 0:
                return self.rate_limiter.count_started_call(tokens)
            await self.wait_for_change(pause_s)
        return None

    def _compute_seconds_to_start(self, tokens: int) -> float:
        """Return the seconds until a call may start, CHECK_INTERVAL_S at most; 0 if it may now.

        Returns CHECK_INTERVAL_S if as many calls are running as may run in parallel. Sets the
        progress's `pause_s` and `max_parallel_calls`. The call is not counted yet.

        Args:
            tokens: Estimated prompt tokens of the call.

        Raises:
            ThrottledError: The day's quota is used up and no call is running; while calls are
                running, CHECK_INTERVAL_S is returned instead. Or the limits allow the call only
                after more seconds than the run lets a call wait (`patience_s`).
        """
        self.progress.max_parallel_calls = self._max_parallel()
        self.progress.pause_s = 0.0
        if len(self.running_calls) >= self.progress.max_parallel_calls:
            return CHECK_INTERVAL_S

        hold_s = self._hold_until - self._run.workspace.monotonic()
        pause_s = max(0.0, hold_s, self.rate_limiter.compute_wait_s(tokens))
        self.progress.pause_s = pause_s
        is_quota_used_up = math.isinf(pause_s)
        if is_quota_used_up and not self.running_calls:
            run = self._run
            resets_at = run.workspace.provider.next_reset(run.workspace.now())
            quota = plural(run.rate_limits.rpd or 0, "request")
            raise ThrottledError(
                f"the limit of {quota} per day for {run.model.name} is reached; "
                "all replies are stored",
                hint=f"run the same command after {resets_at:%Y-%m-%d %H:%M} UTC, when the quota "
                f"is reset; set {OptionHint('tier')} or {OptionHint('rpd')} if your project has a "
                "larger quota",
                resets_at=resets_at,
            )
        if not is_quota_used_up and pause_s > self._run.patience_s:
            raise ThrottledError(
                f"the rate limits allow the next call in {pause_s:.0f} s, "
                "and this command does not wait",
                retry_after_s=pause_s,
            )
        return min(pause_s, CHECK_INTERVAL_S)

    def _max_parallel(self) -> int:
        """Return how many calls may run in parallel now; 1 in a stall or after several failures.

        Several are MAX_PARALLEL_FAILURES without a success. While no call is running, the time
        until the next stall begins anew.
        """
        if not self.running_calls:
            # Time without a running call is no stall.
            self._unanswered_since = self._run.workspace.monotonic()
        if self._is_stalled or self._failure_count >= MAX_PARALLEL_FAILURES:
            return 1
        return max_parallel_calls(
            self._run.workspace.settings.concurrency,
            self._run.rate_limits.rpm,
            self._mean_call_s,
        )

    async def wait_for_change(self, seconds: float) -> None:
        """Wait for a time, or until `notify` is called."""
        self._changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def notify(self) -> None:
        """Wake the coroutines that wait for a change."""
        self._changed.set()

    # Successes and failures of calls

    def patience_s(self, error: RemoteError) -> float:
        """Return the seconds for which a call that fails with this error is repeated."""
        shed_retry_s = self._shed_retry_s if error.code == OVERLOADED_CODE else 0.0
        return max(shed_retry_s, self._run.workspace.settings.retry_for)

    def check_stall(self) -> None:
        """Switch to serial calls, with a warning, if no running call succeeds for long.

        Long is STALL_S seconds, or the least time-out of a call of the mode. Does nothing without a
        running call.
        """
        if self._is_stalled or not self.running_calls:
            return
        if self._run.workspace.monotonic() - self._unanswered_since >= self._stall_s:
            self._is_stalled = True
            self._run.workspace.display.warn(
                f"no reply for {self._stall_s:.0f} s: calls are made one at a time "
                "until a reply arrives",
            )

    def note_answer(self, *, duration_s: float) -> None:
        """Note that a call got a reply, valid or not, so that failures and a stall are over.

        A stall is a time without replies, in which only one call is made at a time. Its end is
        printed. Updates the moving average of call durations. The number of running calls is
        changed elsewhere.
        """
        self.rate_limiter.reset_refusals()
        self._unanswered_since = self._run.workspace.monotonic()
        if self._is_stalled:
            self._run.workspace.display.say("replies arrive again: several calls are made at once")
        weight = DURATION_WEIGHT if self.has_answered else 1
        self._mean_call_s += (duration_s - self._mean_call_s) * weight
        self.has_answered = True
        self._is_stalled = False
        self._failure_count = 0
        self.last_failure = None
        self._failing_since = math.inf

    def note_refusal(self, error: ThrottledError) -> None:
        """Note a 429: the rate limiter delays later calls, and the run may stop.

        It stops in three cases:
        - The quota is that of the day.
        - There are 429s and no success for longer than the setting `poll_patience`, and than the
          `shed_retry_s` of the mode.
        - It is the second 429 of the run, and the run has a patience, because a person waits for
          it.
        """
        self.rate_limiter.delay_calls_after_refusal(error.retry_after_s)
        self._throttled_count += 1
        timeout_s = max(self._shed_retry_s, self._run.workspace.settings.poll_patience)
        is_lasting = self.rate_limiter.throttled_s > timeout_s
        # A person waits for a run with a patience.
        is_second = math.isfinite(self._run.patience_s) and self._throttled_count > 1
        if error.resets_at is not None or is_lasting or is_second:
            self.stop(error)

    def note_failure(self, error: RemoteError, *, started_s: float, row_id: str) -> None:
        """Note a failure of the service: all calls wait, and the run stops if nothing succeeds.

        Failures are counted until a call is answered. A failure is not counted if its call started
        before the last counted failure, because both have the same cause, or if it is about the
        same row, because that row may be the cause.

        From the second counted failure on, all calls pause; the pause doubles up to MAX_PAUSE_S.
        The run stops at a missing connection if `stops_without_connection` is set. It also stops if
        MAX_PARALLEL_FAILURES failures are counted, and if the first was longer ago
        than `self.patience_s` allows for this error.

        Args:
            started_s: Monotonic time at which the call started.
            row_id: Id of the row.
        """
        if self._run.stops_without_connection and isinstance(error, NotSentError):
            self.stop(error)
            return

        now = self._run.workspace.monotonic()
        self.last_failure = error
        self._failing_since = min(self._failing_since, now)
        if started_s >= self._failed_at and row_id != self._failed_row:
            self._failure_count += 1
            self._failed_at = now
            self._failed_row = row_id
        if self._failure_count > 1:
            self._hold_until = now + self._hold_policy.compute_delay_s(self._failure_count - 1)

        has_failed_too_long = now - self._failing_since > self.patience_s(error)
        if self._failure_count >= MAX_PARALLEL_FAILURES and has_failed_too_long:
            self.stop(error)
