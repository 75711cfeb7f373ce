"""Test the JSON document of a person that was added."""

from pipeline.workflows.add_expert import AddedExpert


def test_document_calls_row_id_item_id() -> None:
    """The member `item_id` has the row's id, in the place of the field."""
    document = AddedExpert("ada", "7", 0.5).document
    assert list(document.items())[:3] == [
        ("username", "ada"),
        ("item_id", "7"),
        ("findability_score", 0.5),
    ]
