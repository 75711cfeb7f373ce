"""SQLite tables of other applications whose columns are computed: ours may not be, theirs are left alone."""

from pathlib import Path

import pytest

from tests.lab import Workspace

pytestmark = pytest.mark.sqlite_only(reason="PostgreSQL refuses the same among its own tests of adoption")

OURS = [
    "id INTEGER PRIMARY KEY, username TEXT, raw TEXT, tags TEXT GENERATED ALWAYS AS (raw)",
    "id INTEGER PRIMARY KEY, username TEXT, raw TEXT, Tags TEXT AS (raw) STORED",
    "id INTEGER PRIMARY KEY, username TEXT, findability_score REAL GENERATED ALWAYS AS (1.0) STORED",
    "id INTEGER PRIMARY KEY, login TEXT, username TEXT GENERATED ALWAYS AS (lower(login))",
]


def _theirs(workspace: Workspace, *statements: str) -> None:
    """Make the database of another application."""
    workspace.data.mkdir(parents=True, exist_ok=True)
    for statement in statements:
        workspace.change(statement)


@pytest.mark.parametrize("columns", OURS)
@pytest.mark.parametrize("name", ["experts", "Experts"])
def test_a_computed_column_of_ours_is_refused(workspace: Workspace, columns: str, name: str) -> None:
    """Exit code 3 before anything is made, and not at the first row that is written."""
    _theirs(workspace, f"CREATE TABLE {name} ({columns})")
    result = workspace.run("status")
    assert result.exit_code == 3, result.output
    assert "which must hold values of its own, not computed ones" in result.stderr
    assert "nothing was changed" in result.stderr
    assert workspace.tables() == [name]


def test_a_computed_column_of_theirs_is_left_alone(workspace: Workspace, tmp_path: Path) -> None:
    """Whatever the case in which the table's name was written."""
    columns = "id INTEGER PRIMARY KEY, username TEXT, bio TEXT, slug TEXT GENERATED ALWAYS AS (lower(username))"
    _theirs(workspace, f"CREATE TABLE Experts ({columns})")
    workspace.change("INSERT INTO Experts (username, bio) VALUES ('Anna', 'I teach water law.')")
    people = tmp_path / "people.csv"
    people.write_text("Username,Bio\nBert,I keep bees.\n")
    for command in (["import", str(people)], ["batch-submit"], ["batch-poll"], ["batch-ingest"], ["index"], ["doctor"]):
        result = workspace.run(*command)
        assert result.exit_code == 0, (command, result.output)
    assert workspace.query("SELECT slug FROM experts WHERE tags LIKE '[%' ORDER BY id") == [("anna",), ("bert",)]


def test_an_id_that_is_an_empty_text_is_refused(workspace: Workspace) -> None:
    """It cannot stand in a request, and must not stop the others in the middle of one."""
    _theirs(workspace, "CREATE TABLE experts (id TEXT PRIMARY KEY, username TEXT, bio TEXT)")
    workspace.change("INSERT INTO experts VALUES ('', 'a', 'I sing.'), ('2', 'b', 'I keep bees.')")
    result = workspace.run("batch-submit")
    assert (result.exit_code, "`id` is an empty text; nothing was changed" in result.stderr) == (3, True), result.output
