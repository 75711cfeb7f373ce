"""The score of any row: its bounds, its decimal, and the points of each part."""

import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from askrows.pipeline.tasks.shipped.experts import compute_findability_score

TEXTS = st.none() | st.text(max_size=600) | st.sampled_from(["", " ", "x" * 500, "x" * 499])
RATES = (
    st.none()
    | st.floats()
    | st.integers(-5, 5)
    | st.sampled_from(["95", "on request", "", "NaN", "-1", b"7", "1e999"])
)
ANSWERS = st.none() | st.just({"tags": ["law"]})
ROWS = st.fixed_dictionaries(
    {"bio": TEXTS, "profile_url": TEXTS, "job_title": TEXTS, "hourly_rate": RATES}
)


@given(ROWS, ANSWERS)
def test_a_score_is_between_0_and_100_with_one_decimal(
    row: dict[str, Any], answer: dict[str, Any] | None
) -> None:
    """Any cells, also another program's, get a score with a single decimal."""
    points = compute_findability_score(row, answer)
    assert 0.0 <= points <= 100.0
    # Ten times the score is a whole number.
    assert math.isclose(points * 10, round(points * 10), abs_tol=1e-9)


@given(ROWS, st.sampled_from(["tags", "profile_url", "job_title", "hourly_rate"]))
def test_each_filled_cell_earns_its_points(row: dict[str, Any], part: str) -> None:
    """A part is worth exactly its points, compared with the same row without it."""
    points = {"tags": 25, "profile_url": 15, "job_title": 10, "hourly_rate": 10}
    filled = {"profile_url": "x", "job_title": "x", "hourly_rate": 0.01}
    answer = {"tags": ["law"]}
    if part == "tags":
        gain = compute_findability_score(row, answer) - compute_findability_score(row, None)
    else:
        gain = compute_findability_score(
            {**row, part: filled[part]}, answer
        ) - compute_findability_score({**row, part: None}, answer)
    assert math.isclose(gain, points[part], abs_tol=1e-6)
