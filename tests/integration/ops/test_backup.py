"""`make backup` and `make restore`: a copy is complete or absent, also during writes."""

import json
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ledger
from tests.lab import Api, Workspace, ran
from tests.people import insert_person

pytestmark = pytest.mark.sqlite_only("a server's database is copied by its own programs")
DATABASE = "askrows.db"
CHAIN = ("batch-submit", "batch-poll", "batch-ingest", "index")


def workspace_in(workspace: Workspace, data: Path) -> Workspace:
    """Return another workspace with the same settings."""
    return Workspace(data, workspace.environ | {"ASKROWS_DATA": str(data)})


def read_files(folder: Path) -> dict[Path, bytes]:
    """Return the content of every file below a folder."""
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


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
        # A trial keeps no files, so that a backup lacks none.
        ran(workspace, "try", "--row", "person-0002")
        backup_run = workspace.ran("backup", str(workspace.data.with_name("copy")))
        assert "is missing" not in backup_run.stderr

    begun(prepare)
    return workspace


@pytest.mark.full
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
    """Changed, missing or longer files exit with 5, a missing manifest with 2.

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

    (copy / "manifest.json").unlink()
    for folder in (copy, tmp_path / "absent"):
        ran(target, "restore", str(folder), code=2)
    assert not target.data.exists()


def test_a_restore_needs_an_empty_folder(backed_up_workspace: Workspace, tmp_path: Path) -> None:
    """A restore into a used folder exits with 2 and names another folder; a link is followed."""
    words = ("restore", str(tmp_path / "copy"))
    assert f"DATA={tmp_path / 'data-restored'}" in ran(backed_up_workspace, *words, code=2)
    inner_workspace = workspace_in(backed_up_workspace, tmp_path / "copy" / "new")
    assert "or is inside the backup" in ran(inner_workspace, *words, code=2)

    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    ran(workspace_in(backed_up_workspace, tmp_path / "link"), *words)
    restored = workspace_in(backed_up_workspace, tmp_path / "disk")
    assert restored.scalar("SELECT count(*) FROM experts") == 5


@pytest.mark.full
def test_a_copy_made_during_writes_is_consistent(
    backed_up_workspace: Workspace, tmp_path: Path
) -> None:
    """Every backup is complete and healthy while people are added, tagged and indexed."""
    stop = threading.Event()

    def work() -> None:
        """Write until the test stops it."""
        for number in range(100):
            if stop.is_set():
                return
            with backed_up_workspace.open() as ws, ws.workspace.store.write() as tx:
                insert_person(ws, tx, f"late-{number}", {"bio": "I mend clocks."})
            for command in CHAIN:
                backed_up_workspace.run(command)

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for number in range(2):
            ran(backed_up_workspace, "backup", str(tmp_path / f"copy-{number}"))
    finally:
        stop.set()
        writer.join()

    for number in range(2):
        restored = workspace_in(backed_up_workspace, tmp_path / f"other-{number}")
        ran(restored, "restore", str(tmp_path / f"copy-{number}"))
        findings = ledger.findings(restored)
        messages = [finding["said"] for finding in findings if finding["check"] != "backend"]
        # A person may have been ingested, and not indexed yet.
        unexpected = [text for text in messages if "is behind the database" not in text]
        assert unexpected == []


@pytest.mark.full
def test_a_rollback_removes_the_traces_of_the_local_engine(tmp_path: Path, api: Api) -> None:
    """A rollback keeps imported rows, deletes local answers, and permits BACKEND=gemini.

    Before it, BACKEND=gemini is refused with a hint.
    """
    local_workspace = Workspace(tmp_path / "local", {"ASKROWS_DATA": str(tmp_path / "local")})
    bios = "".join(f"person-{number},I keep bees in town {number}.\n" for number in range(4))
    (tmp_path / "people.csv").write_text(f"Username,Bio\n{bios}")
    ran(local_workspace, "import", str(tmp_path / "people.csv"))
    local_workspace.ran_each(*CHAIN)
    assert "roll back all answers of the local engine" in ran(
        local_workspace, "batch-submit", BACKEND="gemini", code=3
    )

    (version,) = json.loads(ran(local_workspace, "versions", "--json"))
    rollback_run = ran(local_workspace, "rollback", version["version"], "--yes", BACKEND="gemini")
    assert "no answer of the local engine is left" in rollback_run
    assert "index" not in rollback_run
    assert not list(local_workspace.data.glob("local-engine*"))

    key_settings = {
        "GEMINI_API_KEY": "some-key",
        "GOOGLE_GEMINI_BASE_URL": api.url,
        "ASKROWS_LIST_LAG": "0",
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
