"""Delays grow up to a limit, respect the server's demand, and end with the time for retries."""

import pytest

from pipeline.gemini.retry import RetryPolicy


def test_delays_grow_up_to_the_limit() -> None:
    """Each delay is longer than the delay before by the factor, and never exceeds the limit."""
    policy = RetryPolicy(first_delay_s=5.0, max_delay_s=60.0, growth=1.5)
    delays = [policy.delay_s(failures) for failures in (1, 2, 3, 8, 10_000)]
    assert delays == pytest.approx([5.0, 7.5, 11.25, 60.0, 60.0])


def test_a_random_delay_is_at_least_its_smallest_share() -> None:
    """A random delay is between its smallest share and the full delay."""
    policy = RetryPolicy(first_delay_s=1.0, max_delay_s=4.0, min_share=0.5)
    delays = [policy.delay_s(5) for _ in range(100)]
    assert 2.0 <= min(delays) < max(delays) <= 4.0


def test_server_may_ask_for_more_than_the_limit() -> None:
    """The requested delay is the shortest delay, even above the limit."""
    policy = RetryPolicy(first_delay_s=1.0, max_delay_s=4.0)
    assert policy.delay_s(1, requested_s=61.0) == 61.0
    assert policy.delay_s(3, requested_s=0.5) == 4.0


def test_retries_end_after_their_time() -> None:
    """A call is repeated until the time is exceeded; without a time it is repeated for ever."""
    policy = RetryPolicy(first_delay_s=1.0, max_delay_s=4.0, max_elapsed_s=60.0)
    assert (policy.is_over(60.0), policy.is_over(60.1)) == (False, True)
    assert not RetryPolicy(1.0, 4.0).is_over(1e9)
