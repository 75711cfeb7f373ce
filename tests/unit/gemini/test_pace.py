"""The limiter, case by case: what it counts, when it lets a call in, how it is tuned. Times are seconds from 0."""

import math

import pytest

from pipeline.gemini.models import RateLimits
from pipeline.gemini.pace import WINDOW_S, RateLimiter


def _requests(rpm: int, *, rpd: int | None = None) -> RateLimiter:
    """Return a limiter of requests alone, at 0."""
    return RateLimiter(RateLimits(rpm=rpm, tpm=None, rpd=rpd), at=0.0)


def test_a_call_that_was_not_made_gives_its_room_back() -> None:
    """What was withdrawn counts towards no limit, nor do its tokens."""
    limiter = RateLimiter(RateLimits(rpm=1, tpm=1000, rpd=2), at=0.0)
    number = limiter.start(1000, at=0.0)
    assert limiter.wait(1000, at=1.0) == pytest.approx(60.0)
    limiter.withdraw(number)
    assert (limiter.wait(1000, at=1.0), limiter.used_today) == (0.0, 0)
    limiter.start(1000, at=1.0)
    assert limiter.wait(1000, at=2.0) == pytest.approx(60.0)


def test_the_day_ends_when_its_requests_are_used_up_and_begins_anew() -> None:
    """At the day's limit the wait has no end, until a new day is told."""
    limiter = _requests(1000, rpd=3)
    limiter.prime([], today=1)
    for _ in range(2):
        limiter.start(1, at=0.0)
    assert (limiter.used_today, limiter.wait(1, at=0.0)) == (3, math.inf)
    limiter.prime([], today=2)
    assert (limiter.used_today, limiter.wait(1, at=5.0)) == (2, 0.0)


def test_calls_of_others_fill_the_window_and_leave_it() -> None:
    """What another process or an earlier life started counts until it is a minute old; old calls do not count."""
    limiter = RateLimiter(RateLimits(rpm=3, tpm=100, rpd=None), at=100.0)
    limiter.prime([(90.0, 10), (95.0, 60), (20.0, 100)], today=7)
    assert limiter.used_today == 7
    assert limiter.wait(31, at=100.0) == pytest.approx(51.0)
    limiter.start(30, at=100.0)
    assert limiter.wait(1, at=130.0) == pytest.approx(21.0)


def test_after_a_refusal_nothing_starts_before_its_delay_is_over() -> None:
    """The server's own delay is kept, up to one window; a refusal without one gets ours, which doubles."""
    limiter = _requests(600)
    limiter.refused(at=0.0, delay_s=20.0)
    assert limiter.wait(1, at=0.0) == pytest.approx(20.0)
    limiter.refused(at=100.0, delay_s=86_400.0)
    assert limiter.wait(1, at=100.0) == pytest.approx(WINDOW_S)
    waits = []
    for at in (300.0, 400.0, 500.0):
        limiter.refused(at=at, delay_s=None)
        waits.append(limiter.wait(1, at=at))
    assert waits == pytest.approx([8.0, 16.0, 32.0])
    limiter.succeeded()
    limiter.refused(at=600.0, delay_s=None)
    assert limiter.wait(1, at=600.0) == pytest.approx(2.0)
