"""The distributions that answers' times are drawn from."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulator.latency import LONGEST_S, Latencies, Latency

SHARES = st.floats(1e-12, 1 - 1e-12)
TIMES = st.tuples(st.floats(0.001, 100), st.floats(0.001, 100)).map(sorted)
ONE = {"kind": "constant", "seconds": 1}


def times(document: dict[str, Any], count: int, *, seed: int = 0) -> list[float]:
    """Return the first times drawn for an endpoint."""
    latencies = Latencies()
    return [latencies.draw({":x$": document}, "/v1/m:x", seed=seed) for _ in range(count)]


@given(TIMES)
@pytest.mark.parametrize("kind", ["lognormal", "heavy_tail"])
def test_half_of_all_answers_take_the_median_and_one_in_twenty_more_than_p95(kind: str, bounds: list[float]) -> None:
    """The two numbers a distribution is given by are its own median and 95th percentile."""
    latency = Latency.read({"kind": kind, "median": bounds[0], "p95": bounds[1]})
    assert latency.at(0.5) == pytest.approx(bounds[0])
    assert latency.at(0.95) == pytest.approx(bounds[1])


@given(st.sampled_from(["uniform", "lognormal", "heavy_tail"]), TIMES, SHARES, SHARES)
def test_times_rise_with_the_share_and_have_an_end(kind: str, bounds: list[float], one: float, other: float) -> None:
    """A larger share never takes less, and nothing takes longer than an hour."""
    names = ("least", "most") if kind == "uniform" else ("median", "p95")
    latency = Latency.read({"kind": kind, **dict(zip(names, bounds, strict=True))})
    low, high = sorted((one, other))
    assert 0 <= latency.at(low) <= latency.at(high) * (1 + 1e-9) <= LONGEST_S * (1 + 1e-9)


def test_times_follow_from_the_seed() -> None:
    """The same seed gives the same times in the same order, another seed others; they are not all alike."""
    document = {"kind": "heavy_tail", "median": 1, "p95": 3}
    assert times(document, 20, seed=5) == times(document, 20, seed=5) != times(document, 20, seed=6)
    assert len(set(times(document, 20))) == 20


def test_the_first_pattern_that_fits_decides() -> None:
    """An endpoint takes the time of the first pattern found in its path; one that none fits takes none."""
    latencies: dict[str, Any] = {":generateContent": ONE, "/models/": {"kind": "constant", "seconds": 2}}
    drawn = [
        Latencies().draw(latencies, target, seed=0) for target in ("/v1/models/a:generateContent", "/v1/models/a", "/x")
    ]
    assert drawn == [1, 2, 0]
