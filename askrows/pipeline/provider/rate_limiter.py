"""Decide when the next call may start, within requests and tokens per minute and requests per day.

- No 60 seconds ever have more calls than the limits allow, whatever happened before.
- Calls are spread over the minute, so that an idle time or a restart does not end in a burst.
- After a refusal no call starts for as long as the server asks.

A limiter counts the calls of the last minute. A caller counts each call that it
starts, with its estimated tokens. Then it replaces these by the tokens of the reply, or removes the
call if it was not made.

A minute has 61 seconds here. The server sees our calls through a network, and two calls that left a
minute apart may arrive with less time between them.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from askrows.pipeline.core.command_hint import HintTemplate, OptionHint
from askrows.pipeline.core.errors import ThrottledError
from askrows.pipeline.provider.call_errors import RUN_LATER_HINT
from askrows.pipeline.provider.models import RateLimits
from askrows.pipeline.provider.retry import RetryPolicy

# Our own choice: a minute, and one second that the network may take away on the way to the server.
WINDOW_S = 61.0
# Our own choice: after idling, the calls of one second start at once. That covers late wake-ups.
BURST_S = 1.0
# Our own choice: an ordinary change of an index starts at once. No minute exceeds its limit.
PACED_BURST_S = 20.0
# Our own choice: the pauses after refusals in a row that ask for no delay.
REFUSAL_POLICY = RetryPolicy(first_delay_s=2.0, max_delay_s=WINDOW_S)
# Our own choice: how often a waiting call checks whether another call failed for good.
FAILURE_CHECK_INTERVAL_S = 1.0
# Our own choice: a shorter wait counts as none. It is above the rounding errors of floats.
MIN_WAIT_S = 1e-6
_OTHER_TIER = HintTemplate(
    f"{RUN_LATER_HINT}, or set {{}} to the tier that your project has",
    OptionHint("tier"),
)

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class StartedCall:
    """A call that counts against the limits of a minute."""

    # Monotonic time of its start.
    at: float
    # Prompt tokens, estimated until the call is settled.
    tokens: int
    requests: int = 1
    # This process made the call.
    is_own_call: bool = True


class RateLimiter:
    """The limits of one model for one process.

    Only `call_and_retry_within_limits` may be used by several threads at once.
    """

    def __init__(
        self,
        limits: RateLimits,
        *,
        monotonic: Callable[[], float],
        burst_s: float = BURST_S,
    ) -> None:
        """Start with an empty minute and an unused day.

        Args:
            limits: The limits of the model; None means no limit.
            monotonic: Returns the monotonic time in seconds.
            burst_s: After idling, the calls of this time may start at once.
        """
        # Requests of this day of quotas, as far as they are known here.
        self.used_today = 0
        self._max_requests = _or_infinite(limits.rpm)
        self._max_tokens = _or_infinite(limits.tpm)
        self._max_daily_requests = _or_infinite(limits.rpd)
        self._monotonic = monotonic
        self._now = monotonic()
        self._burst_s = burst_s
        # Calls of the last minute, oldest first, and the sums of their requests and tokens.
        self._calls: deque[StartedCall] = deque()
        self._request_count = 0
        self._token_count = 0
        # Monotonic times until which the counted requests and tokens are spread.
        self._requests_until = self._now
        self._tokens_until = self._now
        # No call starts before this time, because the server refused one.
        self._hold_until = -math.inf
        self._refusals_in_a_row = 0
        # Monotonic time of the first refusal since any call succeeded.
        self._throttled_since = math.inf
        # Protects the limiter in `call_and_retry_within_limits`.
        self._lock = threading.Lock()
        # The first error that ended a `call_and_retry_within_limits`. No further call starts.
        self._failure: BaseException | None = None

    @property
    def throttled_s(self) -> float:
        """Return the seconds since the first refusal after the last success; else at most 0."""
        return self._monotonic() - self._throttled_since

    def fits(self, tokens: int, *, requests: int = 1) -> bool:
        """Return whether a call of this size can ever start within the limits of a minute."""
        return requests <= self._max_requests and tokens <= self._max_tokens

    def replace_calls_of_other_processes(
        self, calls: Iterable[tuple[float, int]], *, used_today: int
    ) -> None:
        """Replace the last minute's calls of other processes, and the number of today's requests.

        Our own calls stay.

        Args:
            calls: Monotonic time and prompt tokens of each call that this process did not make.
            used_today: Requests of this day of quotas, including ours.
        """
        self.used_today = used_today
        other_calls = [StartedCall(at, tokens, is_own_call=False) for at, tokens in calls]
        our_calls = (call for call in self._calls if call.is_own_call)
        all_calls = [*our_calls, *other_calls]
        self._calls = deque(sorted(all_calls, key=lambda call: call.at))
        self._request_count = sum(call.requests for call in all_calls)
        self._token_count = sum(call.tokens for call in all_calls)

    def compute_wait_s(self, tokens: int, *, requests: int = 1) -> float:
        """Return the seconds until a call may start, if no other call starts before it.

        A call starts when all of these allow it:

        - The limits of a minute. A call with more tokens than a minute allows waits for an empty
          minute.
        - The spread of calls over the minute: after a burst, the next call waits.
        - The delay after a refusal (see `delay_calls_after_refusal`).
        - The requests of the day.

        Calls that left the minute are forgotten. This call is not counted: `count_started_call`
        does that.

        Args:
            tokens: Estimated prompt tokens of the call.
            requests: Requests that the call counts as; an embedding call counts once per text.

        Returns:
            0.0 if the call may start now; infinity if the day's requests are used up.
        """
        if self.used_today >= self._max_daily_requests:
            return math.inf

        self._now = self._monotonic()
        while self._calls and self._calls[0].at + WINDOW_S <= self._now:
            self._add_to_counts(self._calls.popleft(), -1)

        # The oldest calls have to leave the minute until this call fits into it.
        request_count = self._request_count + requests
        token_count = self._token_count + tokens
        spread_until = max(self._requests_until, self._tokens_until)
        start_at = max(self._hold_until, spread_until - self._burst_s)
        for call in self._calls:
            if self.fits(token_count, requests=request_count):
                break
            request_count -= call.requests
            token_count -= call.tokens
            start_at = max(start_at, call.at + WINDOW_S)

        wait_s = start_at - self._now
        return wait_s if wait_s > MIN_WAIT_S else 0.0

    def count_started_call(self, tokens: int, *, requests: int = 1) -> StartedCall:
        """Count a call that the caller starts now, and return it.

        Nothing is sent here. The call also counts towards the day. `replace_estimated_tokens`
        replaces its estimated tokens by those that it used, and `remove_call` takes the count back.
        The caller has to call `compute_wait_s` before.

        Args:
            tokens: Estimated prompt tokens of the call.
            requests: Requests that the call counts as.
        """
        self._now = self._monotonic()
        call = StartedCall(self._now, tokens, requests)
        self.used_today += requests
        has_limits = math.isfinite(self._max_requests) or math.isfinite(self._max_tokens)
        if has_limits:
            self._calls.append(call)
            self._add_to_counts(call, 1)
        self._move_spread_ends(requests, tokens)
        return call

    def replace_estimated_tokens(self, call: StartedCall, tokens: int) -> None:
        """Replace the estimated prompt tokens of a started call by those of its reply.

        At most the tokens of a minute count, because a reply may contain any number. Nothing
        changes if the call has left the minute or was withdrawn.
        """
        if call not in self._calls:
            return

        settled_tokens = int(min(tokens, self._max_tokens))
        difference = settled_tokens - call.tokens
        self._move_spread_ends(0, difference)
        self._token_count += difference
        call.tokens = settled_tokens

    def remove_call(self, call: StartedCall) -> None:
        """Take back the count of a call that was not made, also from the requests of the day."""
        self.used_today = max(0, self.used_today - call.requests)
        if call in self._calls:
            self._calls.remove(call)
            self._add_to_counts(call, -1)
            self._move_spread_ends(-call.requests, -call.tokens)

    def delay_calls_after_refusal(self, requested_s: float | None) -> None:
        """Let no call start for a while, because a quota per minute refused a call.

        The delay is at most a minute, even if the server asks for more. It never shortens a longer
        delay of an earlier refusal. This does not wait.

        Args:
            requested_s: The delay in seconds that the server asked for. None means a delay that
                doubles with each refusal in a row.
        """
        self._refusals_in_a_row += 1
        now = self._monotonic()
        self._throttled_since = min(self._throttled_since, now)
        delay_s = requested_s
        if delay_s is None:
            delay_s = REFUSAL_POLICY.compute_delay_s(self._refusals_in_a_row)
        self._hold_until = max(self._hold_until, now + min(delay_s, WINDOW_S))

    def reset_refusals(self) -> None:
        """Note a successful call: the next refusal is the first of its row."""
        self._refusals_in_a_row = 0
        self._throttled_since = math.inf

    def call_and_retry_within_limits(
        self,
        do: Callable[[], T],
        *,
        requests: int,
        tokens: int,
        patience_s: float,
        sleep: Callable[[float], None],
    ) -> T:
        """Call `do` as soon as the limits allow it, and again after a refusal by a minute's quota.

        Several threads may make calls at the same time. The first error that is raised ends the
        limiter for good: no further call starts, and waiting threads raise that error, too.

        Args:
            do: Makes the call and raises ThrottledError if a quota refused it.
            requests: Requests that the call counts as.
            tokens: Estimated prompt tokens of the call.
            patience_s: A refusal is raised if no call has succeeded for this time.
            sleep: Waits for a number of seconds.

        Returns:
            The result of `do`.

        Raises:
            BaseException: The error of `do`, or the first error that another call raised.
            ThrottledError: A daily quota refused the call, or refusals lasted for `patience_s`.
        """
        try:
            while True:
                self._wait_and_count_start(tokens, requests=requests, sleep=sleep)
                try:
                    result = do()
                except ThrottledError as error:
                    with self._lock:
                        self.delay_calls_after_refusal(error.retry_after_s)
                        # A daily quota, or a long time of refusals, is not worth a repetition.
                        if error.resets_at is not None:
                            raise
                        if self.throttled_s > patience_s:
                            error.hint = str(_OTHER_TIER)
                            raise
                    continue
                with self._lock:
                    self.reset_refusals()
                return result
        except BaseException as error:
            self._failure = self._failure or error
            raise

    def _wait_and_count_start(
        self,
        tokens: int,
        *,
        requests: int,
        sleep: Callable[[float], None],
    ) -> None:
        """Sleep until a call may start, and count it.

        Raises:
            BaseException: The error that ended another call, before or during the wait.
        """
        while self._failure is None:
            with self._lock:
                pause_s = self.compute_wait_s(tokens, requests=requests)
                if pause_s == 0:
                    self.count_started_call(tokens, requests=requests)
                    return
            sleep(min(pause_s, FAILURE_CHECK_INTERVAL_S))
        raise self._failure

    def _add_to_counts(self, call: StartedCall, sign: int) -> None:
        self._request_count += sign * call.requests
        self._token_count += sign * call.tokens

    def _move_spread_ends(self, requests: int, tokens: int) -> None:
        """Move the times until which requests and tokens are spread; a number may be < 0."""
        self._requests_until = self._compute_spread_end(
            self._requests_until, requests, self._max_requests
        )
        self._tokens_until = self._compute_spread_end(self._tokens_until, tokens, self._max_tokens)

    def _compute_spread_end(self, until: float, amount: int, limit: float) -> float:
        """Return the later of `until` and now, plus the share of a minute for `amount`."""
        begin = max(self._now, until)
        return max(self._now, begin + amount * WINDOW_S / limit)


def _or_infinite(limit: int | None) -> float:
    return math.inf if limit is None else limit
