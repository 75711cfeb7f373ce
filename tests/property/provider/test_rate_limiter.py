"""For any calls: no window exceeds the limit, and no minute is wasted while work waits."""

from bisect import bisect_left
from itertools import accumulate
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from askrows.pipeline.provider.models import RateLimits
from askrows.pipeline.provider.rate_limiter import RateLimiter

# The window of the API; the limiter's own window is longer.
MINUTE_S = 60.0
LIMIT = st.sampled_from([1, 2, 5, 15, 60, 300]) | st.integers(1, 400)
# Start times with numbers of tokens.
Calls = list[tuple[float, int]]
# Each example simulates minutes of calls.
minutes_long = settings(max_examples=15)


class Clock:
    """A clock that a test sets."""

    def __init__(self, now_s: float = 0.0) -> None:
        """Start at a time in seconds."""
        self.now_s = now_s

    def read(self) -> float:
        """Return the time in seconds."""
        return self.now_s


def _max_in_window(calls: Calls, *, width: float) -> tuple[int, int]:
    """Return the largest numbers of calls and tokens in any window; calls are sorted by time."""
    sums = [0, *accumulate(tokens for _, tokens in calls)]
    maximum = (0, 0)
    first = 0
    for last, (started_at, _) in enumerate(calls):
        while calls[first][0] <= started_at - width:
            first += 1
        maximum = (max(maximum[0], last + 1 - first), max(maximum[1], sums[last + 1] - sums[first]))
    return maximum


def _count_in_minute(calls: Calls, start_time: float) -> tuple[int, int]:
    """Return the numbers of calls and tokens in the minute from `begin` on."""
    calls_in_minute = calls[
        bisect_left(calls, (start_time, 0)) : bisect_left(calls, (start_time + MINUTE_S, 0))
    ]
    return len(calls_in_minute), sum(tokens for _, tokens in calls_in_minute)


def _sample_times(calls: Calls, *, end_time: float) -> list[float]:
    """Return some fifty times right after calls, because a minute has the fewest calls there."""
    times = [started_at + 1e-6 for started_at, _ in calls if started_at <= end_time]
    return times[:: max(1, len(times) // 50)]


def _run_worker(
    limits: RateLimits,
    sizes: list[int],
    *,
    start_time: float,
    end_time: float,
    delays: list[float],
) -> Calls:
    """Simulate a worker with endless work and late wake-ups; sizes are used in turn."""
    clock = Clock(start_time)
    limiter = RateLimiter(limits, monotonic=clock.read)
    calls: Calls = []
    while clock.now_s < end_time:
        tokens = sizes[len(calls) % len(sizes)]
        wait_s = limiter.compute_wait_s(tokens)
        if wait_s > 0:
            clock.now_s += wait_s + delays[len(calls) % len(delays)]
            continue
        limiter.count_started_call(tokens)
        calls.append((clock.now_s, tokens))
    return calls


@st.composite
def _events(draw: st.DrawFn, *, max_tokens: int) -> list[tuple[str, float, int]]:
    """Draw events of a limiter: (kind, seconds since the previous event, tokens)."""
    # Most events are starts.
    kinds = st.sampled_from(
        ["start"] * 6 + ["rush", "refused", "succeeded", "replace_estimated_tokens"]
    )
    return draw(
        st.lists(st.tuples(kinds, st.floats(0, 30), st.integers(0, max_tokens)), max_size=150)
    )


@minutes_long
@given(LIMIT, st.integers(1, 30) | st.integers(50, 2000), st.data())
def test_no_window_is_ever_above_the_limit(rpm: int, tpm: int, chance: st.DataObject) -> None:
    """Random arrivals, sizes, settlements and tunings keep every window within the limit."""
    clock = Clock()
    limiter = RateLimiter(RateLimits(rpm=rpm, tpm=tpm, rpd=None), monotonic=clock.read)
    earlier_calls = chance.draw(
        st.lists(st.tuples(st.floats(-60, 0), st.integers(0, tpm // 10)), max_size=min(rpm, 5))
    )
    limiter.replace_calls_of_other_processes(earlier_calls, used_today=len(earlier_calls))
    last_call = list[Any]()
    calls: Calls = sorted(earlier_calls)
    for kind, lapse, tokens in chance.draw(_events(max_tokens=tpm)):
        clock.now_s += lapse
        if kind == "refused":
            limiter.delay_calls_after_refusal(lapse if tokens % 2 else None)
        elif kind == "succeeded":
            limiter.reset_refusals()
        elif kind == "replace_estimated_tokens" and last_call:
            limiter.replace_estimated_tokens(last_call[0], min(tokens, last_call[1]))
            calls[-1] = (calls[-1][0], min(tokens, last_call[1]))
        else:
            size = min(tokens % 7 + 1, tpm) if kind == "rush" else tokens
            for _ in range(40 if kind == "rush" else 1):
                wait_s = limiter.compute_wait_s(size)
                clock.now_s += wait_s if kind == "start" else 0.0
                if wait_s > 0 and limiter.compute_wait_s(size) > 0:
                    continue
                last_call = [limiter.count_started_call(size), size]
                calls.append((clock.now_s, size))

    requests, total = _max_in_window(calls, width=MINUTE_S)
    assert requests <= rpm
    assert total <= tpm


@minutes_long
@given(
    rpm=LIMIT,
    delays=st.lists(st.floats(0, 0.2), min_size=1, max_size=9),
    start_time=st.floats(0, 10**6),
)
def test_no_minute_with_work_waiting_is_wasted(
    rpm: int, delays: list[float], start_time: float
) -> None:
    """Nine tenths of the limit start in each minute, and over ten minutes."""
    calls = _run_worker(
        RateLimits(rpm, None, None),
        [1],
        start_time=start_time,
        end_time=start_time + 11 * MINUTE_S,
        delays=delays,
    )
    for start in [start_time, *_sample_times(calls, end_time=start_time + 10 * MINUTE_S - 1)]:
        assert _count_in_minute(calls, start)[0] >= int(0.9 * rpm)
    assert sum(started_at < start_time + 10 * MINUTE_S for started_at, _ in calls) >= int(9 * rpm)


@minutes_long
@given(rpm=LIMIT, tpm=st.integers(10, 10**6), chance=st.data())
def test_a_call_may_start_after_its_wait(rpm: int, tpm: int, chance: st.DataObject) -> None:
    """A call that waits as long as the limiter asks may start without another wait."""
    clock = Clock(chance.draw(st.floats(0, 10**7)))
    limiter = RateLimiter(RateLimits(rpm, tpm, None), monotonic=clock.read)
    for tokens, settled in chance.draw(
        st.lists(st.tuples(st.integers(0, tpm), st.integers(0, tpm)), max_size=60)
    ):
        clock.now_s += limiter.compute_wait_s(tokens)
        assert limiter.compute_wait_s(tokens) == 0.0
        limiter.replace_estimated_tokens(limiter.count_started_call(tokens), min(settled, tokens))
