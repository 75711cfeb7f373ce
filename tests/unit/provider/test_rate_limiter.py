"""The rate limiter counts calls and computes waits. Times are seconds from 0."""

import math
from functools import partial

import pytest

from askrows.pipeline.core.errors import ThrottledError
from askrows.pipeline.provider.models import RateLimits
from askrows.pipeline.provider.rate_limiter import RateLimiter


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        """Start at 0."""
        self.now_s = 0.0

    def read(self) -> float:
        """Return the time in seconds."""
        return self.now_s


@pytest.fixture(name="clock")
def _clock() -> Clock:
    """Create a clock at 0."""
    return Clock()


def test_withdrawn_call_does_not_count(clock: Clock) -> None:
    """A withdrawn call and its tokens count towards no limit."""
    limiter = RateLimiter(RateLimits(rpm=1, tpm=1000, rpd=2), monotonic=clock.read)
    call = limiter.count_started_call(1000)
    clock.now_s = 1.0
    assert limiter.compute_wait_s(1000) == pytest.approx(60.0)
    limiter.remove_call(call)
    assert (limiter.compute_wait_s(1000), limiter.used_today) == (0.0, 0)
    limiter.count_started_call(1000)
    clock.now_s = 2.0
    assert limiter.compute_wait_s(1000) == pytest.approx(60.0)


def test_used_daily_limit_is_reset_on_a_new_day(clock: Clock) -> None:
    """At the daily limit the wait is infinite until a new day starts."""
    limiter = RateLimiter(RateLimits(rpm=1000, tpm=None, rpd=3), monotonic=clock.read)
    limiter.replace_calls_of_other_processes([], used_today=1)
    for _ in range(2):
        limiter.count_started_call(1)
    assert (limiter.used_today, limiter.compute_wait_s(1)) == (3, math.inf)
    limiter.replace_calls_of_other_processes([], used_today=2)
    clock.now_s = 5.0
    assert (limiter.used_today, limiter.compute_wait_s(1)) == (2, 0.0)


def test_call_repeats_refusals_until_the_patience_is_used_up(clock: Clock) -> None:
    """A refused call waits as asked and is repeated; after a lasting refusal no call starts."""
    limiter = RateLimiter(RateLimits(rpm=600, tpm=None, rpd=None), monotonic=clock.read)
    outcomes = list[str | ThrottledError]()

    def answer() -> str:
        outcome = outcomes.pop(0)
        if isinstance(outcome, ThrottledError):
            raise outcome
        return outcome

    def sleep(seconds: float) -> None:
        clock.now_s += seconds

    call = partial(
        limiter.call_and_retry_within_limits,
        answer,
        requests=1,
        tokens=1,
        patience_s=30.0,
        sleep=sleep,
    )
    refusal = ThrottledError("slow", retry_after_s=20.0)
    outcomes[:] = [refusal, "ok"]
    assert call() == "ok"
    assert clock.now_s == pytest.approx(20.0)

    outcomes[:] = [refusal, refusal, refusal, "never"]
    for _ in range(2):
        with pytest.raises(ThrottledError, match="slow"):
            call()
        assert outcomes == ["never"]
        assert clock.now_s == pytest.approx(60.0)
