"""Links in a workspace that lead out of it: no command writes through one."""

import shutil
from pathlib import Path

import pytest

from tests.lab import ON_POSTGRESQL, Workspace

FILES = (
    "findable.db",
    "findable.db-wal",
    "local-engine.sqlite",
    "index/vectors/any.vectors",
    "batches/000001-requests.jsonl",
)
FOLDERS = ("batches", "index", "index/builds", "index/vectors", "index/builds/1", "local-engine-files", "index/current")
PEOPLE = "Username,Bio\nada,I keep bees.\n"


@pytest.fixture
def local(tmp_path: Path) -> Workspace:
    """A workspace without a key, and a folder outside of it with one file."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "theirs").write_text("theirs")
    (tmp_path / "people.csv").write_text(PEOPLE)
    return Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data")})


def _run_all(local: Workspace, people: Path) -> list[int]:
    """Run every command that writes, and return the exit codes."""
    commands = [("import", str(people)), ("batch-submit",), ("batch-poll",), ("batch-ingest",), ("index",), ("score",)]
    ran = [local.run(*command) for command in commands]
    assert all("bug" not in one.stderr for one in ran), [one.stderr for one in ran]
    return [one.exit_code for one in ran]


def test_a_link_that_leads_out_is_refused(local: Workspace, tmp_path: Path) -> None:
    """Every writing command says which link and where to, with exit code 3, and nothing outside is made or changed.

    So it is with one that leads to nothing: SQLite would make the file.
    """
    for name in [*FILES, *FOLDERS]:
        link = local.data / name
        link.parent.mkdir(parents=True)
        link.symlink_to(tmp_path / "outside" / ("theirs" if name in FILES else ""))
        assert set(_run_all(local, tmp_path / "people.csv")) == {3}
        said = local.run("status").stderr
        assert f"{link} is a link that leads out of the workspace" in said
        assert "DATA=" in said
        shutil.rmtree(local.data)
    local.data.mkdir()
    (local.data / "findable.db").symlink_to(tmp_path / "outside" / "new.db")
    local.ran("import", str(tmp_path / "people.csv"), code=3)
    assert [(path.name, path.read_text()) for path in (tmp_path / "outside").iterdir()] == [("theirs", "theirs")]


def test_links_for_other_programs_are_replaced_and_not_followed(local: Workspace, tmp_path: Path) -> None:
    """Where `faiss.index` is a link of another program's, ours takes its place, the old one stands aside, as it was."""
    local.data.mkdir()
    for name in ("faiss.index", "metadata.json"):
        (local.data / name).symlink_to(tmp_path / "outside" / "theirs")
    assert set(_run_all(local, tmp_path / "people.csv")) == {0}
    assert (tmp_path / "outside" / "theirs").read_text() == "theirs"
    assert (local.data / "faiss.index").readlink().parts[:2] == ("index", "current")
    assert (local.data / "faiss.index.bak-1").readlink() == tmp_path / "outside" / "theirs"


@pytest.mark.full
def test_a_workspace_may_be_a_link_and_may_hold_links_of_the_user(local: Workspace, tmp_path: Path) -> None:
    """`DATA` itself may be elsewhere, and what is not ours in it may be what it likes."""
    (tmp_path / "elsewhere").mkdir()
    local.data.symlink_to(tmp_path / "elsewhere")
    (local.data / "people.csv").symlink_to(tmp_path / "people.csv")
    assert set(_run_all(local, local.data / "people.csv")) == {0}
    assert (tmp_path / "elsewhere" / "batches").is_dir()
    assert ON_POSTGRESQL or (tmp_path / "elsewhere" / "findable.db").is_file()
