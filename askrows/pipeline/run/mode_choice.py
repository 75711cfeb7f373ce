"""Recommend a mode: the cheapest that ends before the deadline, else the fastest.

- A mode is absent if it is not available here, for example batches in the free tier.
- A mode is affordable if all budgets have room for it.
- A mode is refused if a person must decide first, for example because a pilot failed.

An unknown duration is None. The estimates come from `run/preflight.py`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from askrows.pipeline.core.text import format_duration, format_usd
from askrows.pipeline.provider.models import RateLimits
from askrows.pipeline.provider.rate_limiter import WINDOW_S

DAY_S = 86_400.0


@dataclass(frozen=True)
class ModeEstimate:
    """Estimate of one mode."""

    # In USD, with the cost of control requests.
    cost: float = 0.0
    # In USD. Modes are compared without it.
    control_cost: float = 0.0
    # Duration, or None if unknown.
    seconds: float | None = None
    # Batches or calls.
    count: int = 0
    warnings: tuple[str, ...] = ()
    # False if a budget has no room for it.
    affordable: bool = True
    # Why a person must decide first; empty if the mode is not refused.
    refusal_reason: str = ""
    # Why the mode is not available; empty if it is.
    absence_reason: str = ""

    @property
    def compared_cost(self) -> float:
        """Return the cost that modes are compared by, in USD: without control requests."""
        return self.cost - self.control_cost

    @property
    def obstacle(self) -> str:
        """Return why the mode cannot be chosen; empty if it can."""
        return self.absence_reason or self.refusal_reason

    @property
    def duration_text(self) -> str:
        """Return the likely duration as text."""
        if self.seconds is None:
            return "duration unknown"
        return f"about {format_duration(self.seconds)}"

    def document(self, count_name: str) -> dict[str, Any]:
        """Return the estimate as JSON members, without `absence_reason`; unknown figures are null.

        Args:
            count_name: Member name of the count: batches or calls.
        """
        return {
            "cost": round(self.cost, 6),
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            count_name: self.count,
            "affordable": self.affordable,
            "warnings": self.warnings,
            "refused": self.refusal_reason or None,
        }


def recommend_mode(
    estimates: Mapping[str, ModeEstimate],
    *,
    row_count: int,
    deadline_s: float | None = None,
) -> tuple[str | None, str]:
    """Return the mode to use and the reason, from the estimates of all modes.

    1. Modes with an `absence_reason` are not available, and are left out.
    2. If any other mode has a `refusal_reason`, no mode is returned, even if another mode is
       better, because a person must decide first.
    3. Modes that no budget has room for are left out, unless that leaves none.
    4. It is the cheapest of the other modes that ends before the deadline. If costs are equal, it
       is the faster mode.
    5. If no mode ends in time, it is the fastest mode. An unknown duration counts as endless.

    Args:
        estimates: Estimates by mode.
        row_count: Number of rows to ask.
        deadline_s: Seconds from now, or None for no deadline.

    Returns:
        Mode and reason. The mode is None if there is no row to ask, or if a mode is refused, with
        the reason of the refusal.
    """
    if not row_count:
        return None, "no row is open"

    available = {
        mode: estimate for mode, estimate in estimates.items() if not estimate.absence_reason
    }
    for estimate in available.values():
        if estimate.refusal_reason:
            return None, estimate.refusal_reason

    affordable = {mode: estimate for mode, estimate in available.items() if estimate.affordable}
    candidates = affordable or available
    durations_s = {
        mode: math.inf if estimate.seconds is None else estimate.seconds
        for mode, estimate in candidates.items()
    }
    in_time = {
        mode: estimate
        for mode, estimate in candidates.items()
        if deadline_s is None or durations_s[mode] <= deadline_s
    }
    deadline_text = "" if deadline_s is None else f" within {format_duration(deadline_s)}"
    if not in_time:
        fastest = min(candidates, key=durations_s.__getitem__)
        speed_text = f"{fastest} is the fastest ({candidates[fastest].duration_text})"
        return fastest, f"no mode is expected to finish{deadline_text}; {speed_text}"

    def preference(mode: str) -> tuple[float, float]:
        return (round(in_time[mode].compared_cost, 6), durations_s[mode])

    recommended = min(in_time, key=preference)
    if not any(estimate.cost for estimate in candidates.values()):
        return recommended, "no mode costs anything here"

    in_time_text = f" and finishes{deadline_text}" if deadline_text else ""
    reasons = [f"it is the cheapest of batch, flex and live{in_time_text}"]
    if candidates[recommended].seconds is not None:
        reasons.append(f"it takes {candidates[recommended].duration_text}")
    for mode, estimate in candidates.items():
        if mode != recommended:
            cost = format_usd(estimate.cost)
            reasons.append(f"{mode} costs {cost} ({estimate.duration_text})")
    reasons += [
        estimate.absence_reason for estimate in estimates.values() if estimate.absence_reason
    ]
    return recommended, "; ".join(reasons)


def estimate_live_seconds(
    requests: int,
    tokens: int,
    *,
    limits: RateLimits,
    used_today: int,
    until_reset_s: float,
    calls_per_s: float | None,
) -> float | None:
    """Return about how many seconds live calls take, bounded by limits and measured calls.

    Calls beyond the daily quota are made after its reset.

    Args:
        requests: Number of calls.
        tokens: Prompt tokens of all calls together.
        limits: Limits per minute and per day.
        used_today: Calls that already count for the daily quota.
        until_reset_s: Seconds until the daily quota is reset.
        calls_per_s: Measured calls per second of all parallel calls together, or None if unknown.

    Returns:
        None if neither a limit nor `calls_per_s` bounds the calls; 0.0 without calls.
    """
    max_calls_per_s = list[float]()
    if calls_per_s:
        max_calls_per_s.append(calls_per_s)
    if limits.rpm:
        max_calls_per_s.append(limits.rpm / WINDOW_S)
    if limits.tpm and tokens and requests:
        calls_per_minute = limits.tpm * requests / tokens
        max_calls_per_s.append(calls_per_minute / WINDOW_S)

    seconds: float | None = None
    if max_calls_per_s:
        seconds = requests / min(max_calls_per_s)
    elif not requests:
        seconds = 0.0

    if limits.rpd is None:
        return seconds
    calls_after_reset = requests - max(0, limits.rpd - used_today)
    if calls_after_reset <= 0:
        return seconds
    further_resets = (calls_after_reset - 1) // limits.rpd
    return max(seconds or 0.0, until_reset_s + further_resets * DAY_S)
