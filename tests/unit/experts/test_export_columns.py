"""An import knows which columns our own export added to a file."""

import pytest

from askrows.pipeline.experts.person_rows import filter_export_columns


@pytest.mark.parametrize(
    ("names", "added_names"),
    [
        (
            ("Username", "tags", "findability_score", "reason", "state"),
            {"tags", "findability_score", "reason", "state"},
        ),
        # The user has columns with the short names.
        (
            ("findability_score", "reason", "row_reason", "state"),
            {"findability_score", "row_reason", "state"},
        ),
        # A file of another program, which has no scores.
        (("Username", "state", "reason"), set()),
    ],
)
def test_columns_of_our_export_are_known(names: tuple[str, ...], added_names: set[str]) -> None:
    """States and reasons are ours only in a file with scores."""
    assert filter_export_columns(names) == added_names
