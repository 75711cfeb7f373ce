"""Names that documents of users and other programs give never change with our words."""

from askrows.pipeline.experts import index_entries
from askrows.pipeline.experts import table as people
from askrows.pipeline.images import table as images
from askrows.pipeline.passages import table as passages


def test_columns_of_other_programs_keep_their_names() -> None:
    """Other programs read and write these columns; our own tables have other words for some."""
    assert {"extractor_version", "extractor_model"} <= set(passages.COLUMNS)
    assert {"provider", "model"} <= set(images.asset_ai.c.keys())
    assert {"tags", "findability_score"} <= set(people.experts.c.keys())


def test_metadata_of_the_index_keeps_its_keys() -> None:
    """Another program reads `metadata.json` by these keys."""
    assert set(index_entries.METADATA_NAMES.values()) == {
        "id",
        "username",
        "First Name",
        "Last Name",
        "Job Title",
        "Company",
        "Bio",
        "Hourly Rate",
        "Currency",
        "Profile URL",
        "Profile URL with UTM",
        "tags",
        "findability_score",
        "category",
    }
