"""`make backup` and `make restore`: a copy is complete or absent, also during writes."""

import json
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.experts import table
from pipeline.experts.table import experts
from pipeline.store import schema
from tests import ledger, postgresql
from tests.lab import URL, Api, Workspace, ran

pytestmark = pytest.mark.sqlite_only("a server's database is copied by its own programs")
DATABASE = "findable.db"
CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index")


def workspace_in(workspace: Workspace, data: Path) -> Workspace:
    """Return another workspace with the same settings."""
    return Workspace(data, workspace.environ | {"FINDABLE_DATA": str(data)})


def read_files(folder: Path) -> dict[Path, bytes]:
    """Return the content of every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def indexed_workspace(
    workspace: Workspace, people: Callable[..., list[str]], begun: Callable[..., None]
) -> Workspace:
    """A workspace in which five people went through the chain."""

    def prepare() -> None:
        """Run the chain."""
        people(5)
        workspace.ran_each(*CHAIN)

    begun(prepare)
    return workspace


@pytest.fixture
def backed_up_workspace(
    workspace: Workspace, people: Callable[..., list[str]], begun: Callable[..., None]
) -> Workspace:
    """Prepare an indexed workspace, with a backup of it in `copy`."""

    def prepare() -> None:
        """Run the chain and make the backup."""
        people(5)
        workspace.ran_each(*CHAIN)
        ran(workspace, "tags", "--merge", "beekeeping=apiculture", "--who", "person-0002")
        ran(workspace, "index")
        ran(workspace, "backup", str(workspace.data.with_name("copy")))

    begun(prepare)
    return workspace


def test_a_restored_copy_equals_the_workspace(
    backed_up_workspace: Workspace, tmp_path: Path
) -> None:
    """A copy restored into an empty folder has the same rows, files and search results.

    Its index is built from the embedded texts, and doctor finds nothing.
    """
    copied = read_files(tmp_path / "copy")
    backed_up_workspace.ran("backup", str(tmp_path / "copy"), code=2)
    assert read_files(tmp_path / "copy") == copied

    (tmp_path / "other").mkdir()
    restored = workspace_in(backed_up_workspace, tmp_path / "other")
    ran(restored, "restore", str(tmp_path / "copy"))
    assert ledger.snapshot(restored) == ledger.snapshot(backed_up_workspace)

    # The copy contains the vectors, so that nothing is embedded again.
    ran(restored, "index")
    for name in (
        "batches/000001-requests.jsonl",
        "batches/000001-results.jsonl",
        "faiss.index",
        "metadata.json",
    ):
        assert (restored.data / name).read_bytes() == (backed_up_workspace.data / name).read_bytes()

    words = ("search", "bees person-0002", "--json")
    assert json.loads(ran(restored, *words)) == json.loads(ran(backed_up_workspace, *words))
    assert ledger.findings(restored) == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.endswith(".part")) == []


def test_a_damaged_copy_is_refused(backed_up_workspace: Workspace, tmp_path: Path) -> None:
    """Changed, missing or longer files exit with 5; paths outside or a missing manifest with 2.

    No workspace is created.
    """
    copy = tmp_path / "copy"
    target = workspace_in(backed_up_workspace, tmp_path / "other")
    for name in (DATABASE, "batches/000001-results.jsonl", "index/vectors.sqlite"):
        content = (copy / name).read_bytes()
        changed = content[:50] + bytes([content[50] ^ 1]) + content[51:]
        (copy / name).unlink()
        assert name in ran(target, "restore", str(copy), code=5)
        for spoilt_content in (changed, content + b"x"):
            (copy / name).write_bytes(spoilt_content)
            assert name in ran(target, "restore", str(copy), code=5)
        (copy / name).write_bytes(content)

    manifest = copy / "manifest.json"
    file_bytes = manifest.read_bytes()
    for name in ("../outside", "/tmp/outside", "batches/../../outside", "a\\b"):  # noqa: S108
        document = json.loads(file_bytes)
        document["files"][name] = {"sha256": "0", "size": 0}
        manifest.write_text(json.dumps(document))
        ran(target, "restore", str(copy), code=2)

    manifest.unlink()
    for folder in (copy, tmp_path / "absent"):
        ran(target, "restore", str(folder), code=2)
    assert not (tmp_path / "outside").exists()
    assert not target.data.exists()


def test_a_restore_needs_an_empty_folder(backed_up_workspace: Workspace, tmp_path: Path) -> None:
    """A restore into a used folder exits with 2 and names another folder; a link is followed."""
    words = ("restore", str(tmp_path / "copy"))
    with backed_up_workspace.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "after-the-backup", {})
    assert f"DATA={tmp_path / 'data-restored'}" in ran(backed_up_workspace, *words, code=2)
    assert backed_up_workspace.scalar("SELECT count(*) FROM experts") == 6

    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "notes.txt").write_text("mine")
    ran(workspace_in(backed_up_workspace, tmp_path / "left"), *words, code=2)
    assert [path.name for path in (tmp_path / "left").iterdir()] == ["notes.txt"]
    assert "is inside the backup" in ran(
        workspace_in(backed_up_workspace, tmp_path / "copy" / "new"), *words, code=2
    )

    restored = workspace_in(backed_up_workspace, tmp_path / "data-restored")
    ran(restored, *words)
    assert restored.scalar("SELECT count(*) FROM experts") == 5

    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    ran(workspace_in(backed_up_workspace, tmp_path / "link"), *words)
    assert (
        workspace_in(backed_up_workspace, tmp_path / "disk").scalar("SELECT count(*) FROM experts")
        == 5
    )


def test_a_copy_made_during_writes_is_consistent(
    indexed_workspace: Workspace, tmp_path: Path
) -> None:
    """Every backup is complete and healthy while people are added, tagged and indexed."""
    stop = threading.Event()

    def work() -> None:
        """Write until the test stops it."""
        for number in range(100):
            if stop.is_set():
                return
            with indexed_workspace.open() as ws, ws.store.write() as tx:
                table.insert_person(tx, f"late-{number}", {"bio": "I mend clocks."})
            for command in CHAIN:
                indexed_workspace.run(command)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for number in range(2):
            ran(indexed_workspace, "backup", str(tmp_path / f"copy-{number}"))
    finally:
        stop.set()
        writer.join()

    for number in range(2):
        restored = workspace_in(indexed_workspace, tmp_path / f"other-{number}")
        ran(restored, "restore", str(tmp_path / f"copy-{number}"))
        findings = ledger.findings(restored)
        messages = [finding["said"] for finding in findings if finding["check"] != "backend"]
        # A person may have been ingested, and not indexed yet.
        unexpected = [text for text in messages if "is behind the database" not in text]
        assert unexpected == []


@pytest.fixture
def server_workspace(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Prepare a workspace that does not exist yet, with an empty database on a server."""
    data = tmp_path / "served"
    return Workspace(
        data, {**workspace.environ, "FINDABLE_DATA": str(data), URL: postgresql.database_of(data)}
    )


@pytest.fixture
def busy_workspace(
    workspace: Workspace, people: Callable[..., list[str]], api: Api, begun: Callable[..., None]
) -> Workspace:
    """Prepare a batch in every running state, a parked person, and an index."""

    def prepare() -> None:
        """Create the batches."""
        people(7, without_bio=1)
        api.script_fault("error_line", times=10_000, key="expert-tags/1$", args={"code": 3})
        for commands in (("batch-poll", "batch-ingest", "index"), ("batch-poll",), ()):
            ran(workspace, "batch-submit", "--limit", "2")
            for command in commands:
                ran(workspace, command)
        ran(workspace, "correct", "person-0001", "--set", "tags=law")
        api.script_fault("quota_batch")
        ran(workspace, "batch-submit", code=4)
        assert ledger.batches(workspace) == ["ingested", "downloaded", "submitted", "prepared"]

    begun(prepare)
    return workspace


def read_tables(workspace: Workspace) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of all our tables, in a fixed order, as SQLite stores them."""
    rows_by_table = {}
    for table_object in (*schema.metadata.sorted_tables, experts):
        names = ", ".join(f'"{column.name}"' for column in table_object.c)
        rows = workspace.query(f"SELECT {names} FROM {table_object.name}")  # noqa: S608 - our names
        rows_by_table[table_object.name] = sorted(
            (tuple(map(normalize_cell, row)) for row in rows), key=repr
        )
    return rows_by_table


def normalize_cell(cell: Any) -> Any:
    """Return a cell as SQLite keeps it."""
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M:%S.%f}"
    return int(cell) if isinstance(cell, bool) else cell


def test_a_backup_is_restored_to_a_server_and_work_continues(
    busy_workspace: Workspace, server_workspace: Workspace, api: Api, tmp_path: Path
) -> None:
    """An empty server database gets every row, and each running batch ends there once."""
    before = read_tables(busy_workspace)
    ran(busy_workspace, "backup", str(tmp_path / "copy"))
    report = json.loads(server_workspace.run("restore", str(tmp_path / "copy"), "--json").stdout)
    added_counts = {
        name: len(before[name]) + 1 for name in ("findable_creates", "findable_events")
    } | {"findable_vectors": 87}
    assert report["rows"] == {name: len(rows) for name, rows in before.items()} | added_counts
    # The create of batch 4 was attempted, so that the list is searched for it.
    assert report["unsent"] == [4]

    after = read_tables(server_workspace)
    changed = {name for name, rows in before.items() if after[name] != rows}
    assert changed == {"findable_batches", "findable_creates", "findable_events"} & changed

    second_workspace = Workspace(
        tmp_path / "again", {**server_workspace.environ, "FINDABLE_DATA": str(tmp_path / "again")}
    )
    assert "already has tables of findable" in ran(
        second_workspace, "restore", str(tmp_path / "copy"), code=3
    )
    assert not second_workspace.data.exists()

    server_workspace.ran_each("batch-submit", "batch-poll", "batch-ingest", "index", LIST_LAG="0")
    assert ledger.people(server_workspace) == {"total": 8, "tagged": 6, "no_bio": 1, "parked": 1}
    hits = json.loads(server_workspace.ran("search", "bees", "--json").stdout)
    assert sum(not hit["untagged"] for hit in hits) == 6

    names = [batch["displayName"] for batch in api.batches()]
    labels = {name.rsplit("-", 1)[0] for name in names}
    assert len(names) == len(labels) == len(ledger.batches(server_workspace))
    assert ledger.findings(server_workspace) == []


def test_a_rollback_removes_the_traces_of_the_local_engine(tmp_path: Path, api: Api) -> None:
    """A rollback keeps imported rows, deletes local answers, and permits BACKEND=gemini.

    Before it, BACKEND=gemini is refused with a hint.
    """
    local_workspace = Workspace(tmp_path / "local", {"FINDABLE_DATA": str(tmp_path / "local")})
    bios = "".join(f"person-{number},I keep bees in town {number}.\n" for number in range(4))
    (tmp_path / "people.csv").write_text(f"Username,Bio\n{bios}")
    ran(local_workspace, "import", str(tmp_path / "people.csv"))
    local_workspace.ran_each(*CHAIN)
    assert "roll back all answers of the local engine" in ran(
        local_workspace, "batch-submit", BACKEND="gemini", code=3
    )

    (version,) = json.loads(ran(local_workspace, "versions", "--json"))
    rollback_run = ran(local_workspace, "rollback", version["extractor"], "--yes", BACKEND="gemini")
    assert "no answer of the local engine is left" in rollback_run
    assert "index" not in rollback_run
    assert not list(local_workspace.data.glob("local-engine*"))

    key_settings = {
        "GEMINI_API_KEY": "some-key",
        "GOOGLE_GEMINI_BASE_URL": api.url,
        "FINDABLE_LIST_LAG": "0",
    }
    gemini_workspace = Workspace(local_workspace.data, local_workspace.environ | key_settings)
    gemini_workspace.ran_each(*CHAIN)
    status = json.loads(gemini_workspace.run("status", "--json").stdout)
    assert status["backend"] == "gemini"
    assert status["experts"]["tagged"] == 4
    assert status["index"]["count"] == 4
    assert status["index"]["model"] == "gemini-embedding-2"
    assert len(api.batches()) == 1
    assert ledger.findings(gemini_workspace) == []
