"""Intervals, the sign test, and the comparison of answers with labels."""

import pytest

from askrows.pipeline.quality.right_value_accuracy import (
    BETTER_A,
    BETTER_B,
    NO_DIFFERENCE,
    Share,
    compare_with_right_values,
    compute_sign_test_p_value,
)
from askrows.pipeline.store.edits import RightValues


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (29, 29, 0.8830, 1.0),
    ],
)
def test_interval_is_that_of_wilson(right: int, of: int, low: float, high: float) -> None:
    """The interval agrees with published values, and stays between 0 and 1."""
    assert Share(right, of).interval == pytest.approx((low, high), abs=1e-4)


def test_share_of_nothing_has_no_accuracy() -> None:
    """Without labels the accuracy is unknown."""
    assert Share(0, 0).accuracy is None
    assert Share(0, 0).interval == (0.0, 1.0)


@pytest.mark.parametrize(
    ("counts", "chance"), [((0, 0), 1.0), ((0, 5), 0.0625), ((0, 6), 0.03125), ((4, 4), 1.0)]
)
def test_sign_test_is_exact_and_two_sided(counts: tuple[int, int], chance: float) -> None:
    """The probability counts both tails, and is at most 1."""
    assert compute_sign_test_p_value(*counts) == chance
    assert compute_sign_test_p_value(*reversed(counts)) == chance


def test_only_rows_that_both_sides_answered_are_compared() -> None:
    """Rows without an answer of a side are left out; the order of a list does not count."""
    right_values_by_id = {
        str(number): RightValues("", {"tone": "good", "topics": ["a", "b"]}) for number in range(8)
    }
    right = {"tone": "good", "topics": ["b", "a"]}
    wrong = {"tone": "bad", "topics": ["a"]}
    first_side = {row_id: wrong for row_id in right_values_by_id if row_id != "7"}
    second_side = dict.fromkeys(right_values_by_id, right)

    tone, topics = compare_with_right_values(right_values_by_id, [first_side, second_side])
    assert [share.of for share in (*tone.shares, *topics.shares)] == [7] * 4
    assert [share.right for share in topics.shares] == [0, 7]
    assert (tone.only_a_right, tone.only_b_right, tone.verdict) == (0, 7, BETTER_B)
    swapped, _ = compare_with_right_values(right_values_by_id, [second_side, first_side])
    assert swapped.verdict == BETTER_A
    same, _ = compare_with_right_values(right_values_by_id, [second_side, second_side])
    assert same.verdict == NO_DIFFERENCE
