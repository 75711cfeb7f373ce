"""Compute the delays between the attempts of a call that fails."""

import math
import random
from dataclasses import dataclass

# A delay stops to grow after this many failures in a row, so that no number overflows.
MAX_GROWTH_STEPS = 64


@dataclass(frozen=True)
class RetryPolicy:
    """How long to wait after each failure in a row, and when to stop trying."""

    # Delay after the first failure, in seconds.
    first_delay_s: float
    # No delay of our own is longer. The server may ask for a longer delay.
    max_delay_s: float
    # Seconds after which a failing call is not repeated.
    max_elapsed_s: float = math.inf
    # Factor by which a delay is longer than the delay before.
    growth: float = 2.0
    # The smallest random share of a delay; 1.0 means that no delay is random.
    min_share: float = 1.0

    def compute_delay_s(self, failures: int, *, requested_s: float | None = None) -> float:
        """Return the seconds to wait after a failure.

        Args:
            failures: Number of failures in a row, at least 1.
            requested_s: The shortest delay that the server asked for, or None.
        """
        growth_steps = min(failures - 1, MAX_GROWTH_STEPS)
        delay_s = min(self.max_delay_s, self.first_delay_s * self.growth**growth_steps)
        share = random.uniform(self.min_share, 1)  # noqa: S311 - no secret
        return max(delay_s * share, requested_s or 0.0)

    def is_over(self, elapsed_s: float) -> bool:
        """Return whether a call that fails for this time is not repeated any more."""
        return elapsed_s > self.max_elapsed_s
