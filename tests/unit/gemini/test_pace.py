"""The rate limiter counts calls and computes waits. Times are seconds from 0."""

import math

import pytest

from pipeline.gemini.models import RateLimits
from pipeline.gemini.pace import WINDOW_S, RateLimiter


def _requests(rpm: int, *, rpd: int | None = None) -> RateLimiter:
    """Return a limiter that counts only requests, at 0."""
    return RateLimiter(RateLimits(rpm=rpm, tpm=None, rpd=rpd), at=0.0)


def test_withdrawn_call_does_not_count() -> None:
    """A withdrawn call and its tokens count towards no limit."""
    limiter = RateLimiter(RateLimits(rpm=1, tpm=1000, rpd=2), at=0.0)
    number = limiter.start(1000, at=0.0)
    assert limiter.wait(1000, at=1.0) == pytest.approx(60.0)
    limiter.withdraw(number)
    assert (limiter.wait(1000, at=1.0), limiter.used_today) == (0.0, 0)
    limiter.start(1000, at=1.0)
    assert limiter.wait(1000, at=2.0) == pytest.approx(60.0)


def test_used_daily_limit_is_reset_on_a_new_day() -> None:
    """At the daily limit the wait is infinite until a new day starts."""
    limiter = _requests(1000, rpd=3)
    limiter.prime([], today=1)
    for _ in range(2):
        limiter.start(1, at=0.0)
    assert (limiter.used_today, limiter.wait(1, at=0.0)) == (3, math.inf)
    limiter.prime([], today=2)
    assert (limiter.used_today, limiter.wait(1, at=5.0)) == (2, 0.0)


def test_calls_of_other_processes_count_for_a_window() -> None:
    """Calls of other or earlier processes count until they are a minute old."""
    limiter = RateLimiter(RateLimits(rpm=3, tpm=100, rpd=None), at=100.0)
    limiter.prime([(90.0, 10), (95.0, 60), (20.0, 100)], today=7)
    assert limiter.used_today == 7
    assert limiter.wait(31, at=100.0) == pytest.approx(51.0)
    limiter.start(30, at=100.0)
    assert limiter.wait(1, at=130.0) == pytest.approx(21.0)


def test_calls_wait_for_the_delay_of_a_refusal() -> None:
    """The delay of the server is used up to a window; the default delay doubles."""
    limiter = _requests(600)
    limiter.refused(at=0.0, delay_s=20.0)
    assert limiter.wait(1, at=0.0) == pytest.approx(20.0)
    limiter.refused(at=100.0, delay_s=86_400.0)
    assert limiter.wait(1, at=100.0) == pytest.approx(WINDOW_S)
    waits = []
    for refused_at_s in (300.0, 400.0, 500.0):
        limiter.refused(at=refused_at_s, delay_s=None)
        waits.append(limiter.wait(1, at=refused_at_s))
    assert waits == pytest.approx([8.0, 16.0, 32.0])
    limiter.succeeded()
    limiter.refused(at=600.0, delay_s=None)
    assert limiter.wait(1, at=600.0) == pytest.approx(2.0)
