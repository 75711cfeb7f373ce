"""How many live calls may be under way at once: as many as the limits need, one alone while nothing comes back.

Pure arithmetic: times come in as seconds of a monotonic clock. What a call takes is a mean over many, for single ones
differ ten times and say nothing.
"""

import math

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
