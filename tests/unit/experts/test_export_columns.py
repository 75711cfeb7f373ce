"""An import knows which columns our own export added to a file."""

import pytest

from pipeline.experts.person_rows import filter_export_columns


@pytest.mark.parametrize(
    ("names", "added_names"),
    [
        (
            ("Username", "tags", "findability_score", "tags_confidence", "state"),
            {"tags", "findability_score", "tags_confidence", "state"},
        ),
        # The user has columns with the short names.
        (
            ("findability_score", "tags_confidence", "answer_tags_confidence", "state"),
            {"findability_score", "answer_tags_confidence", "state"},
        ),
        # A file of another program, which has no scores.
        (("Username", "tags_confidence", "state", "reason"), set()),
    ],
)
def test_columns_of_our_export_are_known(names: tuple[str, ...], added_names: set[str]) -> None:
    """Probabilities, states and reasons are ours only in a file with scores."""
    assert filter_export_columns(names) == added_names
