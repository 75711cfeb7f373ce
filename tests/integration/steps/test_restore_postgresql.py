"""`make restore` into PostgreSQL: one at a time."""

from pathlib import Path
from typing import Any

import pytest

from pipeline import backups
from pipeline.experts import table
from tests import postgresql
from tests.lab import Workspace

URL, PROGRAMS = "FINDABLE_DATABASE_URL", "FINDABLE_PG_BIN"


def ran(workspace: Workspace, *args: str, code: int = 0, **values: str) -> str:
    """Run a command that must end with a code, and return all that it said."""
    result = workspace.run(*args, **values)
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def served(workspace: Workspace) -> Workspace:
    """A workspace of one person, whose database is on a server whichever the others are in."""
    own = {URL: postgresql.database_of(workspace.data), PROGRAMS: str(postgresql.shared().programs)}
    made = Workspace(workspace.data, workspace.environ | own)
    with made.open() as rt, rt.store.write() as tx:
        table.insert_person(tx, "one", {"bio": "I keep bees."})
    return made


def test_a_second_restore_into_one_database_is_refused(
    served: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the dump and its last row nobody else puts one there: exit code 2, and the first ends well."""
    ran(served, "backup", str(tmp_path / "copy"))
    postgresql.empty(served.data)
    words = ("restore", str(tmp_path / "copy"), "--yes")
    other = tmp_path / "other"
    settle, refused = backups.settle, []

    def others_come(*args: Any) -> Any:
        """Let another restore begin once the dump is loaded."""
        monkeypatch.setattr("pipeline.backups.settle", settle)
        refused.append(served.run(*words, DATA=str(other)))
        return settle(*args)

    monkeypatch.setattr("pipeline.backups.settle", others_come)
    ran(served, *words)
    assert [one.exit_code for one in refused] == [2]
    assert "another restore" in refused[0].output
    assert not other.exists()
    assert served.query("SELECT username FROM experts") == [("one",)]
    ran(served, "doctor")
    assert "holds a workspace already" in ran(served, *words, code=3, DATA=str(other))


def test_a_restore_that_lost_its_turn_does_not_finish(
    served: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off from the server in the middle it cannot know whose dump is there: exit code 4, and again it ends well."""
    ran(served, "backup", str(tmp_path / "copy"))
    postgresql.empty(served.data)
    words = ("restore", str(tmp_path / "copy"), "--yes")
    settle = backups.settle

    def cut_off(*args: Any) -> Any:
        """End every connection to the database once the dump is loaded."""
        postgresql.rows(
            served.environ[URL],
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        return settle(*args)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.backups.settle", cut_off)
        ran(served, *words, code=4)
    ran(served, "status", code=5)
    ran(served, *words)
    assert served.query("SELECT username FROM experts") == [("one",)]


def test_two_workspaces_in_one_database_are_not_backed_up_as_one(served: Workspace, tmp_path: Path) -> None:
    """A dump is of a whole database: where two schemas hold a workspace each, exit code 3, and nothing is written."""
    url = served.environ[URL]
    postgresql.rows(url, "CREATE SCHEMA theirs")
    theirs = Workspace(tmp_path / "theirs", dict(served.environ))
    theirs.environ |= {URL: f"{url}&options=-c%20search_path%3Dtheirs", "FINDABLE_DATA": str(theirs.data)}
    with theirs.open() as rt, rt.store.write() as tx:
        table.insert_person(tx, "two", {"bio": "I keep goats."})
    for one in (served, theirs):
        assert "public, theirs" in ran(one, "backup", str(tmp_path / "copy"), code=3)
        assert not list(tmp_path.glob("copy*"))
    postgresql.rows(url, "DROP SCHEMA public CASCADE")
    ran(theirs, "backup", str(tmp_path / "copy"))
    postgresql.rows(url, "DROP SCHEMA theirs CASCADE")
    ran(theirs, "restore", str(tmp_path / "copy"), "--yes")
    assert theirs.query("SELECT username FROM experts") == [("two",)]
