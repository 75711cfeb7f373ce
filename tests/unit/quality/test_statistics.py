"""Percentiles, divergence and choice, held against plain ways to the same."""

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.quality.figures import Choice, divergence, mean, percentile

WEIGHTS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 1000), max_size=6)


@given(st.lists(st.integers(0, 50), min_size=1), st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_a_percentile_is_the_nearest_rank(values: list[int], share: float) -> None:
    """A histogram gives the value that the sorted list has at that rank, and its mean."""
    histogram = Counter(values)
    assert percentile(histogram, share) == sorted(values)[math.ceil(share * len(values) - 1e-9) - 1]
    assert mean(histogram) == pytest.approx(sum(values) / len(values))


@given(WEIGHTS, WEIGHTS, st.integers(1, 9))
def test_divergence_lies_between_0_and_1_and_knows_no_order(
    one: dict[str, int], other: dict[str, int], times: int
) -> None:
    """It is the same both ways, does not change with the size of a side, and is 0 of a distribution and itself."""
    found = divergence(one, other)
    if found is None:
        assert not sum(one.values()) or not sum(other.values())
        return
    assert 0 <= found <= 1
    assert divergence(other, one) == pytest.approx(found)
    assert divergence({name: times * weight for name, weight in one.items()}, other) == pytest.approx(found)
    assert divergence(one, one) == pytest.approx(0)


def test_divergence_has_known_values() -> None:
    """Nothing in common is one bit; half in common is what the formula gives by hand; of nothing nothing is told."""
    assert mean({}) is None
    assert percentile({}, 0.9) is None
    assert divergence({}, {"a": 1}) is None
    assert divergence({"a": 1}, {"b": 5}) == pytest.approx(1)
    by_hand = 0.5 * math.log2(1 / 0.75) + 0.5 * (0.5 * math.log2(0.5 / 0.75) + 0.5 * math.log2(0.5 / 0.25))
    assert divergence({"a": 1}, {"a": 1, "b": 1}) == pytest.approx(by_hand)


@given(st.sets(st.text(max_size=5), max_size=40), st.integers(0, 10), st.integers(0, 3), st.randoms())
def test_a_choice_knows_no_order(keys: set[str], size: int, seed: int, shuffling: object) -> None:
    """The same ones are chosen in whatever order they are offered, and as many as there is room for."""
    offered = sorted(keys)
    first: Choice[str] = Choice(size, seed=seed)
    for key in offered:
        first.offer(key, key)
    getattr(shuffling, "shuffle")(offered)  # noqa: B009 - hypothesis gives a Random that it does not name
    second: Choice[str] = Choice(size, seed=seed)
    for key in offered:
        second.offer(key, key)
    assert list(first) == list(second)
    assert len(list(first)) == min(size, len(keys))
