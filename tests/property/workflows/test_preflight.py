"""Which way is recommended, and how long each takes: what holds whatever the figures are."""

import math
from dataclasses import replace
from functools import partial

from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.gemini.models import RateLimits
from pipeline.workflows.mode_choice import ModeEstimate, estimate_live_seconds, recommend_mode

TIMES = st.none() | st.floats(0, 10 * 86_400)
COSTS = st.floats(0, 100)
WAYS = st.builds(ModeEstimate, cost=COSTS, seconds=TIMES, affordable=st.booleans())
ALL = st.fixed_dictionaries({"batch": WAYS, "flex": WAYS, "live": WAYS})
DEADLINES = st.none() | st.floats(0, 10 * 86_400)
LIMITS = st.builds(
    RateLimits,
    rpm=st.none() | st.integers(1, 5000),
    tpm=st.none() | st.integers(1000, 5_000_000),
    rpd=st.none() | st.integers(1, 200_000),
)


def _known(way: ModeEstimate) -> float:
    """Return how long a way takes; longer than anything where that is not known."""
    return math.inf if way.seconds is None else way.seconds


@given(ways=ALL, items=st.integers(0, 10**6), deadline_s=DEADLINES)
def test_a_way_is_recommended_exactly_where_somebody_is_to_be_asked(
    ways: dict[str, ModeEstimate], items: int, deadline_s: float | None
) -> None:
    """Nothing to ask, or a person who has to decide: none. Else one that there is, always with a reason."""
    name, reason = recommend_mode(ways, items=items, deadline_s=deadline_s)
    assert reason
    assert (name is None) == (items == 0)
    held = ways | {"batch": replace(ways["batch"], refused="a probe failed")}
    assert recommend_mode(held, items=items, deadline_s=deadline_s)[0] is None
    fewer = ways | {"batch": replace(ways["batch"], absent="there are none")}
    only, why = recommend_mode(fewer, items=items, deadline_s=deadline_s)
    assert (
        items == 0
        or (only in {"flex", "live"} and "there are none" in why)
        or "no way is known" in why
    )


@given(ways=ALL, deadline_s=DEADLINES)
@example(  # a batch that was over in a second, for half the money
    ways={
        "batch": ModeEstimate(cost=0.098, seconds=0.6),
        "flex": ModeEstimate(cost=0.098, seconds=60.0),
        "live": ModeEstimate(cost=0.20, seconds=720.0),
    },
    deadline_s=None,
)
def test_the_cheapest_that_is_in_time_is_recommended(
    ways: dict[str, ModeEstimate], deadline_s: float | None
) -> None:
    """Of equal ones the one that is over first, of those in no time whichever is over first; within a budget's room."""
    name, reason = recommend_mode(ways, items=1, deadline_s=deadline_s)
    assert name is not None
    chosen = ways[name]
    others = [one for one in ways.values() if one.affordable] or list(ways.values())
    assert chosen in others
    in_time = [one for one in others if deadline_s is None or _known(one) <= deadline_s]
    if not in_time:
        assert "no way" in reason
        assert _known(chosen) == min(map(_known, others))
        return
    least = min(round(one.cost, 6) for one in in_time)
    assert round(chosen.cost, 6) == least
    assert _known(chosen) == min(_known(one) for one in in_time if round(one.cost, 6) == least)


@given(
    requests=st.integers(1, 10_000),
    each=st.integers(1, 1000),
    limits=LIMITS,
    used=st.integers(0, 200_000),
    rate=st.none() | st.floats(0.01, 1000),
)
@example(
    requests=1418, each=1, limits=RateLimits(rpm=1, tpm=None, rpd=1418), used=1418, rate=None
)  # over a day for each
def test_live_calls_take_at_least_what_each_limit_takes(
    requests: int, each: int, limits: RateLimits, used: int, rate: float | None
) -> None:
    """No sooner than by any one limit alone, later where more is asked, and unknown only where nothing bounds it."""
    taking = partial(
        estimate_live_seconds, limits=limits, used_today=used, until_reset_s=3600.0, rate=rate
    )
    seconds = taking(requests, requests * each)
    if seconds is None:
        assert limits.rpm is None
        assert limits.tpm is None
        assert rate is None
        return
    if limits.rpm is not None:
        assert seconds >= (requests / limits.rpm) * 60
    if limits.tpm is not None:
        assert seconds >= (requests * each / limits.tpm) * 60
    if limits.rpd is not None and requests > max(0, limits.rpd - used):
        assert seconds >= 3600
    more = taking(requests + 1, (requests + 1) * each)
    assert more is not None
    assert more >= seconds * (1 - 1e-9)
