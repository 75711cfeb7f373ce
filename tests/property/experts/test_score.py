"""The score of any row: its bounds, its decimal, and the points of each part."""

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from askrows.pipeline.experts.table import score

TEXTS = st.none() | st.text(max_size=600) | st.sampled_from(["", " ", "x" * 500, "x" * 499])
RATES = (
    st.none()
    | st.floats()
    | st.integers(-5, 5)
    | st.sampled_from(["95", "on request", "", "NaN", "-1", b"7", "1e999"])
)
TAGS = (
    st.none() | st.text(max_size=20) | st.lists(st.text(max_size=5)).map(json.dumps) | st.integers()
)
ROWS = st.fixed_dictionaries(
    {"bio": TEXTS, "tags": TAGS, "profile_url": TEXTS, "job_title": TEXTS, "hourly_rate": RATES}
)


@given(ROWS)
def test_a_score_is_between_0_and_100_with_one_decimal(row: dict[str, Any]) -> None:
    """Any cells, also another program's, get a score with a single decimal."""
    points = score(row)
    assert 0.0 <= points <= 100.0
    # Ten times the score is a whole number.
    assert math.isclose(points * 10, round(points * 10), abs_tol=1e-9)


@given(ROWS, st.sampled_from(["tags", "profile_url", "job_title", "hourly_rate"]))
def test_each_filled_cell_earns_its_points(row: dict[str, Any], column: str) -> None:
    """A part is worth exactly its points, compared with the same row without it."""
    points = {"tags": 25, "profile_url": 15, "job_title": 10, "hourly_rate": 10}
    filled = {"tags": '["law"]', "profile_url": "x", "job_title": "x", "hourly_rate": 0.01}
    gain = score({**row, column: filled[column]}) - score({**row, column: None})
    assert math.isclose(gain, points[column], abs_tol=1e-6)
