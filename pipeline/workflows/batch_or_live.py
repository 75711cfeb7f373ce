"""The two ways to ask, by batch at half price or live at once, and which of them fits: arithmetic and nothing else.

What is not known is None and never guessed at here: a time of a machine that nobody measured, a limit nobody knows.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pipeline.gemini.rate_limiter import WINDOW_S, RateLimits

Name = Literal["batch", "live"]

SURCHARGE = 0.25  # ours: USD that asking live may cost more than a batch and is still taken for small
SOON_S = 900.0  # ours: what takes so long is waited for at the terminal
DAY_S = 86_400.0
P90 = 0.9
TEN = 10  # from here on a length of time is said without decimals


@dataclass(frozen=True)
class ModeEstimate:
    """What one way would come to: USD, seconds (None where nobody knows), how many batches or calls, and its quota.

    `priced_on` (an ISO date) and `price_source` say whose prices these are. `fits_today` is false where the day's
    requests are too few; `affordable` where a budget is; `refused` says why a person has to decide before it is taken,
    `absent` why there is no such way at all.
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
    def takes(self) -> str:
        """Return how long it takes, as people say it."""
        return format_duration(self.seconds)


def recommend(
    batch: ModeEstimate, live: ModeEstimate, *, items: int, deadline_s: float | None = None
) -> tuple[Name | None, str]:
    """Return which way fits, None where nobody is to be asked or a person has to decide, and why.

    Where there are no batches at all, live. With a deadline, a batch where it is in time, else live where that is, else
    whichever is over first. Without one, live where it costs little more, is over soon, and its quota lasts.
    """
    if not items:
        return None, "nobody is left to ask"
    if batch.absent:
        return "live", f"{batch.absent}; asking live takes about {format_duration(live.seconds)}"
    if batch.refused:
        return None, batch.refused
    if deadline_s is not None:
        return _in_time(batch, live, deadline_s)
    surcharge = live.cost - batch.cost
    against = [
        reason
        for reason, holds in (
            ("today's requests are too few to ask live", not live.fits_today),
            ("a budget has no room to ask live", batch.affordable and not live.affordable),
            (f"asking live costs ${surcharge:,.2f} more", surcharge > SURCHARGE),
            ("how long live calls take here is not known yet", live.seconds is None),
            (
                f"asking live takes about {format_duration(live.seconds)}",
                live.seconds is not None and live.seconds > SOON_S,
            ),
        )
        if holds
    ]
    if against:
        return "batch", "; ".join(against)
    more = f"costs only ${surcharge:,.4f} more" if surcharge > 0 else "costs no more"
    return "live", f"asking live {more} and takes about {format_duration(live.seconds)}"


def _in_time(batch: ModeEstimate, live: ModeEstimate, deadline_s: float) -> tuple[Name, str]:
    """Return the cheaper way that is over before a deadline, else the one that is over first."""
    within = f"within {format_duration(deadline_s)}"
    if _known(batch) <= deadline_s:
        return "batch", f"a batch should be over in {format_duration(batch.seconds)}, {within}"
    takes = (
        "nobody knows how long a batch takes"
        if batch.seconds is None
        else f"a batch may take {format_duration(batch.seconds)}"
    )
    if _known(live) <= deadline_s:
        return "live", f"{takes}; asking live takes about {format_duration(live.seconds)}, {within}"
    first: Name = "batch" if _known(batch) < _known(live) else "live"
    over = format_duration((batch if first == "batch" else live).seconds)
    return first, f"neither way is known to be over {within}; {first} is likely to be over first ({over})"


def _known(way: ModeEstimate) -> float:
    """Return how long a way takes; longer than anything where nobody knows."""
    return math.inf if way.seconds is None else way.seconds


def live_seconds(
    requests: int,
    tokens: int,
    *,
    limits: RateLimits,
    used_today: int,
    until_reset_s: float,
    rate: float | None,
) -> float | None:
    """Return about how long so many calls with so many prompt tokens in all take; None where nothing bounds them.

    `rate` is how many calls a second come back here, None where nobody measured. What a day's requests are too few
    for goes on when they begin anew, in `until_reset_s` seconds.
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
    # where a day's requests take longer than a day, they go on through the next one
    return max(waited + (last + 1) / slowest, until_reset_s + later / slowest, requests / slowest)


def turns(batches: int, tokens: int, *, most_tokens: int | None, most_batches: int) -> int:
    """Return in how many turns batches of so many tokens in all go out, where only so much may wait at the API."""
    if not batches:
        return 0
    at_once = most_batches
    if most_tokens is not None and tokens:
        at_once = min(at_once, int(most_tokens * batches / tokens))
    return math.ceil(batches / max(1, at_once))


def percentile_90(values: Sequence[float]) -> float | None:
    """Return the least of some values that nine in ten do not pass; None where there are none."""
    return sorted(values)[math.ceil(P90 * len(values)) - 1] if values else None


def format_duration(seconds: float | None) -> str:
    """Return a length of time as people say it."""
    if seconds is None:
        return "an unknown time"
    for unit, length in (("d", DAY_S), ("h", 3600.0), ("min", 60.0), ("s", 1.0)):
        amount = seconds / length
        if amount >= (2 if unit == "d" else 1):
            return f"{amount:.0f} {unit}" if amount >= TEN else f"{amount:.1f} {unit}".replace(".0 ", " ")
    return "a second"
