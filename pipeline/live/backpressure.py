"""What answers and failures of the service mean for what comes next in a run.

What concerns an item is charged to it. What concerns the service is not: after a failure no call starts for a while,
longer with each in a row; where nothing comes for too long, or the key or the model is refused, the run ends.
"""

import math
import random
from collections.abc import Callable
from typing import NamedTuple

from pipeline.core.errors import (
    FindableError,
    KeyRefusedError,
    MissingError,
    NotSentError,
    RefusedError,
    RemoteError,
    ThrottledError,
    UnavailableError,
)
from pipeline.core.settings import Settings
from pipeline.core.states import CallEnd
from pipeline.gemini.rate_limiter import Limiter

STALL_S = 30.0  # calls are under way, and none succeeded for so long
MOST = 64  # ours: more than this at once is no ordinary use of a live API
SAMPLES = 20  # ours: calls over which the mean is taken


class Concurrency:
    """The number of calls under way at once: `now`, between 1 and 64."""

    def __init__(self, first: int, *, rpm: int | None, at: float) -> None:
        """Begin with `first` calls at once; 1 stays 1, and so does any number without a limit of a minute."""
        self._first, self._rpm = first, rpm if first > 1 else None
        self._mean, self._answers = 0.0, 0
        self.is_stalled = False  # nothing came back for so long that one call at a time is made
        self._quiet_since = at

    @property
    def now(self) -> int:
        """Return how many calls may be under way: those that begin in the time that one takes."""
        if self.is_stalled:
            return 1
        needed = 0 if self._rpm is None else math.ceil(self._rpm / 60 * self._mean)
        return max(self._first, min(MOST, needed))

    def begun(self, *, in_flight: int, at: float) -> None:
        """Note that a call begins; the first after a time without any starts the clock of a stall anew."""
        if in_flight == 0:
            self._quiet_since = at

    def unasked(self, *, at: float) -> None:
        """Note that an item needed no call, so that its time does not count as a stall of the service."""
        self._quiet_since = at

    def answered(self, *, took_s: float, at: float) -> bool:
        """Note a success; return whether it ended a stall."""
        self._quiet_since = at
        self._answers += 1
        self._mean += (took_s - self._mean) / min(self._answers, SAMPLES)
        ended, self.is_stalled = self.is_stalled, False
        return ended

    def look(self, *, in_flight: int, at: float) -> bool:
        """Return whether the run has just stalled; time without a call under way is none."""
        if self.is_stalled or not in_flight or at - self._quiet_since < STALL_S:
            return False
        self.is_stalled = True
        return True


TRIES = 2  # of one item in one run, where the service fails; a refusal for a quota is none
REFUSALS = 3  # clear refusals (400) before any answer, after which the request itself must be wrong
LONGEST_PAUSE_S = 60.0
BAD_REQUEST = 400  # the least HTTP code of an error


class ServiceFailure(NamedTuple):
    """What a call means that gave no reply to judge.

    `is_charged` says that it is held against the item, None that nothing is recorded of it; `again` whether the item
    is asked again in this run. `is_silent` where not even an error was replied: then it may have been paid for.
    """

    how: CallEnd
    is_charged: bool | None
    again: bool
    is_silent: bool = False


class Backpressure:
    """Takes answers and failures as they come; slows the limiter and concurrency, and ends the run by `end`."""

    def __init__(
        self,
        settings: Settings,
        *,
        limiter: Limiter,
        concurrency: Concurrency,
        hurries: bool,
        end: Callable[[FindableError], None],
        say: Callable[[str], None],
        monotonic: Callable[[], float],
    ) -> None:
        """Begin with a service that is taken to be well; a run that hurries gives up at the second throttled call."""
        self._settings, self._limiter, self._concurrency = settings, limiter, concurrency
        self._hurries, self._end, self._say, self._monotonic = hurries, end, say, monotonic
        self.hold_until = monotonic()  # no call starts before
        self.throttled = 0
        self.down: RemoteError | None = None  # how the service failed the last call
        self._troubles, self._trouble_at = 0, -math.inf  # failures in a row, and when the last of them was seen
        # when the first failure, and the first refusal for a quota, came since it last answered
        self._failing_since = self._throttled_since = math.inf
        self._refusals, self._has_answered = 0, False

    def answered(self, *, took_s: float) -> None:
        """Take an answer, whatever it says."""
        now = self._monotonic()
        self._limiter.succeeded()
        self._troubles, self._has_answered, self.down = 0, True, None
        self._failing_since = self._throttled_since = math.inf
        if self._concurrency.answered(took_s=took_s, at=now):
            self._say(f"answers come again: up to {self._concurrency.now} calls at once")

    def failed(self, error: RemoteError, *, before: int, began: float) -> ServiceFailure:
        """Note that a call gave no reply to judge; the service failed its item `before` so often in this run."""
        if isinstance(error, ThrottledError):
            return self._throttled(error)
        if isinstance(error, KeyRefusedError | MissingError):
            self._end(error)
            return ServiceFailure(CallEnd.UNSENT, None, again=True)
        if isinstance(error, RefusedError):
            return self._refused(error, before=before)
        self._trouble(error, began=began)
        how = CallEnd.UNSENT if isinstance(error, NotSentError) else CallEnd.LOST
        again = before + 1 < TRIES
        is_silent = how is CallEnd.LOST and (error.code or 0) < BAD_REQUEST
        return ServiceFailure(how, None if again else False, again=again, is_silent=is_silent)

    def _throttled(self, error: ThrottledError) -> ServiceFailure:
        """Take a refusal for a quota: that of the day ends the run, and so does one that never passes."""
        now = self._monotonic()
        self.throttled += 1
        self._throttled_since = min(self._throttled_since, now)
        is_lasting = now - self._throttled_since > self._settings.poll_patience
        if error.resets_at is not None or is_lasting or (self._hurries and self.throttled >= TRIES):
            self._end(error)
        self._limiter.refused(at=now, delay_s=error.retry_after_s)
        return ServiceFailure(CallEnd.THROTTLED, None, again=True)

    def _refused(self, error: RefusedError, *, before: int) -> ServiceFailure:
        """Take a clear no to one question: the item's fault after any answer of the run, else perhaps the request's.

        An item that was refused before any answer is asked once more, when more is known.
        """
        if self._has_answered:
            return ServiceFailure(CallEnd.REFUSED, is_charged=True, again=True)
        self._refusals += 1
        if self._refusals >= REFUSALS:
            self._end(error)
        return ServiceFailure(CallEnd.REFUSED, is_charged=False, again=before + 1 < TRIES)

    def _trouble(self, error: RemoteError, *, began: float) -> None:
        """Note that the service failed: wait longer and longer, and give up when nothing comes for too long.

        Calls that were under way together fail together, and that is one trouble: another try must fail, too.
        """
        settings, now = self._settings, self._monotonic()
        self.down = error
        self._failing_since = min(self._failing_since, now)
        if began >= self._trouble_at:
            self._troubles, self._trouble_at = self._troubles + 1, now
        pause = min(LONGEST_PAUSE_S, settings.retry_wait * 2 ** min(self._troubles - 1, 10))
        pause *= random.uniform(0.5, 1)  # noqa: S311 - no secret: it keeps several processes from asking as one
        asked_s = (error.retry_after_s if isinstance(error, UnavailableError) else None) or 0.0
        self.hold_until = max(self.hold_until, now + max(pause, min(asked_s, LONGEST_PAUSE_S)))
        if self._troubles > TRIES and now - self._failing_since > settings.retry_for:
            self._end(error)
