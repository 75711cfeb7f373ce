"""`make backup` and `make restore`: all of a workspace or nothing, whatever happens meanwhile, and out of SQLite."""

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


def at(workspace: Workspace, data: Path) -> Workspace:
    """Return another workspace with the same settings."""
    return Workspace(data, workspace.environ | {"FINDABLE_DATA": str(data)})


@pytest.fixture
def chained(
    workspace: Workspace, people: Callable[..., list[str]], begun: Callable[..., None]
) -> Workspace:
    """A workspace in which five people went through the chain."""

    def prepare() -> None:
        """Go through it."""
        people(5)
        workspace.ran_each(*CHAIN)

    begun(prepare)
    return workspace


@pytest.fixture
def backed(
    workspace: Workspace, people: Callable[..., list[str]], begun: Callable[..., None]
) -> Workspace:
    """That workspace, with a copy of it in `copy`."""

    def prepare() -> None:
        """Go through the chain and make the copy."""
        people(5)
        workspace.ran_each(*CHAIN)
        ran(workspace, "tags", "--merge", "beekeeping=apiculture", "--who", "person-0002")
        ran(workspace, "index")
        ran(workspace, "backup", str(workspace.data.with_name("copy")))

    begun(prepare)
    return workspace


def test_a_copy_is_the_workspace_again(backed: Workspace, tmp_path: Path) -> None:
    """Restored into an empty directory elsewhere it holds the same rows and files, and doctor finds nothing.

    The same index is built of what was embedded, and searches find the same.
    """
    copied = {path: path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file()}
    backed.ran("backup", str(tmp_path / "copy"), code=2)
    assert {
        path: path.read_bytes() for path in (tmp_path / "copy").rglob("*") if path.is_file()
    } == copied
    (tmp_path / "other").mkdir()
    other = at(backed, tmp_path / "other")
    ran(other, "restore", str(tmp_path / "copy"))
    assert ledger.snapshot(other) == ledger.snapshot(backed)
    ran(other, "index")  # of what was embedded, which is in the copy
    for name in (
        "batches/000001-requests.jsonl",
        "batches/000001-results.jsonl",
        "faiss.index",
        "metadata.json",
    ):
        assert (other.data / name).read_bytes() == (backed.data / name).read_bytes()
    words = ("search", "bees person-0002", "--json")
    assert json.loads(ran(other, *words)) == json.loads(ran(backed, *words))
    assert ledger.findings(other) == []
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.endswith(".part")) == []


def test_what_is_no_whole_copy_is_refused(backed: Workspace, tmp_path: Path) -> None:
    """A byte that changed, a file that is gone or longer: exit code 5; paths that lead out, or no manifest: 2.

    No workspace is made of any of them.
    """
    copy = tmp_path / "copy"
    other = at(backed, tmp_path / "other")
    for name in (DATABASE, "batches/000001-results.jsonl", "index/vectors.sqlite"):
        content = (copy / name).read_bytes()
        changed = content[:50] + bytes([content[50] ^ 1]) + content[51:]
        (copy / name).unlink()
        assert name in ran(other, "restore", str(copy), code=5)
        for spoilt in (changed, content + b"x"):
            (copy / name).write_bytes(spoilt)
            assert name in ran(other, "restore", str(copy), code=5)
        (copy / name).write_bytes(content)
    manifest = copy / "manifest.json"
    file_bytes = manifest.read_bytes()
    for name in ("../outside", "/tmp/outside", "batches/../../outside", "a\\b"):  # noqa: S108 - refused
        document = json.loads(file_bytes)
        document["files"][name] = {"sha256": "0", "size": 0}
        manifest.write_text(json.dumps(document))
        ran(other, "restore", str(copy), code=2)
    manifest.unlink()
    for folder in (copy, tmp_path / "absent"):
        ran(other, "restore", str(folder), code=2)
    assert not (tmp_path / "outside").exists()
    assert not other.data.exists()


def test_a_restore_goes_into_a_new_folder_alone(backed: Workspace, tmp_path: Path) -> None:
    """Exit code 2 with the folder to type instead, which then works; what is there is as it was. A link is followed."""
    words = ("restore", str(tmp_path / "copy"))
    with backed.open() as ws, ws.store.write() as tx:
        table.insert_person(tx, "after-the-backup", {})
    assert f"DATA={tmp_path / 'data-restored'}" in ran(backed, *words, code=2)
    assert backed.scalar("SELECT count(*) FROM experts") == 6
    (tmp_path / "left").mkdir()
    (tmp_path / "left" / "notes.txt").write_text("mine")
    ran(at(backed, tmp_path / "left"), *words, code=2)
    assert [path.name for path in (tmp_path / "left").iterdir()] == ["notes.txt"]
    assert "is in the backup itself" in ran(at(backed, tmp_path / "copy" / "new"), *words, code=2)
    beside = at(backed, tmp_path / "data-restored")
    ran(beside, *words)
    assert beside.scalar("SELECT count(*) FROM experts") == 5
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    ran(at(backed, tmp_path / "link"), *words)
    assert at(backed, tmp_path / "disk").scalar("SELECT count(*) FROM experts") == 5


def test_a_copy_made_while_others_write_is_of_one_moment(
    chained: Workspace, tmp_path: Path
) -> None:
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
        found = ledger.findings(other)
        found = [one["said"] for one in found if one["check"] != "backend"]
        assert [
            said for said in found if "is behind the database" not in said
        ] == []  # who was ingested, not indexed yet


@pytest.fixture
def served(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace that is nowhere yet, with an empty database on a server."""
    data = tmp_path / "served"
    return Workspace(
        data, {**workspace.environ, "FINDABLE_DATA": str(data), URL: postgresql.database_of(data)}
    )


@pytest.fixture
def mid_life(
    workspace: Workspace, people: Callable[..., list[str]], api: Api, begun: Callable[..., None]
) -> Workspace:
    """A workspace with a batch in every state that is under way, a person parked, and an index."""

    def prepare() -> None:
        """Bring it there."""
        people(7, without_bio=1)
        api.fault("error_line", times=10_000, key="expert-tags/1$", args={"code": 3})
        for commands in (("batch-poll", "batch-ingest", "index"), ("batch-poll",), ()):
            ran(workspace, "batch-submit", "--limit", "2")
            for command in commands:
                ran(workspace, command)
        ran(workspace, "correct", "person-0001", "--set", "tags=law")
        api.fault("quota_batch")
        ran(workspace, "batch-submit", code=4)
        assert ledger.batches(workspace) == ["ingested", "downloaded", "submitted", "prepared"]

    begun(prepare)
    return workspace


def contents(workspace: Workspace) -> dict[str, list[tuple[Any, ...]]]:
    """Return every row of every table of ours, in some fixed order, in the words of one database."""
    found = {}
    for one in (*schema.metadata.sorted_tables, experts):
        names = ", ".join(f'"{column.name}"' for column in one.c)
        rows = workspace.query(f"SELECT {names} FROM {one.name}")  # noqa: S608 - our names
        found[one.name] = sorted((tuple(map(plain, row)) for row in rows), key=repr)
    return found


def plain(cell: Any) -> Any:
    """Return a cell as SQLite keeps it."""
    if isinstance(cell, datetime):
        return f"{cell:%Y-%m-%d %H:%M:%S.%f}"
    return int(cell) if isinstance(cell, bool) else cell


def test_everything_is_on_the_server_and_work_goes_on(
    mid_life: Workspace, served: Workspace, api: Api, tmp_path: Path
) -> None:
    """Every row is there, and the batches under way end there, each made once. It goes into an empty database alone."""
    before = contents(mid_life)
    ran(mid_life, "backup", str(tmp_path / "copy"))
    said = json.loads(served.run("restore", str(tmp_path / "copy"), "--json").stdout)
    more = {name: len(before[name]) + 1 for name in ("findable_creates", "findable_events")} | {
        "findable_vectors": 61
    }
    assert said["rows"] == {name: len(rows) for name, rows in before.items()} | more
    assert said["unsent"] == [4]  # its try is begun, so that the list is looked through
    after = contents(served)
    changed = {name for name, rows in before.items() if after[name] != rows}
    assert changed == {"findable_batches", "findable_creates", "findable_events"} & changed
    again = Workspace(
        tmp_path / "again", {**served.environ, "FINDABLE_DATA": str(tmp_path / "again")}
    )
    assert "has tables of findable already" in ran(again, "restore", str(tmp_path / "copy"), code=3)
    assert not again.data.exists()
    served.ran_each("batch-submit", "batch-poll", "batch-ingest", "index", LIST_LAG="0")
    assert ledger.people(served) == {"total": 8, "tagged": 6, "no_bio": 1, "parked": 1}
    assert len(json.loads(served.ran("search", "bees", "--json").stdout)) == 6
    names = [batch["displayName"] for batch in api.batches()]
    assert (
        len(names) == len({name.rsplit("-", 1)[0] for name in names}) == len(ledger.batches(served))
    )
    assert ledger.findings(served) == []


def test_what_is_left_of_the_local_engine_leaves_with_its_versions(
    tmp_path: Path, api: Api
) -> None:
    """A workspace that was used without a key goes on with one: what people imported stays, what was answered goes.

    Until then BACKEND=gemini is refused, with what to do.
    """
    local = Workspace(tmp_path / "local", {"FINDABLE_DATA": str(tmp_path / "local")})
    bios = "".join(f"person-{number},I keep bees in town {number}.\n" for number in range(4))
    (tmp_path / "people.csv").write_text(f"Username,Bio\n{bios}")
    ran(local, "import", str(tmp_path / "people.csv"))
    local.ran_each(*CHAIN)
    assert "take back all that the local engine answered" in ran(
        local, "batch-submit", BACKEND="gemini", code=3
    )
    (version,) = json.loads(ran(local, "versions", "--json"))
    rollback_run = ran(local, "rollback", version["extractor"], "--yes", BACKEND="gemini")
    assert "nothing of the local engine is left" in rollback_run
    assert "index" not in rollback_run
    assert not list(local.data.glob("local-engine*"))
    key = {
        "GEMINI_API_KEY": "some-key",
        "GOOGLE_GEMINI_BASE_URL": api.url,
        "FINDABLE_TRUST": api.url,
        "FINDABLE_LIST_LAG": "0",
    }
    gemini = Workspace(local.data, local.environ | key)
    gemini.ran_each(*CHAIN)
    status = json.loads(gemini.run("status", "--json").stdout)
    assert (status["backend"], status["experts"]["tagged"], status["index"]["count"]) == (
        "gemini",
        4,
        4,
    )
    assert status["index"]["model"] == "gemini-embedding-2"
    assert len(api.batches()) == 1
    assert ledger.findings(gemini) == []
