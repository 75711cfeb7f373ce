"""The next step that an error prints leads on, and is about what was typed."""

from pathlib import Path

import pytest

from tests.integration import reviews
from tests.lab import Workspace


@pytest.fixture(name="answered")
def _answered(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """Answer the four reviews."""
    monkeypatch.chdir(tmp_path)
    reviews.set_up_task(workspace).ran("tag-live")
    return workspace


def test_missing_quotation_is_the_field_to_type_again(answered: Workspace) -> None:
    """The other new values stay in the command."""
    error_output = answered.ran(
        "correct", "1", SET="stars=2; quote=Nobody said this.", WHO="ada", code=2
    ).stderr
    assert 'quote is not in the text: "Nobody said this."' in error_output
    assert 'SET="stars=2; quote=…"' in error_output


def test_correction_of_a_changed_row_asks_for_its_quotation(answered: Workspace) -> None:
    """The stored quotation is not in the new text of the row; a new one makes the answer valid."""
    table = Path("tasks", "reviews.csv")
    text = table.read_text(encoding="utf-8").replace(reviews.TEXTS["3"], "All is well.")
    table.write_text(text, encoding="utf-8")
    answered.ran("tag-live")
    error_output = answered.ran("correct", "3", SET="stars=5", WHO="ada", code=2).stderr
    assert 'SET="stars=5; quote=…"' in error_output
    answered.ran("correct", "3", SET="stars=5; quote=All is well.", WHO="ada")


def test_quotation_is_not_offered_as_a_list(answered: Workspace) -> None:
    """ROWS= exports the members of a list; a quotation is stored as an object and has none."""
    error_output = answered.ran("export", "out.csv", ROWS="nope", code=2).stderr
    assert error_output.endswith("next: the list fields are praise\n")
