"""The recommended mode, and the duration of each mode, for any figures."""

import math
from dataclasses import replace
from functools import partial

from hypothesis import example, given
from hypothesis import strategies as st

from askrows.pipeline.provider.models import RateLimits
from askrows.pipeline.run.mode_choice import (
    ModeEstimate,
    estimate_live_seconds,
    recommend_mode,
)

TIMES = st.none() | st.floats(0, 10 * 86_400)
COSTS = st.floats(0, 100)
ESTIMATES = st.builds(ModeEstimate, cost=COSTS, seconds=TIMES, affordable=st.booleans())
MODES = st.fixed_dictionaries({"batch": ESTIMATES, "flex": ESTIMATES, "live": ESTIMATES})
DEADLINES = st.none() | st.floats(0, 10 * 86_400)
LIMITS = st.builds(
    RateLimits,
    rpm=st.none() | st.integers(1, 5000),
    tpm=st.none() | st.integers(1000, 5_000_000),
    rpd=st.none() | st.integers(1, 200_000),
)


def _duration(estimate: ModeEstimate) -> float:
    """Return the duration of a mode; an unknown duration is infinite."""
    return math.inf if estimate.seconds is None else estimate.seconds


@given(modes=MODES, row_count=st.integers(0, 10**6), deadline_s=DEADLINES)
def test_a_mode_is_recommended_if_rows_are_open(
    modes: dict[str, ModeEstimate], row_count: int, deadline_s: float | None
) -> None:
    """A mode is recommended with a reason, except without rows or after a refused probe."""
    name, reason = recommend_mode(modes, row_count=row_count, deadline_s=deadline_s)
    assert reason
    assert (name is None) == (row_count == 0)

    refused_modes = modes | {"batch": replace(modes["batch"], refusal_reason="a probe failed")}
    assert recommend_mode(refused_modes, row_count=row_count, deadline_s=deadline_s)[0] is None

    fewer_modes = modes | {"batch": replace(modes["batch"], absence_reason="there are none")}
    other_name, other_reason = recommend_mode(
        fewer_modes, row_count=row_count, deadline_s=deadline_s
    )
    assert (
        row_count == 0
        or (other_name in {"flex", "live"} and "there are none" in other_reason)
        or "no mode is expected" in other_reason
        or "no mode costs" in other_reason
    )


@given(modes=MODES, deadline_s=DEADLINES)
# A batch that ended within a second, for half the price.
@example(
    modes={
        "batch": ModeEstimate(cost=0.098, seconds=0.6),
        "flex": ModeEstimate(cost=0.098, seconds=60.0),
        "live": ModeEstimate(cost=0.20, seconds=720.0),
    },
    deadline_s=None,
)
# Without a price, the modes differ only in their duration.
@example(
    modes={
        "batch": ModeEstimate(seconds=60.0),
        "flex": ModeEstimate(seconds=6.0),
        "live": ModeEstimate(seconds=0.6),
    },
    deadline_s=None,
)
@example(modes=dict.fromkeys(("batch", "flex", "live"), ModeEstimate()), deadline_s=None)
def test_the_cheapest_mode_in_time_is_recommended(
    modes: dict[str, ModeEstimate], deadline_s: float | None
) -> None:
    """The fastest of equally cheap modes wins; if no mode is in time, the fastest mode wins."""
    name, reason = recommend_mode(modes, row_count=1, deadline_s=deadline_s)
    assert name is not None

    recommended = modes[name]
    candidates = [estimate for estimate in modes.values() if estimate.affordable] or list(
        modes.values()
    )
    assert recommended in candidates

    in_time = [
        estimate
        for estimate in candidates
        if deadline_s is None or _duration(estimate) <= deadline_s
    ]
    if not in_time:
        assert "no mode is expected" in reason
        assert _duration(recommended) == min(map(_duration, candidates))
        assert f"; {name} is the fastest (" in reason
        return

    min_cost = min(round(estimate.cost, 6) for estimate in in_time)
    assert round(recommended.cost, 6) == min_cost
    assert _duration(recommended) == min(
        _duration(estimate) for estimate in in_time if round(estimate.cost, 6) == min_cost
    )
    if any(estimate.cost for estimate in candidates):
        assert reason.startswith("it is the cheapest of batch, flex and live")


@given(
    requests=st.integers(1, 10_000),
    tokens_per_request=st.integers(1, 1000),
    limits=LIMITS,
    requests_today=st.integers(0, 200_000),
    rate=st.none() | st.floats(0.01, 1000),
)
# The quota is used up, and each call takes a minute.
@example(
    requests=1418,
    tokens_per_request=1,
    limits=RateLimits(rpm=1, tpm=None, rpd=1418),
    requests_today=1418,
    rate=None,
)
def test_live_calls_take_at_least_the_time_of_each_limit(
    requests: int,
    tokens_per_request: int,
    limits: RateLimits,
    requests_today: int,
    rate: float | None,
) -> None:
    """Each limit is a lower bound, more requests take longer, and no bound means None."""
    estimate_seconds = partial(
        estimate_live_seconds,
        limits=limits,
        used_today=requests_today,
        until_reset_s=3600.0,
        calls_per_s=rate,
    )
    seconds = estimate_seconds(requests, requests * tokens_per_request)
    if seconds is None:
        assert limits.rpm is None
        assert limits.tpm is None
        assert rate is None
        return
    if limits.rpm is not None:
        assert seconds >= (requests / limits.rpm) * 60
    if limits.tpm is not None:
        assert seconds >= (requests * tokens_per_request / limits.tpm) * 60
    if limits.rpd is not None and requests > max(0, limits.rpd - requests_today):
        assert seconds >= 3600
    longer_seconds = estimate_seconds(requests + 1, (requests + 1) * tokens_per_request)
    assert longer_seconds is not None
    assert longer_seconds >= seconds * (1 - 1e-9)
