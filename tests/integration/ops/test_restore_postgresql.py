"""`make restore` into PostgreSQL: one at a time."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.experts import table
from pipeline.ops import backup_files
from tests import postgresql
from tests.lab import Workspace, ran

URL, PROGRAMS = "FINDABLE_DATABASE_URL", "FINDABLE_PG_BIN"


@pytest.fixture
def blank(workspace: Workspace) -> Workspace:
    """A workspace that nothing was done in, whose database is on a server whichever the others are in."""
    own = {URL: postgresql.database_of(workspace.data), PROGRAMS: str(postgresql.shared().programs)}
    return Workspace(workspace.data, workspace.environ | own)


@pytest.fixture
def served(blank: Workspace) -> Workspace:
    """That workspace, with one person."""
    put(blank)
    return blank


def put(workspace: Workspace) -> None:
    """Put one person into a workspace."""
    with workspace.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "one", {"bio": "I keep bees."})


def test_a_second_restore_into_one_database_is_refused(
    served: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the dump and its last row nobody else puts one there: exit code 2, and the first ends well."""
    ran(served, "backup", str(tmp_path / "copy"))
    postgresql.empty(served.data)
    words = ("restore", str(tmp_path / "copy"), "--yes")
    other = tmp_path / "other"
    settle, refused = backup_files.settle_copy, []

    def others_come(*args: Any) -> Any:
        """Let another restore begin once the dump is loaded."""
        monkeypatch.setattr("pipeline.ops.backup_files.settle_copy", settle)
        refused.append(served.run(*words, DATA=str(other)))
        return settle(*args)

    monkeypatch.setattr("pipeline.ops.backup_files.settle_copy", others_come)
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
    settle = backup_files.settle_copy

    def cut_off(*args: Any) -> Any:
        """End every connection to the database once the dump is loaded."""
        postgresql.rows(
            served.environ[URL],
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        return settle(*args)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.ops.backup_files.settle_copy", cut_off)
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
    with theirs.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "two", {"bio": "I keep goats."})
    for one in (served, theirs):
        assert "public, theirs" in ran(one, "backup", str(tmp_path / "copy"), code=3)
        assert not list(tmp_path.glob("copy*"))
    postgresql.rows(url, "DROP SCHEMA public CASCADE")
    ran(theirs, "backup", str(tmp_path / "copy"))
    postgresql.rows(url, "DROP SCHEMA theirs CASCADE")
    ran(theirs, "restore", str(tmp_path / "copy"), "--yes")
    assert theirs.query("SELECT username FROM experts") == [("two",)]


def tables_of_ours(url: str) -> int:
    """Return how many tables of ours a database has, in whatever schema."""
    ((found,),) = postgresql.rows(url, "SELECT count(*) FROM pg_class WHERE relname LIKE 'findable%'")
    return int(found)


@pytest.mark.parametrize(("made_in", "put_in"), [("tenant1", "public"), ("public", "Tenant 2")])
def test_a_copy_goes_only_where_it_will_be_looked_for(
    blank: Workspace, tmp_path: Path, made_in: str, put_in: str
) -> None:
    """Where the connection looks in another schema: exit code 3, both names and what to set, and nothing is loaded."""
    paths = {"public": "", "tenant1": "&options=-csearch_path%3Dtenant1"}
    paths["Tenant 2"] = "&options=-csearch_path%3D%22Tenant%5C%202%22"
    url = blank.environ[URL]
    postgresql.rows(url, 'CREATE SCHEMA tenant1; CREATE SCHEMA "Tenant 2"')
    blank.environ[URL] = url + paths[made_in]
    put(blank)
    ran(blank, "backup", str(tmp_path / "copy"))
    postgresql.empty(blank.data)
    postgresql.rows(url, 'CREATE SCHEMA "Tenant 2"')
    other = tmp_path / "other"
    words = ("restore", str(tmp_path / "copy"), "--yes")
    refused = ran(blank, *words, code=3, DATA=str(other), DATABASE_URL=url + paths[put_in])
    assert made_in in refused
    assert put_in in refused
    assert f"options=-csearch_path%3D{made_in}" in refused
    assert (tables_of_ours(url), other.exists()) == (0, False)
    ran(blank, "status", DATA=str(tmp_path / "empty"), DATABASE_URL=url + paths[put_in])
    postgresql.empty(blank.data)
    ran(blank, *words)
    assert blank.query("SELECT username FROM experts") == [("one",)]
    ran(blank, "doctor")


def test_the_schema_of_the_user_is_known(blank: Workspace, tmp_path: Path) -> None:
    """`$user` in the search path is the schema of that name, also before the copy has made it."""
    url = blank.environ[URL]
    postgresql.rows(url, "CREATE SCHEMA postgres")
    put(blank)
    ran(blank, "backup", str(tmp_path / "copy"))
    postgresql.empty(blank.data)
    ran(blank, "restore", str(tmp_path / "copy"), "--yes")
    assert postgresql.rows(url, "SELECT username FROM postgres.experts") == [("one",)]
    ran(blank, "doctor")


def test_an_older_copy_without_its_schema_is_restored(served: Workspace, tmp_path: Path) -> None:
    """A manifest that does not say where the tables stood is taken as it is."""
    ran(served, "backup", str(tmp_path / "copy"))
    manifest = tmp_path / "copy" / "manifest.json"
    document = json.loads(manifest.read_bytes())
    assert document.pop("namespace") == "public"
    manifest.write_text(json.dumps(document))
    postgresql.empty(served.data)
    ran(served, "restore", str(tmp_path / "copy"), "--yes")
    assert served.query("SELECT username FROM experts") == [("one",)]
