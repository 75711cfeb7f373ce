"""Decide when the next call may start: requests and tokens per minute and requests per day, held together.

`Limiter` is pure arithmetic: times come in as seconds of a monotonic clock. Two things decide. A log of the
last minute's calls is exact: no window of 60 seconds ever holds more than the limit, whatever came before. A pace
spreads the calls over the minute, so that neither an idle minute nor a restart ends in a burst. After a refusal nothing
starts for as long as the server says.

What a newcomer would get wrong: the log looks back 61 seconds and not 60, because the server's clock sees our calls
through a network, and two that left a minute apart may arrive less than that apart. So a limit is used to 60/61, and
a limit of 1 gives one call every 61 seconds: "90 % of every minute" is meant in whole calls, rounded down.

`Pacing` holds the calls of several threads to those limits: each waits in its own thread until the limiter lets it
start. One that is refused for a quota of the minute goes out again, as long as any call succeeds now and then.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.core.errors import ThrottledError
from pipeline.gemini.errors import LATER
from pipeline.gemini.models import RateLimits

MINUTE_S = 60.0
SLACK_S = 1.0  # ours: what the network may press together on the way to the server
WINDOW_S = MINUTE_S + SLACK_S
BURST_S = 1.0  # ours: after idling, the calls of one second may start at once; so late wake-ups are made up for too
FIRST_DELAY_S = 2.0  # ours: the pause after a refusal that names none; doubles with each until a call succeeds
LOOK_S = 1.0  # ours: at least so often a call that waits looks whether another one failed for good
PACING_BURST_S = 20.0  # ours: an ordinary change of an index starts at once; no minute has more than its limit
TICK_S = 1e-6  # ours: a shorter wait is none; far below SLACK_S, above what floats lose
_OTHER_TIER = f"{LATER}, or set TIER= to the tier that your project has"

T = TypeVar("T")


class TooLargeError(ValueError):
    """A call has more tokens than the limit of a whole minute, so it can never start."""

    def __init__(self, tokens: int, tpm: int) -> None:
        """Say both numbers."""
        super().__init__(f"a call of {tokens} tokens can never start under a limit of {tpm} tokens a minute")


@dataclass(slots=True)
class _Call:
    """One call in the log: when it started, its tokens, estimated until they are settled; no number if another's."""

    at: float
    tokens: int
    number: int | None
    requests: int = 1


class Limiter:
    """The limits of one model for one process; not for two threads at once.

    The log holds at most the calls of one window, so its size is bounded by the limits; without a limit of a minute
    there is no log. Time that goes backwards is taken for standing still.
    """

    def __init__(self, limits: RateLimits, *, at: float, burst_s: float = BURST_S) -> None:
        """Start with an empty log; after idling, the calls of `burst_s` seconds may start at once.

        Raises:
            ValueError: a limit is below 1; None is how to have none.
        """
        if any(limit is not None and limit < 1 for limit in limits):
            raise ValueError(f"a limit must be 1 or more, not {limits}")
        self._limits = limits
        self._now = at
        self._log: deque[_Call] = deque()  # oldest first
        self._own: dict[int, _Call] = {}  # those of the log that this process started, by number
        self._requests = self._tokens = 0  # of the whole log
        self._started = 0
        self._today = 0
        self._hold, self._refused_in_a_row = -math.inf, 0
        # in step, a request and a token each take so long; and until when what was counted takes, of both
        self._each = [0.0 if limit is None else WINDOW_S / limit for limit in (limits.rpm, limits.tpm)]
        self._taken_until, self._burst_s = [at, at], burst_s

    @property
    def used_today(self) -> int:
        """Return the requests of this Pacific day, as far as they are known here."""
        return self._today

    def prime(self, calls: Iterable[tuple[float, int]], *, today: int) -> None:
        """Count what others did: (started at, tokens) of the last minute, and all requests of this day, ours included.

        May be called again at any time: the calls told earlier are forgotten, our own are kept, so `calls` must not
        hold them. Calls older than a minute do no harm; one that lies in the future counts as of now.
        """
        self._today = today
        if not self._keeps_log:
            return
        others = [_Call(at, tokens, None) for at, tokens in calls if at > self._now - WINDOW_S]
        self._log = deque(sorted([*self._own.values(), *others], key=lambda call: call.at))
        self._requests = sum(call.requests for call in self._log)
        self._tokens = sum(call.tokens for call in self._log)

    def wait(self, tokens: int, *, at: float, requests: int = 1) -> float:
        """Return the seconds until a call of so many estimated prompt tokens may start, if nothing starts before it.

        0.0 means now; `math.inf` that the day's requests are used up. A call that embeds counts as a request for each
        of its texts.

        Raises:
            TooLargeError: the call has more tokens than a whole minute's limit and can never start.
            ValueError: `tokens` is below zero, or `requests` no number that a minute can have.
        """
        if tokens < 0 or not 1 <= requests <= (self._limits.rpm or requests):
            raise ValueError(f"a call cannot have {tokens} tokens and count as {requests} requests")
        if self._limits.tpm is not None and tokens > self._limits.tpm:
            raise TooLargeError(tokens, self._limits.tpm)
        if self._limits.rpd is not None and self._today >= self._limits.rpd:
            return math.inf
        self._advance(at)
        in_step = max(self._taken_until) - self._burst_s
        longest = max(max(self._hold, in_step) - self._now, self._until_room(tokens, requests))
        return longest if longest > TICK_S else 0.0

    def start(self, tokens: int, *, at: float, requests: int = 1) -> int:
        """Count a call that starts now, and return the number under which its tokens can be settled.

        Raises:
            ValueError: `wait` says that it may not start yet; nothing was counted. TooLargeError as `wait` does.
        """
        wait = self.wait(tokens, at=at, requests=requests)
        if wait > 0:
            raise ValueError(f"a call of {tokens} tokens may not start for another {wait} s")
        self._started += 1
        self._today += requests
        if self._keeps_log:
            call = _Call(self._now, tokens, self._started, requests)
            self._log.append(call)
            self._own[self._started] = call
            self._count(requests, tokens)
        return self._started

    def _count(self, requests: int, tokens: int) -> None:
        """Add to what the log holds, and to the time it takes in step; a correction may be below zero."""
        self._requests += requests
        self._tokens += tokens
        for at, amount in enumerate((requests, tokens)):
            taken = max(self._now, self._taken_until[at]) + amount * self._each[at]
            self._taken_until[at] = max(self._now, taken)

    def settle(self, number: int, tokens: int) -> None:
        """Put the actual prompt tokens of a call in the place of the estimate; a call older than a minute is over.

        More than the estimate may lift a window above the limit: it was sent, and what follows waits the longer. More
        than a whole minute's limit counts as that: a reply may say anything.
        """
        call = self._own.get(number)
        if call is None:
            return
        tokens = tokens if self._limits.tpm is None else min(tokens, self._limits.tpm)
        self._count(0, tokens - call.tokens)
        call.tokens = tokens

    def withdraw(self, number: int) -> None:
        """Take back a call that was counted and then not made; one that is in no log any more had one request."""
        call = self._own.pop(number, None)
        requests = 1 if call is None else call.requests
        self._today = max(0, self._today - requests)
        if call is None:
            return
        self._log.remove(call)
        self._count(-requests, -call.tokens)

    def refused(self, *, at: float, delay_s: float | None) -> None:
        """Take a refusal per minute: nothing starts before `delay_s` is over, at most a window; None names no delay."""
        self._advance(at)
        if delay_s is None or math.isnan(delay_s):
            delay_s = FIRST_DELAY_S * 2.0 ** min(self._refused_in_a_row, 10)
        self._refused_in_a_row += 1
        self._hold = max(self._hold, self._now + min(max(delay_s, 0.0), WINDOW_S))

    def succeeded(self) -> None:
        """Take a success: the next refusal is a first one."""
        self._refused_in_a_row = 0

    @property
    def _keeps_log(self) -> bool:
        return self._limits.rpm is not None or self._limits.tpm is not None

    def _advance(self, at: float) -> None:
        self._now = max(self._now, at)
        for call in reversed(self._log):
            if call.at <= self._now:
                break
            call.at = self._now  # another machine's clock is ahead of ours
        while self._log and self._log[0].at + WINDOW_S <= self._now:
            call = self._log.popleft()
            self._requests -= call.requests
            self._tokens -= call.tokens
            if call.number is not None:
                del self._own[call.number]

    def _until_room(self, tokens: int, requests: int) -> float:
        rpm = math.inf if self._limits.rpm is None else self._limits.rpm
        tpm = math.inf if self._limits.tpm is None else self._limits.tpm
        count, total = self._requests + requests, self._tokens + tokens
        until = 0.0
        for call in self._log:
            if count <= rpm and total <= tpm:
                break
            count, total, until = count - call.requests, total - call.tokens, call.at + WINDOW_S - self._now
        return until


class Pacing:
    """The limits of one model for the calls of one run, whichever thread makes them."""

    def __init__(
        self, limits: RateLimits, *, patience_s: float, sleep: Callable[[float], None], monotonic: Callable[[], float]
    ) -> None:
        """Begin with an empty minute; where nothing but refusals comes for `patience_s`, the next one is the last."""
        self._limits = RateLimits(limits.rpm, limits.tpm, rpd=None)  # of the day nothing is counted: its refusal tells
        self._limiter = Limiter(self._limits, at=monotonic(), burst_s=PACING_BURST_S)
        self._patience_s, self._sleep, self._monotonic = patience_s, sleep, monotonic
        self._lock = threading.Lock()
        self._throttled_since = math.inf  # the first refusal since the last success of any call
        self._failure: BaseException | None = None

    def fits(self, requests: int, tokens: int) -> bool:
        """Return whether a call of so much can ever start."""
        rpm, tpm = self._limits.rpm, self._limits.tpm
        return (rpm is None or requests <= rpm) and (tpm is None or tokens <= tpm)

    def call(self, do: Callable[[], T], *, requests: int, tokens: int) -> T:
        """Make a call as soon as it may start, again where a quota of the minute refuses it, and return what it gives.

        One that alone is larger than a minute's limit goes out when the minute is empty.

        Raises:
            ThrottledError: a quota of the day, or no call of the run succeeded for as long as patience lasts.
            BaseException: what another call failed with for good while this one waited; it was not made.
        """
        try:
            while True:
                self._wait(requests, tokens)
                try:
                    given = do()
                except ThrottledError as error:
                    self._refused(error)
                else:
                    self._succeeded()
                    return given
        except BaseException as error:
            self._failure = self._failure or error
            raise

    def _wait(self, requests: int, tokens: int) -> None:
        rpm, tpm = self._limits.rpm, self._limits.tpm
        requests = requests if rpm is None else min(requests, rpm)
        tokens = tokens if tpm is None else min(tokens, tpm)
        while self._failure is None:
            with self._lock:
                now = self._monotonic()
                pause = self._limiter.wait(tokens, at=now, requests=requests)
                if pause == 0:
                    self._limiter.start(tokens, at=now, requests=requests)
                    return
            self._sleep(min(pause, LOOK_S))
        raise self._failure

    def _succeeded(self) -> None:
        with self._lock:
            self._limiter.succeeded()
            self._throttled_since = math.inf

    def _refused(self, error: ThrottledError) -> None:
        with self._lock:
            now = self._monotonic()
            self._throttled_since = min(self._throttled_since, now)
            if error.resets_at is not None:
                raise error
            if now - self._throttled_since > self._patience_s:
                error.hint = _OTHER_TIER
                raise error
            self._limiter.refused(at=now, delay_s=error.retry_after_s)
