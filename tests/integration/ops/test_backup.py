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
from pipeline.store.database import Store
from tests import ledger, postgresql
from tests.integration.merged import merge
from tests.lab import ON_POSTGRESQL, Api, Workspace, ran

DATABASE = "findable.dump" if ON_POSTGRESQL else "findable.db"
CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index")


def at(workspace: Workspace, data: Path) -> Workspace:
    """Return another workspace with the same settings."""
    return Workspace(data, workspace.environ | {"FINDABLE_DATA": str(data)})


def emptied(workspace: Workspace) -> Workspace:
    """Return a workspace that may be restored into: its folder is gone, and its database on a server is empty."""
    shutil.rmtree(workspace.data, ignore_errors=True)
    if workspace.on_postgresql:
        postgresql.empty(workspace.data)
    return workspace


@pytest.fixture
def chained(workspace: Workspace, people: Callable[..., list[str]], begun: Callable[..., None]) -> Workspace:
    """A workspace in which five people went through the chain."""

    def prepare() -> None:
        """Go through it."""
        people(5)
        workspace.ran_each(*CHAIN)

    begun(prepare)
    return workspace


@pytest.fixture
def backed(workspace: Workspace, people: Callable[..., list[str]], begun: Callable[..., None]) -> Workspace:
    """That workspace, with a copy of it in `copy`."""

    def prepare() -> None:
        """Go through the chain and make the copy."""
        people(5)
        workspace.ran_each(*CHAIN)
        merge(workspace)
        ran(workspace, "backup", str(workspace.data.with_name("copy")))

    begun(prepare)
    return workspace


def test_a_copy_is_the_workspace_again(backed: Workspace, tmp_path: Path) -> None:
    """Restored into an empty directory elsewhere it holds the same rows, files and index, and doctor finds nothing.

    Searches find the same.
    """
    copied = {path: path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    backed.ran("backup", str(tmp_path / "copy"), code=2)
    assert {path: path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file()} == copied
    (tmp_path / "other").mkdir()
    other = at(backed, tmp_path / "other")
    ran(other, "restore", str(tmp_path / "copy"))
    assert ledger.snapshot(other) == ledger.snapshot(backed)
    for name in ("batches/000001-requests.jsonl", "batches/000001-results.jsonl", "faiss.index", "metadata.json"):
        assert (other.data / name).read_bytes() == (backed.data / name).read_bytes()
    words = ("search", "bees person-0002", "--json")
    assert json.loads(ran(other, *words)) == json.loads(ran(backed, *words))
    assert ledger.findings(other) == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.endswith(".part")) == []


def test_what_is_no_whole_copy_is_refused(backed: Workspace, tmp_path: Path) -> None:
    """A byte that changed, a file that is gone or longer: exit code 5; paths that lead out, or no manifest: 2.

    No workspace is made of any of them.
    """
    copy, other = tmp_path / "copy", at(backed, tmp_path / "other")
    (vectors,) = copy.glob("index/builds/*/faiss.index")
    for name in (DATABASE, "batches/000001-results.jsonl", str(vectors.relative_to(copy))):
        content = (copy / name).read_bytes()
        changed = content[:50] + bytes([content[50] ^ 1]) + content[51:]
        (copy / name).unlink()
        assert name in ran(other, "restore", str(copy), code=5)
        for spoilt in (changed, content + b"x"):
            (copy / name).write_bytes(spoilt)
            assert name in ran(other, "restore", str(copy), code=5)
        (copy / name).write_bytes(content)
    manifest = copy / "manifest.json"
    written = manifest.read_bytes()
    for name in ("../outside", "/tmp/outside", "batches/../../outside", "a\\b"):  # noqa: S108 - refused
        document = json.loads(written)
        document["files"][name] = {"sha256": "0", "size": 0}
        manifest.write_text(json.dumps(document))
        ran(other, "restore", str(copy), code=2)
    manifest.unlink()
    for folder in (copy, tmp_path / "absent"):
        ran(other, "restore", str(folder), code=2)
    assert not (tmp_path / "outside").exists()
    assert not other.data.exists()


def holding(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Return every file below a folder, by its path in it, as what it is on the disk and what stands in it."""
    found = (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path.relative_to(folder)): (path.stat().st_ino, path.read_bytes()) for path in found}


def test_a_restore_goes_into_no_folder_with_a_workspace(backed: Workspace, tmp_path: Path) -> None:
    """Exit code 2 with the folder to type instead, whether it is open or not; what is typed then works.

    The same where only its files are left, and where a restore of another backup was begun.
    """
    words = ("restore", str(tmp_path / "copy"))
    with backed.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "after-the-backup", {})
    before = holding(backed.data)
    for _ in range(2):
        said = ran(backed, *words, code=2, DATABASE_URL="") if not backed.on_postgresql else ran(backed, *words, code=2)
        assert "holds a workspace already" in said
        assert f"DATA={tmp_path / 'data-restored'}" in said
        assert holding(backed.data).keys() == before.keys()
        assert backed.scalar("SELECT count(*) FROM experts") == 6
    left = tmp_path / "left" / "batches" / "000001-requests.jsonl"
    left.parent.mkdir(parents=True)
    left.write_text("of another workspace\n")
    assert "batches/000001-requests.jsonl" in ran(at(backed, tmp_path / "left"), *words, code=2)
    assert [*holding(tmp_path / "left")] == ["batches/000001-requests.jsonl"]
    beside = at(backed, tmp_path / "data-restored")
    ran(beside, *words)
    assert beside.scalar("SELECT count(*) FROM experts") == 5


def test_what_is_no_part_of_the_workspace_is_neither_copied_nor_touched(backed: Workspace, tmp_path: Path) -> None:
    """A checkout's `data/` has a sample and a demo in it: a backup leaves them out, and a restore where they are."""
    foreign = ("sample/experts.csv", "demo/findable.db", "demo/batches/000001-requests.jsonl", ".gitkeep", "notes.txt")
    fresh = at(backed, tmp_path / "clone" / "data")
    for data in (backed.data, fresh.data):
        for name in foreign:
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_text(f"{name} of a user")
    before = holding(fresh.data)
    ran(backed, "backup", str(tmp_path / "with-others"))
    assert {*holding(tmp_path / "with-others")} == {*holding(tmp_path / "copy")}
    ran(fresh, "restore", str(tmp_path / "with-others"))
    after = holding(fresh.data)
    assert {name: after[name] for name in before} == before
    assert ledger.snapshot(fresh) == ledger.snapshot(backed)
    added = {name.partition("/")[0] for name in after.keys() - before.keys()}
    assert added - {"findable.db"} == {"batches", "index", "reports"}
    assert ledger.findings(fresh) == []
    ran(fresh, "search", "bees person-0002")
    assert {name: one for name, one in holding(backed.data).items() if name in foreign} == {
        name: (one[0], f"{name} of a user".encode()) for name, one in holding(backed.data).items() if name in foreign
    }


def gone_on(workspace: Workspace, copy: Path) -> None:
    """Restore a copy in the workspace's place, and go through the chain to its end."""
    ran(emptied(workspace), "restore", str(copy))
    workspace.ran_each(*CHAIN)
    assert ledger.people(workspace) == {"total": 3, "tagged": 3}


def test_a_second_batch_that_was_made_after_the_backup_is_a_twin(
    workspace: Workspace, people: Callable[..., list[str]], api: Api, tmp_path: Path
) -> None:
    """Of two that bear the name of one file, whose create was unclear in the copy, one is kept, the other cancelled."""
    people(3)
    api.fault("status", times=3, method="POST", path="batchGenerateContent", args={"code": 503})
    assert workspace.run("batch-submit").exit_code == 4
    assert ledger.batches(workspace) == ["submitting"]
    ran(workspace, "backup", str(tmp_path / "copy"))
    api.configure(batch_looks=2)
    api.fault("create_lost_reply")
    api.fault("list_lag", args={"seconds": 600})
    ran(workspace, "batch-submit")
    api.advance(601)
    assert len(api.batches()) == 2
    gone_on(workspace, tmp_path / "copy")
    assert sorted(batch["state"] for batch in api.batches()) == ["CANCELLED", "SUCCEEDED"]
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
        for number in range(2):
            ran(chained, "backup", str(tmp_path / f"copy-{number}"))
    finally:
        over.set()
        writer.join()
    for number in range(2):
        other = at(chained, tmp_path / f"other-{number}")
        ran(other, "restore", str(tmp_path / f"copy-{number}"))
        ledger.check(other)
        found = ledger.findings(other)
        found = [one["said"] for one in found if one["check"] not in {"backend", "leases"}]
        assert [
            said for said in found if "is behind the database" not in said
        ] == []  # who was ingested, not indexed yet


@pytest.mark.full
def test_a_copy_made_between_a_promotion_and_its_record_begins_again(
    chained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build that is in service before the database is copied, and recorded after it, is recorded in the backup."""
    with chained.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "late", {"bio": "I mend clocks."})
    chained.ran_each(*CHAIN[:-1])
    promoted, copied, recorded = threading.Event(), threading.Event(), threading.Event()
    record, copied_to = build.record_build, Store.copied_to

    def late(*args: Any, at: datetime) -> None:
        promoted.set()
        assert copied.wait(60)
        record(*args, at=at)
        recorded.set()

    @contextlib.contextmanager
    def told(store: Store, target: Path, **how: Any) -> Iterator[Any]:
        with copied_to(store, target, **how) as tx:
            yield tx
        copied.set()
        assert recorded.wait(60)

    monkeypatch.setattr(build, "record_build", late)
    monkeypatch.setattr(Store, "copied_to", told)
    builder = threading.Thread(target=chained.run, args=("index",))
    builder.start()
    assert promoted.wait(60)
    ran(chained, "backup", str(tmp_path / "copy"))
    builder.join()
    other = at(chained, tmp_path / "other")
    ran(other, "restore", str(tmp_path / "copy"))
    assert ledger.findings(other) == []


def test_a_result_that_was_lost_stops_a_backup_only_where_it_is_needed(chained: Workspace, tmp_path: Path) -> None:
    """What is ingested is left out where it is gone, and copied as it is where it was damaged; else exit code 5."""
    result = chained.data / "batches" / "000001-results.jsonl"
    result.unlink()
    (chained.data / "batches" / "000001-requests.jsonl").write_bytes(b"other bytes\n")
    assert "as it is" in ran(chained, "backup", str(tmp_path / "copy"))
    ran(at(chained, tmp_path / "other"), "restore", str(tmp_path / "copy"))
    result.write_bytes(b"other\n")
    chained.change("UPDATE findable_batches SET state = 'downloaded'")
    ran(chained, "backup", str(tmp_path / "late"), code=5)
    assert not list(tmp_path.glob("late*"))


@pytest.mark.full
def test_the_local_engine_goes_along(tmp_path: Path) -> None:
    """A batch under way on the local engine is finished in the restored workspace."""
    local = Workspace(tmp_path / "local", {"FINDABLE_DATA": str(tmp_path / "local")})
    with local.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "one", {"bio": "I keep bees."})
    ran(local, "batch-submit")
    ran(local, "backup", str(tmp_path / "copy"))
    shutil.rmtree(local.data)
    ran(emptied(local), "restore", str(tmp_path / "copy"))
    local.ran_each(*CHAIN[1:])
    assert ledger.people(local) == {"total": 1, "tagged": 1}
