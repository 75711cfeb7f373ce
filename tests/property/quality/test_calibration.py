"""Intervals of shares, and the comparison of probabilities with corrections."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.quality.calibration import (
    MIN_CALIBRATED_ANSWERS,
    describe_calibrations,
    summarize_outcomes,
)
from pipeline.quality.intervals import compute_wilson_interval

PROBABILITIES = st.floats(0, 1)
OUTCOMES = st.lists(st.tuples(PROBABILITIES, st.booleans()), max_size=120)
COUNTS = st.tuples(st.integers(0, 10**9), st.integers(0, 10**9)).map(sorted)


@given(COUNTS)
def test_interval_contains_its_share_and_is_within_0_and_1(counts: list[int]) -> None:
    """The ends are in order, whatever the counts."""
    successes, trials = counts
    low, high = compute_wilson_interval(successes, trials)
    share = successes / trials if trials else 0.5
    assert 0 <= low <= share <= high <= 1


@given(COUNTS)
def test_interval_of_failures_mirrors_that_of_successes(counts: list[int]) -> None:
    """The share of failures has the mirrored interval."""
    successes, trials = counts
    low, high = compute_wilson_interval(successes, trials)
    mirrored_low, mirrored_high = compute_wilson_interval(trials - successes, trials)
    assert low == pytest.approx(1 - mirrored_high, abs=1e-9)
    assert high == pytest.approx(1 - mirrored_low, abs=1e-9)


@given(st.integers(0, 1000), st.integers(1, 1000), st.integers(2, 50))
def test_interval_of_a_larger_sample_is_narrower(
    successes: int, failures: int, factor: int
) -> None:
    """The same share of more trials is known better."""
    trials = successes + failures
    low, high = compute_wilson_interval(successes, trials)
    larger_low, larger_high = compute_wilson_interval(successes * factor, trials * factor)
    assert larger_high - larger_low < high - low


def test_interval_agrees_with_published_figures() -> None:
    """Newcombe (1998), table I: 81 of 263, 15 of 148 and 0 of 20, by the score method."""
    for successes, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
    ):
        interval = compute_wilson_interval(successes, trials)
        assert interval == pytest.approx((low, high), abs=5e-5)


@given(OUTCOMES, st.randoms())
def test_calibration_counts_each_answer_in_any_order(
    outcomes: list[tuple[float, bool]], random: object
) -> None:
    """The mean probability is between the extremes, and the share is that of unchanged answers."""
    shuffled = list(outcomes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    calibration = summarize_outcomes("tone", outcomes)
    assert summarize_outcomes("tone", shuffled).unchanged == calibration.unchanged
    assert calibration.answers == len(outcomes)
    assert calibration.is_measured == (len(outcomes) >= MIN_CALIBRATED_ANSWERS)
    if outcomes:
        probabilities = [probability for probability, _ in outcomes]
        assert min(probabilities) - 1e-9 <= calibration.mean_probability
        assert calibration.mean_probability <= max(probabilities) + 1e-9
        low, high = calibration.interval
        assert low <= calibration.unchanged_share <= high


@given(st.lists(OUTCOMES, max_size=5))
def test_each_field_is_in_a_single_line(fields: list[list[tuple[float, bool]]]) -> None:
    """A measured field has a line of its own; fields that lack as many answers share one."""
    calibrations = [
        summarize_outcomes(f"field{index}", outcomes) for index, outcomes in enumerate(fields)
    ]
    lines = describe_calibrations(calibrations)
    for calibration in calibrations:
        (line,) = (line for line in lines if calibration.name in line)
        assert ("on average, right in" in line) == calibration.is_measured
        if not calibration.is_measured:
            missing_count = MIN_CALIBRATED_ANSWERS - calibration.answers
            assert f"{missing_count} more needed" in line
