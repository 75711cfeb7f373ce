"""When the next call may start: requests and tokens a minute and requests a day, held together.

Pure arithmetic: times are seconds of a monotonic clock. The calls of the last minute decide exactly: no 60 seconds ever
hold more than the limits, whatever came before. In step, calls are spread over the minute, so that neither an idle time
nor a restart ends in a burst. After a refusal nothing starts for as long as the server says.

What a newcomer would get wrong: the minute has 61 seconds, because the server's clock sees our calls through a network,
and two that left a minute apart may arrive less than that apart.
"""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from pipeline.core.command_hint import HintTemplate, OptionHint
from pipeline.core.errors import ThrottledError
from pipeline.gemini.models import RateLimits
from pipeline.gemini.remote import LATER

WINDOW_S = 61.0  # ours: a second is what the network may press together on the way to the server
BURST_S = 1.0  # ours: after idling, the calls of one second may start at once; so late wake-ups are made up for too
# Our own choice: an ordinary change of an index starts at once. No minute exceeds its limit.
PACED_BURST_S = 20.0
# Our own choice: the pause after a refusal without a delay. It doubles until a call succeeds.
FIRST_DELAY_S = 2.0
LOOK_S = 1.0  # ours: at least so often a call that waits looks whether another one failed for good
TICK_S = 1e-6  # ours: a shorter wait is none; above what floats lose
_OTHER_TIER = HintTemplate(
    f"{LATER}, or set {{}} to the tier that your project has", OptionHint("tier")
)

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class StartedCall:
    """One call: when it started, its tokens, its requests, and whether this process made it."""

    at: float
    tokens: int  # estimated until they are settled
    requests: int = 1
    is_ours: bool = True


class RateLimiter:
    """The limits of one model for one process; not for two threads at once."""

    def __init__(self, limits: RateLimits, *, at: float, burst_s: float = BURST_S) -> None:
        """Begin with an empty minute and an unused day; after idling, what `burst_s` may hold starts at once."""
        self.used_today = 0  # requests of this Pacific day, as far as they are known here
        self._most = [
            math.inf if one is None else one for one in limits
        ]  # a minute; requests a day
        self._now = at
        self._burst_s = burst_s
        self._calls: deque[StartedCall] = deque()  # of the last minute, oldest first
        self._counted = [0, 0]  # of these: requests, tokens
        self._taken_until = [at, at]  # in step, what was counted takes until then: requests, tokens
        self._hold = -math.inf
        self._refused_in_a_row = 0

    def prime(self, calls: Iterable[tuple[float, int]], *, today: int) -> None:
        """Count what others did in the last minute, in place of what was told before, and all requests of the day."""
        self.used_today = today
        others = [StartedCall(at, tokens, is_ours=False) for at, tokens in calls]
        ours = (one for one in self._calls if one.is_ours)
        self._calls = deque(sorted([*ours, *others], key=lambda one: one.at))
        self._counted = [
            sum(one.requests for one in self._calls),
            sum(one.tokens for one in self._calls),
        ]

    def wait(self, tokens: int, *, at: float, requests: int = 1) -> float:
        """Return the seconds until a call of so many estimated prompt tokens may start, if nothing starts before it.

        0.0 means now; `math.inf` that the day's requests are used up. A call that embeds counts as a request for each
        of its texts; one that is larger than a minute's limit waits for an empty minute.
        """
        if self.used_today >= self._most[2]:
            return math.inf
        self._now = at
        while self._calls and self._calls[0].at + WINDOW_S <= at:
            self._count(self._calls.popleft(), -1)
        count = self._counted[0] + requests
        total = self._counted[1] + tokens
        until = max(self._hold, max(self._taken_until) - self._burst_s)
        for one in self._calls:
            if count <= self._most[0] and total <= self._most[1]:
                break
            count -= one.requests
            total -= one.tokens
            until = max(until, one.at + WINDOW_S)
        return until - at if until - at > TICK_S else 0.0

    def start(self, tokens: int, *, at: float, requests: int = 1) -> StartedCall:
        """Count a call that starts now, as `wait` lets it, and return it, to be settled or withdrawn."""
        self._now = at
        call = StartedCall(at, tokens, requests)
        self.used_today += requests
        if self._most[:2] != [math.inf, math.inf]:
            self._calls.append(call)
            self._count(call, 1)
        self._take(requests, tokens)
        return call

    def settle(self, call: StartedCall, tokens: int) -> None:
        """Put the actual prompt tokens in the place of the estimate; a minute's at most: a reply may say anything."""
        if call in self._calls:
            told = int(min(tokens, self._most[1]))
            self._take(0, told - call.tokens)
            self._counted[1] += told - call.tokens
            call.tokens = told

    def withdraw(self, call: StartedCall) -> None:
        """Take back a call that was counted and then not made."""
        self.used_today = max(0, self.used_today - call.requests)
        if call in self._calls:
            self._calls.remove(call)
            self._count(call, -1)
            self._take(-call.requests, -call.tokens)

    def refused(self, *, at: float, delay_s: float | None) -> None:
        """Take a refusal per minute: nothing starts before `delay_s` is over, at most a minute; None names no delay."""
        if delay_s is None:
            delay_s = FIRST_DELAY_S * 2.0 ** min(self._refused_in_a_row, 10)
        self._refused_in_a_row += 1
        self._hold = max(self._hold, at + min(delay_s, WINDOW_S))

    def succeeded(self) -> None:
        """Take a success: the next refusal is a first one."""
        self._refused_in_a_row = 0

    def _count(self, call: StartedCall, sign: int) -> None:
        self._counted = [
            self._counted[0] + sign * call.requests,
            self._counted[1] + sign * call.tokens,
        ]

    def _take(self, requests: int, tokens: int) -> None:
        """Add to the time that what was counted takes in step; a correction may be below zero."""
        for at, amount in enumerate((requests, tokens)):
            began = max(self._now, self._taken_until[at])
            self._taken_until[at] = max(self._now, began + amount * WINDOW_S / self._most[at])


class SharedRateLimiter:
    """The limits of one model for the calls of one run, whichever thread makes them."""

    def __init__(
        self,
        limits: RateLimits,
        *,
        patience_s: float,
        sleep: Callable[[float], None],
        monotonic: Callable[[], float],
    ) -> None:
        """Begin with an empty minute; where nothing but refusals comes for `patience_s`, the next one is the last."""
        self._limits = RateLimits(
            limits.rpm, limits.tpm, rpd=None
        )  # of the day nothing is counted: its refusal tells
        self._pace = RateLimiter(self._limits, at=monotonic(), burst_s=PACED_BURST_S)
        self._patience_s = patience_s
        self._sleep = sleep
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._throttled_since = math.inf  # the first refusal since the last success of any call
        self._failure: BaseException | None = None

    def fits(self, requests: int, tokens: int) -> bool:
        """Return whether a call of so much can ever start."""
        return requests <= (self._limits.rpm or requests) and tokens <= (self._limits.tpm or tokens)

    def call(self, do: Callable[[], T], *, requests: int, tokens: int) -> T:
        """Make a call as soon as it may start, again where a quota of the minute refuses it; return what it gives."""
        try:
            while True:
                self._wait(requests, tokens)
                try:
                    given = do()
                except ThrottledError as error:
                    self._refused(error)
                else:
                    with self._lock:
                        self._pace.succeeded()
                        self._throttled_since = math.inf
                    return given
        except BaseException as error:
            self._failure = self._failure or error
            raise

    def _wait(self, requests: int, tokens: int) -> None:
        while self._failure is None:
            with self._lock:
                now = self._monotonic()
                pause = self._pace.wait(tokens, at=now, requests=requests)
                if pause == 0:
                    self._pace.start(tokens, at=now, requests=requests)
                    return
            self._sleep(min(pause, LOOK_S))
        raise self._failure

    def _refused(self, error: ThrottledError) -> None:
        with self._lock:
            now = self._monotonic()
            self._throttled_since = min(self._throttled_since, now)
            if error.resets_at is not None:
                raise error
            if now - self._throttled_since > self._patience_s:
                error.hint = str(_OTHER_TIER)
                raise error
            self._pace.refused(at=now, delay_s=error.retry_after_s)
