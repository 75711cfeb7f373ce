"""Adapt a pace to what the server says: down when it refuses, up again as it answers.

Multiplicative down and additive up, as networks share a line: the step is a part of what the cut left, so that it fits
the true limit however far that is below the one that is set; it doubles with each clean minute, so that a storm of
refusals is over in minutes and not in hours. Pure, like the limiter: times are seconds of a monotonic clock.
"""

import math

MINUTE_S = 60.0
DOWN = 0.7  # ours: what a refusal leaves of the pace
STEEPEST = 0.05  # ours: what a refusal leaves where far less was asked than the limit allows
UP = 0.3  # ours: of the pace after the cut, won back in the first minute; twice as much in each further one
REACTION_S = 5.0  # ours: refusals this soon after a cut are answers to calls from before it
LULL_S = 10.0  # ours: at most so much time without an answer counts as time in which all went well
FIRST_DELAY_S = 2.0  # ours: the pause after a refusal that names none; doubles with each until a call succeeds


class Aimd:
    """The share of the limits that the server takes at the moment, and until when it wants silence."""

    def __init__(self, floor: float, *, longest_s: float) -> None:
        """Start with all of it; `floor` is the least share, `longest_s` the longest silence."""
        self.share, self.hold = 1.0, -math.inf
        self._floor, self._longest_s = floor, longest_s
        self._step, self._clean_since, self._risen = 0.0, 0.0, 0.0
        self._deaf_until, self._in_a_row = -math.inf, 0

    def refused(self, *, at: float, delay_s: float | None, asked: float = 1.0) -> None:
        """Be silent for the delay, and cut the share unless this still answers calls from before the last cut.

        Where only a part of the limits was `asked` in the last minute, as a share of them, there is no more to be had.
        """
        self.hold = max(self.hold, at + self._delay(delay_s))
        if at < self._deaf_until:
            return
        self.share = max(self._floor, min(self.share * DOWN, max(asked, self.share * STEEPEST)))
        self._step = self.share * UP
        self._in_a_row += 1
        self._clean_since = self._risen = self.hold
        self._deaf_until = max(self.hold, at + REACTION_S)

    def _delay(self, delay_s: float | None) -> float:
        """Return how long to be silent: as the server says, or ours, and never longer than the longest."""
        if delay_s is None or math.isnan(delay_s):
            delay_s = FIRST_DELAY_S * 2.0 ** min(self._in_a_row, 10)
        return min(max(delay_s, 0.0), self._longest_s)

    def succeeded(self, *, at: float) -> None:
        """Win back as much as the time since the last success is worth."""
        if at < self.hold:
            return
        self._in_a_row = 0
        if self.share >= 1.0:
            return
        self.share = min(1.0, self.share + self._step * min(at - self._risen, LULL_S) / MINUTE_S)
        self._risen = at
        if at - self._clean_since >= MINUTE_S:
            self._step, self._clean_since = self._step * 2, at
