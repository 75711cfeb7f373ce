"""`make backup` and `make restore`: all of a workspace or nothing, whatever happens meanwhile."""

import contextlib
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.experts import table
from pipeline.index import build
from pipeline.index.manifest import Manifest
from pipeline.ops import backup_files
from pipeline.store.database import Store
from tests import ledger, postgresql
from tests.lab import ON_POSTGRESQL, Api, Workspace, ran

DATABASE = "findable.dump" if ON_POSTGRESQL else "findable.db"
CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index")


def at(workspace: Workspace, data: Path) -> Workspace:
    """Return another workspace with the same settings."""
    return Workspace(data, workspace.environ | {"FINDABLE_DATA": str(data)})


def emptied(workspace: Workspace) -> Workspace:
    """Return a workspace whose database may be restored into; a file is moved aside, a server's must be empty."""
    if workspace.on_postgresql:
        postgresql.empty(workspace.data)
    return workspace


@pytest.fixture
def chained(workspace: Workspace, people: Callable[..., list[str]]) -> Workspace:
    """A workspace in which five people went through the chain."""
    people(5)
    for command in CHAIN:
        ran(workspace, command)
    return workspace


def test_a_copy_is_the_workspace_again(chained: Workspace, tmp_path: Path) -> None:
    """Restored elsewhere it holds the same rows, files and index, searches, and doctor finds nothing."""
    ran(chained, "backup", str(tmp_path / "copy"))
    other = at(chained, tmp_path / "other")
    ran(other, "restore", str(tmp_path / "copy"))
    assert ledger.snapshot(other) == ledger.snapshot(chained)
    for name in ("batches/000001-requests.jsonl", "batches/000001-results.jsonl", "faiss.index", "metadata.json"):
        assert (other.data / name).read_bytes() == (chained.data / name).read_bytes()
    assert len(json.loads(ran(other, "search", "bees", "--json"))) == 5
    assert json.loads(other.run("doctor", "--json").stdout)["findings"] == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.endswith(".part")) == []


def test_a_copy_is_never_written_over(chained: Workspace, tmp_path: Path) -> None:
    """Where something stands already nothing is written, exit code 2."""
    (tmp_path / "copy").mkdir()
    chained.ran("backup", str(tmp_path / "copy"), code=2)
    assert list((tmp_path / "copy").iterdir()) == []


@pytest.mark.sampled(3, sqlite=3)
@pytest.mark.parametrize("name", [DATABASE, "batches/000001-results.jsonl", "index/builds/1/faiss.index"])
@pytest.mark.parametrize("how", ["changed", "gone", "longer"])
def test_a_damaged_copy_is_refused(chained: Workspace, tmp_path: Path, name: str, how: str) -> None:
    """A byte that changed, a file that is gone or longer: exit code 5, and no workspace is made."""
    ran(chained, "backup", str(tmp_path / "copy"))
    path = tmp_path / "copy" / name
    content = bytearray(path.read_bytes())
    if how == "gone":
        path.unlink()
    else:
        content[len(content) // 2] ^= 1
        path.write_bytes(bytes(content) + (b"x" if how == "longer" else b""))
    other = at(chained, tmp_path / "other")
    result = other.ran("restore", str(tmp_path / "copy"), code=5)
    assert name in result.output
    assert not other.data.exists()


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "batches/../../outside", "a\\b"])  # noqa: S108 - refused
def test_paths_that_lead_out_of_a_copy_are_refused(chained: Workspace, tmp_path: Path, name: str) -> None:
    """A manifest that names files elsewhere is no manifest, exit code 2."""
    ran(chained, "backup", str(tmp_path / "copy"))
    manifest = tmp_path / "copy" / "manifest.json"
    document = json.loads(manifest.read_bytes())
    document["files"][name] = {"sha256": "0", "size": 0}
    manifest.write_text(json.dumps(document))
    assert at(chained, tmp_path / "other").run("restore", str(tmp_path / "copy")).exit_code == 2
    assert not (tmp_path / "outside").exists()


@pytest.mark.sqlite_only(reason="a database on a server is not moved aside; the next test has what happens instead")
def test_a_workspace_that_is_there_is_moved_aside_after_asking(chained: Workspace, tmp_path: Path) -> None:
    """Without YES exit code 2 and nothing changes; with it the old one lies beside, whole."""
    ran(chained, "backup", str(tmp_path / "copy"))
    with chained.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "after-the-backup", {})
    before = ledger.snapshot(chained)
    result = chained.ran("restore", str(tmp_path / "copy"), code=2)
    assert "nothing was changed" in result.output
    assert ledger.snapshot(chained) == before
    ran(chained, "restore", str(tmp_path / "copy"), "--yes")
    assert chained.scalar("SELECT count(*) FROM experts") == 5
    aside = at(chained, tmp_path / "data.before-restore-1")
    assert ledger.snapshot(aside) == before


def on_server(workspace: Workspace) -> Workspace:
    """Return a workspace whose database is on a server, whichever the others are in."""
    programs = str(postgresql.shared().programs)
    own = {"FINDABLE_DATABASE_URL": postgresql.database_of(workspace.data), "FINDABLE_PG_BIN": programs}
    return Workspace(workspace.data, workspace.environ | own)


def put(workspace: Workspace, *names: str) -> None:
    """Put people with a bio into a workspace."""
    with workspace.open() as ws, ws.store.write() as tx:
        for name in names:
            table.insert_person(tx, name, {"bio": "I keep bees."})


def test_a_database_on_a_server_is_never_written_over(workspace: Workspace, tmp_path: Path) -> None:
    """A server's database that holds a workspace stays as it is, exit code 3; an empty one takes the copy."""
    served = on_server(workspace)
    put(served, "one")
    ran(served, "backup", str(tmp_path / "copy"))
    put(served, "two")
    before = ledger.snapshot(served)
    result = served.ran("restore", str(tmp_path / "copy"), "--yes", code=3)
    assert "holds a workspace already" in result.output
    assert ledger.snapshot(served) == before
    assert served.run("restore", str(tmp_path / "copy"), "--yes", DATABASE_URL="").exit_code == 3
    ran(emptied(served), "restore", str(tmp_path / "copy"), "--yes")
    assert served.query("SELECT username FROM experts") == [("one",)]
    put(served, "three")
    assert served.query("SELECT id, username FROM experts ORDER BY id") == [(1, "one"), (2, "three")]


def test_a_restore_that_died_keeps_every_command_away_and_goes_on(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the dump and its last row nothing works but `restore`, which goes on from there."""
    served = on_server(workspace)
    put(served, "one")
    ran(served, "backup", str(tmp_path / "copy"))
    emptied(served)
    with monkeypatch.context() as patch:

        def die(*_: object) -> None:
            """Die before the folder is put in place."""
            raise KeyboardInterrupt

        patch.setattr("pipeline.ops.backup_files.settle_copy", die)
        assert served.run("restore", str(tmp_path / "copy"), "--yes").exit_code == 130
    refused = served.run("status")
    assert (refused.exit_code, "run it again" in refused.output) == (5, True)
    ran(served, "restore", str(tmp_path / "copy"), "--yes")
    assert served.query("SELECT username FROM experts") == [("one",)]
    assert json.loads(served.run("doctor", "--json").stdout)["findings"] == []


def test_another_copy_can_be_restored_after_one_that_died(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is then that of the copy whose files are there, and not of the one that was begun."""
    served = on_server(workspace)
    for name in ("one", "two"):
        put(served, name)
        ran(served, "backup", str(tmp_path / name))
    emptied(served)
    with monkeypatch.context() as patch:

        def die(*_: object) -> None:
            """Die before the folder is put in place."""
            raise KeyboardInterrupt

        patch.setattr("pipeline.ops.backup_files.settle_copy", die)
        assert served.run("restore", str(tmp_path / "one"), "--yes").exit_code == 130
    ran(served, "restore", str(tmp_path / "two"), "--yes")
    assert served.query("SELECT username FROM experts ORDER BY id") == [("one",), ("two",)]
    assert sorted(path.name for path in (tmp_path / "two").iterdir()) == ["findable.dump", "manifest.json"]


def test_a_restore_that_was_finished_by_another_run_is_not_done_again(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where work goes on in the database by the time the dump would be loaded, it stays as it is: exit code 3."""
    served = on_server(workspace)
    put(served, "one")
    ran(served, "backup", str(tmp_path / "copy"))
    emptied(served)
    words = ("restore", str(tmp_path / "copy"), "--yes")
    place = backup_files.restore_files

    def die(*_: object) -> None:
        """Die before the folder is put in place."""
        raise KeyboardInterrupt

    def others_are_quicker(*args: Any) -> None:
        """Let another run finish, and work go on, between the first look at the database and the load."""
        monkeypatch.setattr("pipeline.ops.backup_files.restore_files", place)
        ran(served, *words)
        put(served, "two")
        place(*args)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.ops.backup_files.settle_copy", die)
        assert served.run(*words).exit_code == 130
    monkeypatch.setattr("pipeline.ops.backup_files.restore_files", others_are_quicker)
    late = served.run(*words)
    assert (late.exit_code, "holds a workspace already" in late.output) == (3, True)
    assert served.query("SELECT username FROM experts ORDER BY id") == [("one",), ("two",)]


def test_a_copy_is_only_read_while_it_is_restored(workspace: Workspace, tmp_path: Path) -> None:
    """Nothing is written into its folder, which may lie where nobody can write: whatever lies there stays."""
    served = on_server(workspace)
    put(served, "one")
    ran(served, "backup", str(tmp_path / "copy"))
    own = tmp_path / "copy" / "findable.dump.list"
    own.write_text("mine")
    ran(emptied(served), "restore", str(tmp_path / "copy"), "--yes")
    assert own.read_text() == "mine"


def test_missing_programs_of_postgresql_are_named(workspace: Workspace, tmp_path: Path) -> None:
    """Without pg_dump or pg_restore: exit code 3, what to install, and nothing half made."""
    served = on_server(workspace)
    put(served, "one")
    none = {"PG_BIN": str(tmp_path)}
    refused = served.run("backup", str(tmp_path / "copy"), **none)
    assert (refused.exit_code, "pg_dump is not to be found" in refused.output) == (3, True)
    assert not list(tmp_path.glob("copy*"))
    ran(served, "backup", str(tmp_path / "copy"))
    refused = emptied(served).run("restore", str(tmp_path / "copy"), "--yes", **none)
    assert (refused.exit_code, "pg_restore is not to be found" in refused.output) == (3, True)
    assert served.tables() == []


def test_an_empty_directory_is_taken(chained: Workspace, tmp_path: Path) -> None:
    """A directory with nothing in it needs no question."""
    ran(chained, "backup", str(tmp_path / "copy"))
    (tmp_path / "other").mkdir()
    ran(at(chained, tmp_path / "other"), "restore", str(tmp_path / "copy"))
    assert not (tmp_path / "other.before-restore-1").exists()


def refused(workspace: Workspace, api: Api) -> None:
    """Let a submit end with its batch prepared, for the API takes no more."""
    api.fault("status", times=1000, args={"code": 429}, path="batchGenerateContent")
    assert workspace.run("batch-submit").exit_code == 4
    api.clear_faults()
    assert ledger.batches(workspace) == ["prepared"]


def unclear(workspace: Workspace, api: Api) -> None:
    """Let a submit end with its batch submitting, for no create was answered."""
    api.fault("status", times=3, method="POST", path="batchGenerateContent", args={"code": 503})
    assert workspace.run("batch-submit").exit_code == 4
    assert ledger.batches(workspace) == ["submitting"]


def gone_on(workspace: Workspace, copy: Path) -> None:
    """Restore a copy in the workspace's place, and go through the chain to its end."""
    ran(emptied(workspace), "restore", str(copy), "--yes")
    for command in CHAIN:
        ran(workspace, command)
    assert ledger.people(workspace) == {"total": 3, "tagged": 3}


@pytest.mark.sqlite_only("a database on a server is never moved aside")
def test_a_workspace_that_somebody_has_open_is_not_moved_aside(
    workspace: Workspace, people: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Who only waits holds nothing, and would go on in the old database with the new one's files."""
    people(3)
    ran(workspace, "backup", str(tmp_path / "copy"))
    with workspace.open() as ws:
        with ws.store.read():
            pass
        refused = workspace.run("restore", str(tmp_path / "copy"), "--yes")
        assert (refused.exit_code, "has" in refused.output, "open; nothing was changed" in refused.output) == (
            2,
            True,
            True,
        )
        assert not (tmp_path / "data.before-restore-1").exists()
        with ws.store.write() as tx:
            table.insert_person(tx, "one-more", {"bio": "I cast bells."})
    assert ledger.people(workspace)["total"] == 4
    ran(workspace, "restore", str(tmp_path / "copy"), "--yes")
    assert ledger.people(workspace)["total"] == 3
    assert ledger.people(at(workspace, tmp_path / "data.before-restore-1"))["total"] == 4


def test_a_batch_that_was_sent_after_the_backup_is_found_again(
    workspace: Workspace, people: Callable[..., list[str]], api: Api, tmp_path: Path
) -> None:
    """A backup of a prepared batch, restored after that batch was created, adopts it and makes no other."""
    people(3)
    refused(workspace, api)
    ran(workspace, "backup", str(tmp_path / "copy"))
    ran(workspace, "batch-submit")
    assert len(api.batches()["batches"]) == 1
    gone_on(workspace, tmp_path / "copy")
    assert len(api.batches()["batches"]) == 1


def test_a_batch_that_was_refused_and_then_sent_after_the_backup_is_found_again(
    workspace: Workspace, people: Callable[..., list[str]], api: Api, tmp_path: Path
) -> None:
    """However many tries were made since: the copy knows none of them, and finds the batch by the rest of its name."""
    people(3)
    refused(workspace, api)
    ran(workspace, "backup", str(tmp_path / "copy"))
    refused(workspace, api)
    ran(workspace, "batch-submit")
    (sent,) = api.batches()["batches"]
    gone_on(workspace, tmp_path / "copy")
    assert len(api.batches()["batches"]) == 1
    ((name,),) = workspace.query("SELECT display_name FROM findable_tries WHERE outcome = 'adopted'")
    assert name == sent["displayName"]
    number = workspace.scalar("SELECT tries FROM findable_batches")
    assert name.endswith(f"-t{number}")
    assert workspace.run("doctor").exit_code == 0


def test_an_unclear_batch_that_was_sent_anew_after_the_backup_is_found_again(
    workspace: Workspace, people: Callable[..., list[str]], api: Api, tmp_path: Path
) -> None:
    """A create that was unclear in the copy, and was made again since, is adopted as what it became."""
    people(3)
    unclear(workspace, api)
    ran(workspace, "backup", str(tmp_path / "copy"))
    ran(workspace, "batch-submit")
    gone_on(workspace, tmp_path / "copy")
    assert len(api.batches()["batches"]) == 1


def test_a_second_batch_that_was_made_after_the_backup_is_a_twin(
    workspace: Workspace, people: Callable[..., list[str]], api: Api, tmp_path: Path
) -> None:
    """Of two that bear the name of one file one is kept, the other cancelled and recorded, whatever the copy knows."""
    people(3)
    unclear(workspace, api)
    ran(workspace, "backup", str(tmp_path / "copy"))
    api.configure(batch_looks=2)
    api.fault("create_lost_reply")
    api.fault("list_lag", args={"seconds": 600})
    ran(workspace, "batch-submit")
    api.advance(601)
    assert len(api.batches()["batches"]) == 2
    gone_on(workspace, tmp_path / "copy")
    assert sorted(batch["state"] for batch in api.batches()["batches"]) == ["CANCELLED", "SUCCEEDED"]
    assert workspace.scalar("SELECT count(*) FROM findable_twins WHERE cancelled_at IS NOT NULL") == 1


def test_a_copy_made_while_others_write_is_of_one_moment(chained: Workspace, tmp_path: Path) -> None:
    """While people come in, are sent, ingested and indexed, every backup is whole and healthy."""
    over = threading.Event()

    def work() -> None:
        """Write all the time."""
        for number in range(100):
            if over.is_set():
                return
            with chained.open() as ws, ws.store.write() as tx:
                table.insert_person(tx, f"late-{number}", {"bio": "I mend clocks."})
            for command in CHAIN:
                chained.run(command)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for number in range(4):
            ran(chained, "backup", str(tmp_path / f"copy-{number}"))
    finally:
        over.set()
        writer.join()
    for number in range(4):
        other = at(chained, tmp_path / f"other-{number}")
        ran(other, "restore", str(tmp_path / f"copy-{number}"))
        ledger.check(other)
        found = json.loads(other.run("doctor", "--json").stdout)["findings"]
        found = [one["said"] for one in found if one["check"] not in {"backend", "leases"}]
        assert [
            said for said in found if "is behind the database" not in said
        ] == []  # who was ingested, not indexed yet


def test_a_copy_made_between_a_promotion_and_its_record_begins_again(
    chained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that is in service before the database is copied, and recorded after it, is recorded in the backup."""
    with chained.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "late", {"bio": "I mend clocks."})
    for command in CHAIN[:-1]:
        ran(chained, command)
    promoted, copied = threading.Event(), threading.Event()
    record, copied_to = build.record_build, Store.copied_to

    def late(store: Store, current: Manifest, *, at: datetime) -> None:
        promoted.set()
        assert copied.wait(60)
        record(store, current, at=at)

    @contextlib.contextmanager
    def told(store: Store, target: Path, **how: Any) -> Iterator[Any]:
        with copied_to(store, target, **how) as tx:
            yield tx
        copied.set()

    monkeypatch.setattr(build, "record_build", late)
    monkeypatch.setattr(Store, "copied_to", told)
    builder = threading.Thread(target=chained.run, args=("index",))
    builder.start()
    assert promoted.wait(60)
    ran(chained, "backup", str(tmp_path / "copy"))
    builder.join()
    other = at(chained, tmp_path / "other")
    ran(other, "restore", str(tmp_path / "copy"))
    assert json.loads(other.run("doctor", "--json").stdout)["findings"] == []


def test_an_old_result_that_was_lost_does_not_stop_a_backup(chained: Workspace, tmp_path: Path) -> None:
    """What nobody needs any more is left out where it is gone, and copied as it is where it was damaged."""
    (chained.data / "batches" / "000001-results.jsonl").unlink()
    (chained.data / "batches" / "000001-requests.jsonl").write_bytes(b"other bytes\n")
    assert "as it is" in ran(chained, "backup", str(tmp_path / "copy"))
    ran(at(chained, tmp_path / "other"), "restore", str(tmp_path / "copy"))


def test_a_needed_result_that_was_lost_stops_it(workspace: Workspace, people: Callable[..., list[str]]) -> None:
    """A result that is not ingested yet and has other bytes: exit code 5, and no folder is left."""
    people(2)
    for command in CHAIN[:2]:
        ran(workspace, command)
    (workspace.data / "batches" / "000001-results.jsonl").write_bytes(b"other\n")
    target = workspace.data.parent / "copy"
    workspace.ran("backup", str(target), code=5)
    assert not list(target.parent.glob("copy*"))


def test_the_local_engine_goes_along(tmp_path: Path) -> None:
    """A batch under way on the local engine is finished in the restored workspace."""
    local = Workspace(tmp_path / "local", {"FINDABLE_DATA": str(tmp_path / "local")})
    with local.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "one", {"bio": "I keep bees."})
    ran(local, "batch-submit")
    ran(local, "backup", str(tmp_path / "copy"))
    shutil.rmtree(local.data)
    ran(emptied(local), "restore", str(tmp_path / "copy"))
    for command in CHAIN[1:]:
        ran(local, command)
    assert ledger.people(local) == {"total": 1, "tagged": 1}


def test_a_folder_without_a_manifest_is_no_backup(workspace: Workspace, tmp_path: Path) -> None:
    """Exit code 2, and no workspace is made."""
    (tmp_path / "nothing").mkdir()
    for name in ("nothing", "absent"):
        assert workspace.run("restore", str(tmp_path / name)).exit_code == 2
    assert not workspace.data.exists()
