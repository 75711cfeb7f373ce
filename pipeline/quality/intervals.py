"""Intervals of shares that are measured on samples."""

import math

# The quantile of the normal distribution for an interval of 95 %.
NORMAL_QUANTILE = 1.96


def compute_wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the ends of Wilson's 95 % interval of a share; (0, 1) without trials.

    Args:
        successes: From 0 to `trials`.
        trials: The size of the sample.
    """
    if not trials:
        return 0.0, 1.0

    share = successes / trials
    squared_quantile = NORMAL_QUANTILE**2
    center = share + squared_quantile / (2 * trials)
    variance = share * (1 - share) / trials + squared_quantile / (4 * trials**2)
    half_width = NORMAL_QUANTILE * math.sqrt(variance)
    divisor = 1 + squared_quantile / trials

    # Rounding errors must not put an end on the wrong side of the share.
    low = min(share, max(0.0, (center - half_width) / divisor))
    high = max(share, min(1.0, (center + half_width) / divisor))
    return low, high
