"""What holds for any calls whatever: no window above the limit, and no minute with work waiting that is wasted."""

from bisect import bisect_left
from itertools import accumulate
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.gemini.models import RateLimits
from pipeline.gemini.pace import RateLimiter

MINUTE_S = 60.0  # what the API counts by, and not what the limiter looks back on
LIMIT = st.sampled_from([1, 2, 5, 15, 60, 300]) | st.integers(1, 400)
Calls = list[tuple[float, int]]  # when each started, with how many tokens
minutes_long = settings(max_examples=15)  # each example is minutes of calls


def _worst(calls: Calls, *, width: float) -> tuple[int, int]:
    """Return the most calls and the most tokens in any window [t, t + width); the calls are in order of time."""
    sums = [0, *accumulate(tokens for _, tokens in calls)]
    most = (0, 0)
    first = 0
    for last, (at, _) in enumerate(calls):
        while calls[first][0] <= at - width:
            first += 1
        most = (max(most[0], last + 1 - first), max(most[1], sums[last + 1] - sums[first]))
    return most


def _within(calls: Calls, begin: float) -> tuple[int, int]:
    """Return how many calls, and how many tokens, started in the minute from `begin` on."""
    inside = calls[bisect_left(calls, (begin, 0)) : bisect_left(calls, (begin + MINUTE_S, 0))]
    return len(inside), sum(tokens for _, tokens in inside)


def _some(calls: Calls, *, until: float) -> list[float]:
    """Return where to look: just behind some fifty of the calls before `until`, where a minute is at its emptiest."""
    times = [at + 1e-6 for at, _ in calls if at <= until]
    return times[:: max(1, len(times) // 50)]


def _work(
    limiter: RateLimiter, sizes: list[int], *, begin: float, until: float, late: list[float]
) -> Calls:
    """Run as a worker with work always waiting does, whose wake-ups come late; the sizes are taken in turn."""
    at = begin
    calls: Calls = []
    while at < until:
        tokens = sizes[len(calls) % len(sizes)]
        wait = limiter.wait(tokens, at=at)
        if wait > 0:
            at += wait + late[len(calls) % len(late)]
            continue
        limiter.start(tokens, at=at)
        calls.append((at, tokens))
    return calls


@st.composite
def _events(draw: st.DrawFn, *, most: int) -> list[tuple[str, float, int]]:
    """Draw what happens to a limiter, in order: (what, seconds since the event before, tokens)."""
    what = st.sampled_from(["start"] * 6 + ["rush", "refused", "succeeded", "settle"])
    return draw(st.lists(st.tuples(what, st.floats(0, 30), st.integers(0, most)), max_size=150))


@minutes_long
@given(LIMIT, st.integers(1, 30) | st.integers(50, 2000), st.data())
def test_no_window_is_ever_above_the_limit(rpm: int, tpm: int, data: st.DataObject) -> None:
    """Over random arrivals, sizes, settlements below the estimate and tunings, no window holds more than the limit."""
    limiter = RateLimiter(RateLimits(rpm=rpm, tpm=tpm, rpd=None), at=0.0)
    others = data.draw(
        st.lists(st.tuples(st.floats(-60, 0), st.integers(0, tpm // 10)), max_size=min(rpm, 5))
    )
    limiter.prime(others, today=len(others))
    at = 0.0
    last = list[Any]()
    calls: Calls = sorted(others)
    for what, lapse, tokens in data.draw(_events(most=tpm)):
        at += lapse
        if what == "refused":
            limiter.refused(at=at, delay_s=lapse if tokens % 2 else None)
        elif what == "succeeded":
            limiter.succeeded()
        elif what == "settle" and last:
            limiter.settle(last[0], min(tokens, last[1]))
            calls[-1] = (calls[-1][0], min(tokens, last[1]))
        else:
            size = min(tokens % 7 + 1, tpm) if what == "rush" else tokens
            for _ in range(40 if what == "rush" else 1):
                wait = limiter.wait(size, at=at)
                at += wait if what == "start" else 0.0
                if wait > 0 and limiter.wait(size, at=at) > 0:
                    continue
                last = [limiter.start(size, at=at), size]
                calls.append((at, size))
    requests, total = _worst(calls, width=MINUTE_S)
    assert requests <= rpm
    assert total <= tpm


@minutes_long
@given(rpm=LIMIT, late=st.lists(st.floats(0, 1), min_size=1, max_size=9))
def test_not_even_a_jitter_of_a_second_lifts_a_window_above_the_limit(
    rpm: int, late: list[float]
) -> None:
    """The limit holds for windows a second longer than a minute: what arrives a second too close is still allowed."""
    calls = _work(
        RateLimiter(RateLimits(rpm, None, None), at=0.0), [1], begin=0.0, until=200.0, late=late
    )
    assert _worst(calls, width=60.999)[0] <= rpm


@minutes_long
@given(
    rpm=LIMIT, late=st.lists(st.floats(0, 0.2), min_size=1, max_size=9), begin=st.floats(0, 10**6)
)
def test_no_minute_with_work_waiting_is_wasted(rpm: int, late: list[float], begin: float) -> None:
    """In each minute, wherever it begins, nine tenths of the requests start, in whole calls; over ten minutes too."""
    limiter = RateLimiter(RateLimits(rpm, None, None), at=begin)
    calls = _work(limiter, [1], begin=begin, until=begin + 11 * MINUTE_S, late=late)
    for start in [begin, *_some(calls, until=begin + 10 * MINUTE_S - 1)]:
        assert _within(calls, start)[0] >= int(0.9 * rpm)
    assert sum(at < begin + 10 * MINUTE_S for at, _ in calls) >= int(9 * rpm)


@minutes_long
@given(rpm=LIMIT, tpm=st.integers(10, 10**6), data=st.data())
def test_a_wait_that_was_kept_is_over(rpm: int, tpm: int, data: st.DataObject) -> None:
    """A call that waits as long as was said may start then, or after a moment more; none is sent round in circles."""
    at = data.draw(st.floats(0, 10**7))
    limiter = RateLimiter(RateLimits(rpm, tpm, None), at=at)
    for tokens, settled in data.draw(
        st.lists(st.tuples(st.integers(0, tpm), st.integers(0, tpm)), max_size=60)
    ):
        at += limiter.wait(tokens, at=at)
        assert limiter.wait(tokens, at=at) == 0.0
        limiter.settle(limiter.start(tokens, at=at), min(settled, tokens))
