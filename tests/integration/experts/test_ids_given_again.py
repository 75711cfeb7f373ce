"""A table of another program may give the id of a deleted row again; no answer may reach somebody it is not about."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.delivery import deliver, prepare, result, workspace_at
from tests.lab import Workspace

TABLES = {
    "counting": "CREATE TABLE experts (id INTEGER PRIMARY KEY, username TEXT UNIQUE, bio TEXT, tags TEXT)",
    "never again": "CREATE TABLE experts (id INTEGER PRIMARY KEY AUTOINCREMENT, username TEXT, bio TEXT, tags TEXT)",
    "not counting": "CREATE TABLE experts (id INT PRIMARY KEY NOT NULL, username TEXT UNIQUE, bio TEXT, tags TEXT)",
}


@pytest.fixture(params=TABLES)
def adopted(request: pytest.FixtureRequest, tmp_path: Path) -> Workspace:
    """A workspace on such a table, with three people who stand in a batch whose result is on disk."""
    workspace = workspace_at(tmp_path / "data")
    workspace.data.mkdir()
    people = ((number, f"old-{number}", f"I know water law, number {number}.") for number in (1, 2, 3))
    with closing(sqlite3.connect(workspace.data / "findable.db")) as connection, connection:
        connection.execute(TABLES[request.param])
        connection.executemany("INSERT INTO experts (id, username, bio) VALUES (?, ?, ?)", people)
    assert workspace.run("status").exit_code == 0
    deliver(workspace, result(prepare(workspace)))
    return workspace


def change(workspace: Workspace, *statements: str) -> None:
    """Be another program."""
    with closing(sqlite3.connect(workspace.data / "findable.db")) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def test_an_import_gives_nobody_the_id_of_somebody_who_was_asked(adopted: Workspace, tmp_path: Path) -> None:
    """Who comes in place of a deleted person has an id of their own, and none of the deleted one's tags."""
    change(adopted, "DELETE FROM experts WHERE id >= 2")
    new = [{"username": f"new-{number}", "bio": "I bind books."} for number in (1, 2)]
    (tmp_path / "new.json").write_text(json.dumps(new))
    assert adopted.run("import", str(tmp_path / "new.json")).exit_code == 0
    assert adopted.query("SELECT id, username FROM experts ORDER BY id") == [(1, "old-1"), (4, "new-1"), (5, "new-2")]
    assert adopted.run("batch-ingest").exit_code == 0
    assert adopted.query("SELECT username FROM experts WHERE tags IS NOT NULL") == [("old-1",)]


def test_one_who_is_added_gets_the_id_of_nobody_who_was_asked(adopted: Workspace, tmp_path: Path) -> None:
    """`add-expert` takes somebody new although the newest person was deleted while claimed."""
    change(adopted, "DELETE FROM experts WHERE id = 3")
    (tmp_path / "one.json").write_text(json.dumps({"username": "new", "bio": "I bind books."}))
    assert adopted.run("add-expert", str(tmp_path / "one.json")).exit_code == 0
    assert adopted.query("SELECT id FROM experts WHERE username = 'new'") == [(4,)]


def test_an_answer_about_somebody_else_is_not_applied(adopted: Workspace) -> None:
    """Another program's new row under an old id stays untagged; the answer is kept, counted, and not applied."""
    change(
        adopted,
        "DELETE FROM experts WHERE id = 3",
        "INSERT INTO experts (id, username, bio) VALUES (3, 'new', 'I bind books.')",
    )
    ran = adopted.run("batch-ingest", "--json")
    assert ran.exit_code == 0, ran.output
    assert adopted.query("SELECT username FROM experts WHERE tags IS NULL") == [("new",)]
    assert adopted.query("SELECT applied FROM findable_answers WHERE item_id = '3'") == [(0,)]
    assert adopted.scalar("SELECT not_applied FROM findable_batches") == 1
    assert json.loads(adopted.run("status", "--json").stdout)["experts"]["untagged"] == 1
