"""Compare asking by batch, at half price, with asking live, at once, and recommend one: arithmetic and nothing else.

An unknown figure is None and never guessed: a time that was not measured, a limit that is not published.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.gemini.models import RateLimits
from pipeline.gemini.rate_limiter import WINDOW_S

Mode = Literal["batch", "live"]

SURCHARGE = 0.25  # ours: USD that asking live may cost more than a batch
SOON_S = 900.0  # ours: seconds that a person waits at the terminal
DAY_S = 86_400.0
P90 = 0.9
TEN = 10  # from this on a length of time has no decimals


@dataclass(frozen=True)
class ModeEstimate:
    """What one mode would come to: USD, seconds (None if unknown), how many batches or calls, and its quota.

    `priced_on` (an ISO date) and `price_source` say whose prices these are. `fits_today` is false if the day's requests
    do not suffice, `affordable` if a budget does not. `refused` says why a person must decide first, `absent` why the
    mode is not available.
    """

    cost: float = 0.0
    priced_on: str = ""
    price_source: str = ""
    seconds: float | None = None
    count: int = 0
    quota: str = ""
    figures: Mapping[str, int | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    fits_today: bool = True
    affordable: bool = True
    refused: str = ""
    absent: str = ""

    @property
    def likely(self) -> str:
        """Return how long it is likely to take, in words."""
        return format_duration(self.seconds) if self.seconds is None else f"about {format_duration(self.seconds)}"


def recommend(
    batch: ModeEstimate, live: ModeEstimate, *, items: int, deadline_s: float | None = None
) -> tuple[Mode | None, str]:
    """Return which mode fits and why; None if no item is to be asked, or a person must decide.

    Live, if there are no batches at all. Never a mode that is dearer and slower than one that fits. With a deadline, a
    batch if it is in time, else live if that is, else the faster one. Without a deadline, live if it costs little more,
    ends soon, and its quota suffices.
    """
    if not items:
        return None, "no item is left to ask"
    if batch.absent:
        return "live", f"{batch.absent}; asking live takes {live.likely}"
    if batch.refused:
        return None, batch.refused
    both_times = f"{live.likely}, a batch {batch.likely}"
    if _is_dominated(batch, by=live):
        return "live", f"asking live costs less and is faster: {both_times}"
    if _is_dominated(live, by=batch):
        return "batch", f"asking live costs more and takes longer: {both_times}"
    return _in_time(batch, live, deadline_s) if deadline_s is not None else _cheap_and_soon(batch, live)


def _cheap_and_soon(batch: ModeEstimate, live: ModeEstimate) -> tuple[Mode, str]:
    surcharge = live.cost - batch.cost
    against = [
        reason
        for reason, holds in (
            ("today's requests are too few to ask live", not live.fits_today),
            ("a budget has no room to ask live", batch.affordable and not live.affordable),
            (f"asking live costs ${surcharge:,.2f} more", surcharge > SURCHARGE),
            ("how long live calls take is not known yet", live.seconds is None),
            (
                f"asking live takes {live.likely}",
                live.seconds is not None and live.seconds > SOON_S,
            ),
        )
        if holds
    ]
    if against:
        return "batch", "; ".join(against)
    more = f"costs only ${surcharge:,.4f} more" if surcharge > 0 else "costs no more"
    return "live", f"asking live {more} and takes {live.likely}"


def _is_dominated(mode: ModeEstimate, *, by: ModeEstimate) -> bool:
    is_faster = by.seconds is not None and mode.seconds is not None and by.seconds < mode.seconds
    return by.cost <= mode.cost and is_faster and by.fits_today and by.affordable


def _in_time(batch: ModeEstimate, live: ModeEstimate, deadline_s: float) -> tuple[Mode, str]:
    within = f"within {format_duration(deadline_s)}"
    if _known(batch) <= deadline_s:
        return "batch", f"a batch should be over in {format_duration(batch.seconds)}, {within}"
    takes = (
        "how long a batch takes is unknown"
        if batch.seconds is None
        else f"a batch may take {format_duration(batch.seconds)}"
    )
    if _known(live) <= deadline_s:
        return "live", f"{takes}; asking live takes {live.likely}, {within}"
    first: Mode = "batch" if _known(batch) < _known(live) else "live"
    over = format_duration((batch if first == "batch" else live).seconds)
    return first, f"neither mode is known to end {within}; {first} is likely to end first ({over})"


def _known(mode: ModeEstimate) -> float:
    return math.inf if mode.seconds is None else mode.seconds


def live_seconds(
    requests: int,
    tokens: int,
    *,
    limits: RateLimits,
    used_today: int,
    until_reset_s: float,
    rate: float | None,
) -> float | None:
    """Return about how long so many calls with so many prompt tokens in all take; None if nothing bounds them.

    `rate` is how many calls a second were measured, if any were. Calls beyond the day's requests are made after the
    reset in `until_reset_s` seconds.
    """
    if not requests:
        return 0.0
    rates = [] if rate is None else [rate]
    rates += [] if limits.rpm is None else [limits.rpm / WINDOW_S]
    rates += [] if limits.tpm is None or not tokens else [limits.tpm / WINDOW_S * requests / tokens]
    slowest = min(rates, default=None)
    left = requests if limits.rpd is None else max(0, limits.rpd - used_today)
    if limits.rpd is None or requests <= left:
        return None if slowest is None else requests / slowest
    later = requests - left
    days, last = divmod(later - 1, limits.rpd)
    waited = until_reset_s + days * DAY_S
    if slowest is None:
        return waited
    # if a day's requests take longer than a day, they go on through the next one
    return max(waited + (last + 1) / slowest, until_reset_s + later / slowest, requests / slowest)


def turns(batches: int, tokens: int, *, most_tokens: int | None, most_batches: int) -> int:
    """Return in how many turns batches of so many tokens in all go out, if only so much may wait at the API."""
    if not batches:
        return 0
    at_once = most_batches
    if most_tokens is not None and tokens:
        at_once = min(at_once, int(most_tokens * batches / tokens))
    return math.ceil(batches / max(1, at_once))


def percentile_90(values: Sequence[float]) -> float | None:
    """Return the least of some values that nine in ten do not exceed; None if there are none."""
    return sorted(values)[math.ceil(P90 * len(values)) - 1] if values else None


def format_duration(seconds: float | None) -> str:
    """Return a length of time in words."""
    if seconds is None:
        return "an unknown time"
    for unit, length in (("d", DAY_S), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        amount = seconds / length
        if amount >= (2 if unit == "d" else 1):
            return f"{amount:.0f} {unit}" if amount >= TEN else f"{amount:.1f} {unit}".replace(".0 ", " ")
    return "a second"
