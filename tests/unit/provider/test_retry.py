"""Delays grow up to a limit, respect the server's demand, and end with the time for retries."""

import pytest

from askrows.pipeline.provider.retry import RetryPolicy

POLICY = RetryPolicy(first_delay_s=5.0, max_delay_s=60.0, growth=1.5, max_elapsed_s=60.0)


@pytest.mark.parametrize(
    ("failures", "requested_s", "delay_s"),
    [
        (1, 0.0, 5.0),
        (2, 0.0, 7.5),
        (3, 0.0, 11.25),
        (8, 0.0, 60.0),
        (10_000, 0.0, 60.0),
        # The server may ask for more than the limit.
        (1, 61.0, 61.0),
        (8, 0.5, 60.0),
    ],
)
def test_delays_grow_up_to_the_limit(failures: int, requested_s: float, delay_s: float) -> None:
    """Each delay is longer than the delay before by the factor, up to the limit."""
    assert POLICY.compute_delay_s(failures, requested_s=requested_s) == pytest.approx(delay_s)


def test_a_random_delay_is_at_least_its_smallest_share() -> None:
    """A random delay is between its smallest share and the full delay."""
    policy = RetryPolicy(first_delay_s=1.0, max_delay_s=4.0, min_share=0.5)
    delays = [policy.compute_delay_s(5) for _ in range(100)]
    assert 2.0 <= min(delays) < max(delays) <= 4.0


def test_retries_end_after_their_time() -> None:
    """A call is repeated until the time is exceeded; without a time it is repeated for ever."""
    assert (POLICY.is_over(60.0), POLICY.is_over(60.1)) == (False, True)
    assert not RetryPolicy(1.0, 4.0).is_over(1e9)
