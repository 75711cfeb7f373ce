"""The number of parallel live calls follows from the setting, the rate limit and the duration."""

import pytest

from askrows.pipeline.run.live_throttle import MAX_LIVE_CALLS, max_parallel_calls


@pytest.mark.parametrize(
    ("concurrency", "max_requests", "mean_s", "expected_calls"),
    [
        # Without a limit per minute the setting counts.
        (5, None, 10.0, 5),
        # 60 requests per minute and calls of 10 s keep 10 calls running.
        (5, 60, 10.0, 10),
        # The setting is the smallest number.
        (5, 60, 0.1, 5),
        (100, 60, 10.0, 100),
        # Our own bound is the largest number above the setting.
        (5, 4_000, 60.0, MAX_LIVE_CALLS),
        # A single call at a time stays a single call.
        (1, 4_000, 60.0, 1),
    ],
)
def test_as_many_calls_run_as_the_limit_allows_to_start_during_a_call(
    concurrency: int, max_requests: int | None, mean_s: float, expected_calls: int
) -> None:
    """The calls that may start during one call may also run in parallel, up to the bound."""
    assert max_parallel_calls(concurrency, max_requests, mean_s) == expected_calls
