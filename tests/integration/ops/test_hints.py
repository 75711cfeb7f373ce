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


def test_missing_rows_come_before_commands_about_them(workspace: Workspace) -> None:
    """In a workspace without rows, no next command ends with "has no rows yet"."""
    workspace.begin()
    for command in ("costs", "qc", "batches"):
        assert workspace.ran(command).stderr.endswith("next: make import EXPERTS=people.csv\n")


def test_missing_workspace_is_made_by_a_command_with_a_file(workspace: Workspace) -> None:
    """The file in the command is a placeholder."""
    hint = "`make import EXPERTS=people.csv` creates a workspace from a file"
    assert hint in workspace.ran("status", code=3).stderr


def test_import_again_repeats_the_options(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`doctor` does not know the file and the MAP= of an import; it says that both are needed."""
    monkeypatch.chdir(tmp_path)
    Path("crew.csv").write_text("Mail,Bio\nann@x.org,Bees\n,Ice\n", encoding="utf-8")
    workspace.ran("import", "crew.csv", MAP="username=Mail")
    output = workspace.ran("doctor").stdout
    assert "make import EXPERTS=people.csv`, with the file and the options of its import" in output


def test_edit_that_does_not_exist_is_no_internal_id(workspace: Workspace, tmp_path: Path) -> None:
    """The id of a person in the database is not what was typed."""
    path = tmp_path / "people.csv"
    path.write_text("Username,Bio\nann@x.org,Bees\n", encoding="utf-8")
    workspace.ran("import", str(path))
    error_output = workspace.ran("tags", EXPERT="ann@x.org", UNDO="1", code=2).stderr
    assert (
        "the answer has no edit 1; nothing was changed\nnext: it was never edited" in error_output
    )


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ("import", "EXPERTS=people.csv"),
        ("import-images", "FOLDER=photos/"),
        ("import-passages", "PASSAGES=file.jsonl"),
    ],
)
def test_missing_file_names_the_option_of_the_command(
    workspace: Workspace, command: str, example: str
) -> None:
    """Each import command has its own option for the file."""
    assert f"With make: {example}" in workspace.ran(command, code=2).stderr


def test_temporary_workspace_is_not_called_new(workspace: Workspace, tmp_path: Path) -> None:
    """A dry import announces a temporary workspace without the path of a folder."""
    path = tmp_path / "people.csv"
    path.write_text("Username,Bio\nann@x.org,Bees\n", encoding="utf-8")
    error_output = workspace.ran("import", str(path), DRY="1").stderr
    assert "uses an empty temporary workspace" in error_output
    assert "a new workspace" not in error_output


def test_question_that_begins_with_a_hyphen_needs_two_hyphens(workspace: Workspace) -> None:
    """The hint of an unknown option of `search` shows how a word is left out."""
    assert "search -- -word`" in workspace.ran("search", "-law", code=2).stderr


def test_refusals_of_options_name_what_to_type(answered: Workspace) -> None:
    """The errors about a forgotten name and about scores end with a next step."""
    assert "next: `make items` lists the names" in answered.ran("forget", code=2).stderr
    error_output = answered.ran("items", MIN_SCORE="3", code=2).stderr
    assert "no scores\nnext: WHERE= compares columns and fields" in error_output


def test_labels_of_a_row_that_left_the_source(answered: Workspace) -> None:
    """The fault says that the row is gone, because the next `tag` does not answer it."""
    table = Path("tasks", "reviews.csv")
    lines = table.read_text(encoding="utf-8")
    table.write_text(f"{lines}5,\n", encoding="utf-8")
    answered.ran("tag-live")
    table.write_text(lines, encoding="utf-8")
    answered.ran("tag-live")
    Path("labels.csv").write_text("id,stars\n5,3\n", encoding="utf-8")
    error_output = answered.ran("correct", FILE="labels.csv", WHO="ada", code=2).stderr
    assert "line 2: the row left the source and has no answer, so labels of all" in error_output


def test_forget_counts_refused_rows_of_the_name(workspace: Workspace, tmp_path: Path) -> None:
    """A second row of a person was refused; it is deleted, too."""
    path = tmp_path / "people.csv"
    path.write_text("Username,Bio\nann@x.org,Bees\nann@x.org,Ice\n", encoding="utf-8")
    workspace.ran("import", str(path))
    output = workspace.ran("forget", EXPERT="ann@x.org", YES="1").stdout
    assert "1 refused row with these names deleted" in output


def test_forget_of_another_task_repeats_the_name(answered: Workspace) -> None:
    """The hint has the typed name of the row, not a list of names."""
    error_output = answered.ran("forget", "L-3", "--task", "reviews", code=2).stderr
    assert "`make forget ITEM=L-3 TASK=reviews` is about a row of reviews" in error_output
