"""`make restore` into PostgreSQL: one at a time, all or nothing, and never over a workspace."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.experts import table
from pipeline.ops import backup_files
from tests import ledger, postgresql
from tests.lab import Workspace, ran

URL, PROGRAMS = "FINDABLE_DATABASE_URL", "FINDABLE_PG_BIN"


@pytest.fixture
def blank(workspace: Workspace) -> Workspace:
    """A workspace that nothing was done in, whose database is on a server whichever the others are in."""
    own = {URL: postgresql.database_of(workspace.data), PROGRAMS: str(postgresql.shared().programs)}
    return Workspace(workspace.data, workspace.environ | own)


@pytest.fixture
def served(blank: Workspace) -> Workspace:
    """That workspace, with one person and a copy of it."""
    put(blank)
    ran(blank, "backup", str(blank.data.with_name("copy")))
    return blank


def put(workspace: Workspace, name: str = "one") -> None:
    """Put one person into a workspace."""
    with workspace.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, name, {"bio": "I keep bees."})


def die(*_: object) -> None:
    """Die."""
    raise KeyboardInterrupt


SETTLED = "pipeline.ops.backup_files.settle_restored"  # what puts the folder in place, once the dump is loaded


def test_a_database_on_a_server_is_never_written_over(served: Workspace, tmp_path: Path) -> None:
    """One that holds a workspace stays as it is, exit code 3; an empty one takes the copy, which is only read.

    Without pg_dump or pg_restore: exit code 3, what to install, and nothing half made.
    """
    words, none = ("restore", str(tmp_path / "copy")), {"PG_BIN": str(tmp_path)}
    own = tmp_path / "copy" / "findable.dump.list"
    own.write_text("mine")
    assert "pg_dump is not to be found" in ran(served, "backup", str(tmp_path / "late"), code=3, **none)
    assert not list(tmp_path.glob("late*"))
    put(served, "two")
    before = ledger.snapshot(served)
    assert "holds a workspace already" in ran(served, *words, code=2)
    assert "holds a workspace already" in ran(served, *words, code=3, DATA=str(tmp_path / "other"))
    assert ledger.snapshot(served) == before
    served.ran(*words, code=3, DATABASE_URL="", DATA=str(tmp_path / "other"))
    assert not (tmp_path / "other").exists()
    postgresql.empty(served.data)
    assert "pg_restore is not to be found" in ran(served, *words, code=3, **none)
    assert served.tables() == []
    ran(served, *words)
    assert served.query("SELECT username FROM experts") == [("one",)]
    put(served, "three")
    assert served.query("SELECT id, username FROM experts ORDER BY id") == [(1, "one"), (2, "three")]
    assert own.read_text() == "mine"


@pytest.mark.full
def test_another_copy_can_be_restored_after_one_that_died(
    served: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the dump and its last row nothing works but `restore`, of whichever copy."""
    put(served, "two")
    ran(served, "backup", str(tmp_path / "later"))
    postgresql.empty(served.data)
    with monkeypatch.context() as patch:
        patch.setattr(SETTLED, die)
        ran(served, "restore", str(tmp_path / "copy"), code=130)
    assert "run it again" in ran(served, "status", code=5)
    ran(served, "restore", str(tmp_path / "later"))
    assert served.query("SELECT username FROM experts ORDER BY id") == [("one",), ("two",)]
    assert sorted(path.name for path in (tmp_path / "later").iterdir()) == ["findable.dump", "manifest.json"]
    assert ledger.findings(served) == []


@pytest.mark.full
def test_a_restore_that_was_finished_by_another_run_is_not_done_again(
    served: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where work goes on in the database by the time the dump would be loaded, it stays as it is: exit code 3."""
    postgresql.empty(served.data)
    words = ("restore", str(tmp_path / "copy"))
    place = backup_files.restore_files

    def others_are_quicker(*args: Any) -> None:
        """Let another run go on from where one died, and work, between the first look at the database and the load."""
        monkeypatch.setattr("pipeline.ops.backup_files.restore_files", place)
        ran(served, *words, DATA=str(tmp_path / "quicker"))
        put(served, "two")
        place(*args)

    with monkeypatch.context() as patch:
        patch.setattr(SETTLED, die)
        ran(served, *words, code=130)
    monkeypatch.setattr("pipeline.ops.backup_files.restore_files", others_are_quicker)
    assert "holds a workspace already" in ran(served, *words, code=3)
    assert served.query("SELECT username FROM experts ORDER BY id") == [("one",), ("two",)]


@pytest.mark.full
def test_a_second_restore_into_one_database_is_refused(
    served: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the dump and its last row no other process puts one there: exit code 2, and the first ends well.

    The manifest is an older one that does not say where the tables stood, and is taken as it is.
    """
    manifest = tmp_path / "copy" / "manifest.json"
    document = json.loads(manifest.read_bytes())
    assert document.pop("namespace") == "public"
    manifest.write_text(json.dumps(document))
    postgresql.empty(served.data)
    words = ("restore", str(tmp_path / "copy"))
    other = tmp_path / "other"
    settle, refused = backup_files.settle_restored, []

    def others_come(*args: Any) -> Any:
        """Let another restore begin once the dump is loaded."""
        monkeypatch.setattr(SETTLED, settle)
        refused.append(served.run(*words, DATA=str(other)))
        return settle(*args)

    monkeypatch.setattr(SETTLED, others_come)
    ran(served, *words)
    assert [one.exit_code for one in refused] == [2]
    assert "another restore" in refused[0].output
    assert not other.exists()
    assert served.query("SELECT username FROM experts") == [("one",)]
    ran(served, "doctor")
    assert "holds a workspace already" in ran(served, *words, code=3, DATA=str(other))


@pytest.mark.full
def test_a_restore_that_lost_its_turn_does_not_finish(
    served: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut off from the server in the middle it cannot know whose dump is there: exit code 4, and again it ends well."""
    postgresql.empty(served.data)
    words = ("restore", str(tmp_path / "copy"))
    settle = backup_files.settle_restored

    def cut_off(*args: Any) -> Any:
        """End every connection to the database once the dump is loaded."""
        postgresql.rows(
            served.environ[URL],
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()",
        )
        return settle(*args)

    with monkeypatch.context() as patch:
        patch.setattr(SETTLED, cut_off)
        ran(served, *words, code=4)
    ran(served, "status", code=5)
    ran(served, *words)
    assert served.query("SELECT username FROM experts") == [("one",)]


@pytest.mark.full
def test_two_workspaces_in_one_database_are_not_backed_up_as_one(served: Workspace, tmp_path: Path) -> None:
    """A dump is of a whole database: where two schemas hold a workspace each, exit code 3, and nothing is written."""
    url = served.environ[URL]
    postgresql.rows(url, "CREATE SCHEMA theirs")
    theirs = Workspace(tmp_path / "theirs", dict(served.environ))
    theirs.environ |= {URL: f"{url}&options=-c%20search_path%3Dtheirs", "FINDABLE_DATA": str(theirs.data)}
    with theirs.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "two", {"bio": "I keep goats."})
    for one in (served, theirs):
        assert "public, theirs" in ran(one, "backup", str(tmp_path / "both"), code=3)
        assert not list(tmp_path.glob("both*"))
    postgresql.rows(url, "DROP SCHEMA public CASCADE")
    ran(theirs, "backup", str(tmp_path / "one"))
    postgresql.rows(url, "DROP SCHEMA theirs CASCADE")
    shutil.rmtree(theirs.data)
    ran(theirs, "restore", str(tmp_path / "one"))
    assert theirs.query("SELECT username FROM experts") == [("two",)]


def tables_of_ours(url: str) -> int:
    """Return how many tables of ours a database has, in whatever schema."""
    ((found,),) = postgresql.rows(url, "SELECT count(*) FROM pg_class WHERE relname LIKE 'findable%'")
    return int(found)


@pytest.mark.full
def test_a_copy_goes_only_where_it_will_be_looked_for(blank: Workspace, tmp_path: Path) -> None:
    """Where the connection looks in another schema: exit code 3, both names and what to set, and nothing is loaded."""
    url, theirs = blank.environ[URL], "&options=-csearch_path%3D%22Tenant%5C%202%22"
    postgresql.rows(url, "CREATE SCHEMA tenant1")
    blank.environ[URL] = f"{url}&options=-csearch_path%3Dtenant1"
    put(blank)
    ran(blank, "backup", str(tmp_path / "copy"))
    postgresql.empty(blank.data)
    postgresql.rows(url, 'CREATE SCHEMA "Tenant 2"')
    other = tmp_path / "other"
    words = ("restore", str(tmp_path / "copy"))
    refused = ran(blank, *words, code=3, DATA=str(other), DATABASE_URL=url + theirs)
    assert "Tenant 2" in refused
    assert "options=-csearch_path%3Dtenant1" in refused
    assert (tables_of_ours(url), other.exists()) == (0, False)
    ran(blank, "score", DATA=str(tmp_path / "empty"), DATABASE_URL=url + theirs)
    postgresql.empty(blank.data)
    ran(blank, *words)
    assert blank.query("SELECT username FROM experts") == [("one",)]
    ran(blank, "doctor")


@pytest.mark.full
def test_the_schema_of_the_user_is_known(blank: Workspace, tmp_path: Path) -> None:
    """`$user` in the search path is the schema of that name, also before the copy has made it."""
    url = blank.environ[URL]
    postgresql.rows(url, "CREATE SCHEMA postgres")
    put(blank)
    ran(blank, "backup", str(tmp_path / "copy"))
    postgresql.empty(blank.data)
    ran(blank, "restore", str(tmp_path / "copy"))
    assert postgresql.rows(url, "SELECT username FROM postgres.experts") == [("one",)]
    ran(blank, "doctor")
