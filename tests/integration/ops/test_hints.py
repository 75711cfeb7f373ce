"""The next step that an error prints leads on, and is about what was typed."""

from pathlib import Path

import pytest

from tests.integration import reviews
from tests.lab import Workspace

# The second row of a username is refused.
PEOPLE = "Username,Bio\nann@x.org,Bees\nann@x.org,Ice\n"
CREATES_WORKSPACE = "`make import EXPERTS=people.csv` creates a workspace from a file"
# Exit code, words of a command, and a part of its output; in a folder without a workspace.
WITHOUT_WORKSPACE = [
    (3, "status", CREATES_WORKSPACE),
    (2, "import", "`make import EXPERTS=people.csv`, or"),
    (2, "import-images", "`make import EXPERTS=people.csv`, or"),
    (2, "import-passages", "`make import EXPERTS=people.csv`, or"),
    (0, "import people.csv --dry", "uses an empty temporary workspace"),
    # A word is left out after two hyphens.
    (2, "search -law", "search -- -word`"),
]
WITH_PEOPLE = [
    # The id of a person in the database is not what was typed.
    (2, "correct ann@x.org --undo 1", "the answer has no edit 1; nothing was changed\nnext:"),
    (0, "forget ann@x.org --yes", "ann@x.org forgotten, with 1 refused row\n"),
]
WITH_REVIEWS = [
    (2, "forget", "next: `make items` lists the names"),
    (
        2,
        "forget --expert L-3 --task reviews",
        "leave out TASK=, or name a row of the task by ROW=",
    ),
    (2, "add-expert new.json --task reviews", "leave out TASK="),
]


@pytest.fixture(name="answered")
def _answered(workspace: Workspace) -> Workspace:
    """Answer the four reviews."""
    reviews.set_up_task(workspace).ran("tag-live")
    return workspace


@pytest.mark.parametrize(("code", "words", "message"), WITHOUT_WORKSPACE)
def test_hint_without_a_workspace(
    workspace: Workspace, code: int, words: str, message: str
) -> None:
    """Each command has its own option for a file, and names a placeholder for it."""
    Path("people.csv").write_text(PEOPLE, encoding="utf-8")
    assert message in workspace.ran(*words.split(), code=code).output


def test_hint_about_people(workspace: Workspace) -> None:
    """Commands about people name what was typed."""
    Path("people.csv").write_text(PEOPLE, encoding="utf-8")
    workspace.ran("import", "people.csv")
    for code, words, message in WITH_PEOPLE:
        assert message in workspace.ran(*words.split(), code=code).output


def test_hint_about_rows_of_a_task(answered: Workspace) -> None:
    """A command about people names the command about rows, and keeps what was typed."""
    for code, words, message in WITH_REVIEWS:
        assert message in answered.ran(*words.split(), code=code).stderr

    values = "stars=2; quote=Nobody said this."
    error_output = answered.ran("correct", "1", SET=values, WHO="ada", code=2).stderr
    assert 'SET="stars=…; quote=…"' in error_output


@pytest.mark.full
def test_correction_of_a_changed_row_asks_for_its_quotation(answered: Workspace) -> None:
    """The stored quotation is not in the new text of the row; a new one makes the answer valid."""
    table = Path("tasks", "reviews.csv")
    text = table.read_text(encoding="utf-8").replace(reviews.TEXTS["3"], "All is well.")
    table.write_text(text, encoding="utf-8")
    answered.ran("tag-live")
    error_output = answered.ran("correct", "3", SET="stars=5", WHO="ada", code=2).stderr
    assert 'SET="stars=…; quote=…"' in error_output
    answered.ran("correct", "3", SET="stars=5; quote=All is well.", WHO="ada")


def test_missing_rows_come_before_commands_about_them(workspace: Workspace) -> None:
    """In a workspace without rows, no next command ends with "has no rows yet"."""
    workspace.begin()
    for command in ("costs", "qc", "batches"):
        assert workspace.ran(command).stderr.endswith("next: make import EXPERTS=people.csv\n")
