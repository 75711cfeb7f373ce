"""A folder's files belong to one database: with another one, or with none, every command refuses before it writes."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.store.workspace import MARKER_FILE
from tests.lab import ON_POSTGRESQL, URL, Workspace

COMMANDS = (
    ("batch-submit",),
    ("batch-poll",),
    ("batch-ingest",),
    ("index",),
    ("doctor",),
    ("tag-live",),
    ("status",),
    ("clean",),
)


def files_of(data: Path) -> dict[str, bytes]:
    """Return the files of a workspace that are not its database, by their path."""
    return {
        str(path.relative_to(data)): path.read_bytes()
        for path in data.rglob("*")
        if path.is_file() and not path.name.startswith("findable.db")
    }


def elsewhere(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Return the same folder with another database."""
    return Workspace(
        workspace.data, {**workspace.environ, URL: f"sqlite:///{tmp_path / 'other.db'}"}
    )


@pytest.fixture
def paid(
    workspace: Workspace, people: Callable[..., list[str]], begun: Callable[..., None]
) -> Workspace:
    """A workspace with a person in the index, and a batch that is paid for and not ingested."""

    def prepare() -> None:
        """Ask about two, and about two more."""
        people(4)
        for words in (
            ("batch-submit", "--limit", "2"),
            ("batch-poll",),
            ("batch-ingest",),
            ("index",),
        ):
            workspace.ran(*words)
        for words in (("batch-submit",), ("batch-poll",)):
            workspace.ran(*words)

    begun(prepare)
    return workspace


def test_another_database_is_refused_before_anything_is_written(
    paid: Workspace, tmp_path: Path
) -> None:
    """As where a second shell does not set FINDABLE_DATABASE_URL: it ends with 3, and the paid result stays.

    So it is with the database of another workspace: two folders are two workspaces, each with its database.
    """
    before = files_of(paid.data)
    other = elsewhere(paid, tmp_path)
    for words in COMMANDS:
        result = other.ran(*words, code=3)
        assert "belong to workspace" in result.stderr
        assert "FINDABLE_DATABASE_URL" in result.stderr
    second = Workspace(
        tmp_path / "second", {**paid.environ, "FINDABLE_DATA": str(tmp_path / "second")}
    )
    second.begin()
    mixed = Workspace(paid.data, dict(paid.environ))
    mixed.environ[URL] = (
        second.environ[URL] if ON_POSTGRESQL else f"sqlite:///{second.data / 'findable.db'}"
    )
    assert "is another workspace's" in mixed.ran("batch-submit", code=3).stderr
    assert files_of(paid.data) == before
    assert not (tmp_path / "other.db").exists()
    assert ON_POSTGRESQL is not (paid.data / "findable.db").exists()
    assert paid.run("batch-ingest").exit_code == 0
    assert paid.scalar("SELECT count(*) FROM experts WHERE tags IS NOT NULL") == 4


def test_a_folder_can_begin_anew_by_hand(paid: Workspace, tmp_path: Path) -> None:
    """Where the database is gone for good, the message says which file to remove; without a mark one gets it again.

    A mark that cannot be read ends with 5, and the file is named.
    """
    other = elsewhere(paid, tmp_path)
    assert str(paid.data / MARKER_FILE) in other.run("status").stderr
    (paid.data / MARKER_FILE).unlink()
    assert paid.run("status").exit_code == 0
    assert (
        paid.scalar("SELECT workspace_id FROM findable_workspace")
        in (paid.data / MARKER_FILE).read_text()
    )
    (paid.data / MARKER_FILE).unlink()
    other.begin()
    assert paid.run("status").exit_code == 3
    (paid.data / MARKER_FILE).write_text("{")
    assert MARKER_FILE in paid.ran("status", code=5).stderr


def test_a_second_folder_joins_a_database_only_where_a_caller_agrees(
    paid: Workspace, tmp_path: Path
) -> None:
    """A mistyped DATA= with the database set is refused before a folder is made; an answer of yes makes it."""
    url = paid.environ.get(URL, f"sqlite:///{paid.data / 'findable.db'}")
    second = replace(paid, data=tmp_path / "second")
    second.environ |= {"FINDABLE_DATA": str(second.data), URL: url}
    for words in (("score",), ("batch-ingest",), ("status",)):
        result = second.ran(*words, code=3)
        assert "set DATA= to the folder that belongs to that database" in result.stderr, words
        assert not second.data.exists(), words
    assert second.ran("score", "--yes").exit_code == 0
    assert second.data.is_dir()
