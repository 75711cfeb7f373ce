"""Holds the calls of several threads to a model's limits, and says when a quota that refuses them is waited for enough.

A call waits here in its own thread, until the limiter lets it start. One that is refused for a quota of the minute
waits and goes out again: as long as any call succeeds now and then, the quota is slow and not dead.
"""

import math
import threading
from collections.abc import Callable
from typing import TypeVar

from pipeline.errors import ThrottledError
from pipeline.gemini.limiter import Limiter, Limits

LOOK_S = 1.0  # ours: at least so often a call that waits looks whether another one failed for good
BURST_S = 20.0  # ours: what an ordinary change of an index needs starts at once; no minute has more than its limit

T = TypeVar("T")


class Pacing:
    """The limits of one model for the calls of one run, whichever thread makes them."""

    def __init__(
        self, limits: Limits, *, patience_s: float, sleep: Callable[[float], None], monotonic: Callable[[], float]
    ) -> None:
        """Begin with an empty minute; where nothing but refusals comes for `patience_s`, the next one is the last."""
        self._limits = Limits(limits.rpm, limits.tpm, rpd=None)  # of the day nothing is counted: its refusal tells
        self._limiter = Limiter(self._limits, at=monotonic(), burst_s=BURST_S)
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
        """Wait until a call may start, and count it."""
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
        """Take a success: whoever is refused now is waited for anew."""
        with self._lock:
            self._limiter.succeeded(at=self._monotonic())
            self._throttled_since = math.inf

    def _refused(self, error: ThrottledError) -> None:
        """Take a refusal, and raise it where waiting does not help."""
        with self._lock:
            now = self._monotonic()
            self._throttled_since = min(self._throttled_since, now)
            if error.resets_at is not None:
                raise error
            if now - self._throttled_since > self._patience_s:
                error.hint = _LATER
                raise error
            self._limiter.refused(at=now, delay_s=error.retry_after_s)


_LATER = "what came before is kept: run the same command again later, or set TIER= to the tier that your project has"
