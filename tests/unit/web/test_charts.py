"""Distributions of the values of a field."""

import pytest

from web.charts import make_distribution
from web.facets import FilterLink


@pytest.mark.parametrize(
    ("labels", "drawn_labels"),
    [
        (["4", "2"], ["2", "3", "4"]),
        (["3", "3.0", "5"], ["3", "3.0", "5"]),
        (["01", "1"], ["01", "1"]),
    ],
)
def test_gaps_remove_no_value(labels: list[str], drawn_labels: list[str]) -> None:
    """A missing number is a gap, but two spellings of a number stay two columns."""
    values = [FilterLink(label, 1, "", is_selected=False) for label in labels]
    distribution = make_distribution("stars", values)
    drawn = [value if isinstance(value, str) else value.label for value in distribution.values]
    assert drawn == drawn_labels
