"""How many live calls may be under way at once: as many as help, one alone while nothing comes back.

Pure arithmetic: times come in as seconds of a monotonic clock. It widens only when more calls would have been made had
there been room, and as long as that does not make each of them slower; it narrows when the service fails. At first each
answer makes room for one more, which doubles it in the time of a call; after the first sign that it is enough, a whole
round of answers does. What a call takes is a mean over many, for single ones differ ten times and say nothing.
"""

import math

STALL_S = 30.0  # calls are under way, and none succeeded for so long
MOST = 64  # ours: more than this at once is no ordinary use of a live API
SLOWER = 1.5  # ours: so many times slower than at their best, on the mean, are taken for a queue at the other end
SAMPLES = 20  # ours: calls over which that mean is taken
DRIFT = 0.005  # ours: how much of the mean goes into the best with each answer: a service may slow down for good


class Concurrency:
    """The number of calls under way at once; `now` as tuned, between 1 and `most`."""

    def __init__(self, first: int, *, most: int = MOST, at: float) -> None:
        """Begin with `first` calls at once."""
        self._most = max(first, most)
        self._width = float(first)
        self._before: float | None = None  # the width to come back to, while stalled
        self._mean, self._best, self._answers = 0.0, math.inf, 0
        self._doubles = True
        self._quiet_since = at
        self._cut_at = at

    @property
    def now(self) -> int:
        """Return how many calls may be under way."""
        return 1 if self.is_stalled else max(1, int(self._width))

    @property
    def is_stalled(self) -> bool:
        """Return whether nothing came back for so long that one call at a time is made."""
        return self._before is not None

    def begun(self, *, in_flight: int, at: float) -> None:
        """Note that a call begins; the first after a time without any starts the clock of a stall anew."""
        if in_flight == 0:
            self._quiet_since = at

    def unasked(self, *, at: float) -> None:
        """Note that an item needed no call, so that its time does not count as a stall of the service."""
        self._quiet_since = at

    def answered(self, *, took_s: float, was_full: bool, at: float) -> bool:
        """Note a success; `was_full` where more calls waited for room. Returns whether it ended a stall."""
        self._quiet_since = at
        self._measure(took_s)
        if self._before is not None:
            self._width, self._before = max(1.0, self._before / 2), None
            return True
        if self._mean >= SLOWER * self._best:
            self._doubles = False
        elif was_full:
            self._width = min(float(self._most), self._width + (1 if self._doubles else 1 / self._width))
        return False

    def _measure(self, took_s: float) -> None:
        """Take what a call took into the mean, and that into the best there was."""
        self._answers += 1
        self._mean += (took_s - self._mean) / min(self._answers, SAMPLES)
        if self._answers == SAMPLES:
            self._best = self._mean
        elif self._answers > SAMPLES:
            self._best = min(self._mean, self._best + DRIFT * (self._mean - self._best))

    def failed(self, *, at: float) -> None:
        """Note a failure of the service: half as many, at most once in the time that calls take."""
        if at - self._cut_at >= max(1.0, self._mean):
            self._width, self._cut_at = max(1.0, self._width / 2), at
            self._doubles = False

    def look(self, *, in_flight: int, at: float) -> bool:
        """Return whether the run has just stalled; time without a call under way is none."""
        if self._before is not None or not in_flight or at - self._quiet_since < STALL_S:
            return False
        self._before, self._doubles = self._width, False
        return True
