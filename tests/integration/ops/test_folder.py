"""Commands refuse to write if a folder's files belong to another database."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from askrows.pipeline.store.workspace import MARKER_FILE
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


def read_files(data: Path) -> dict[str, bytes]:
    """Return the files of a workspace by path, except for its database."""
    return {
        str(path.relative_to(data)): path.read_bytes()
        for path in data.rglob("*")
        if path.is_file() and not path.name.startswith("askrows.db")
    }


def with_other_database(workspace: Workspace, tmp_path: Path) -> Workspace:
    """Return the same folder with another database."""
    return Workspace(
        workspace.data, {**workspace.environ, URL: f"sqlite:///{tmp_path / 'other.db'}"}
    )


@pytest.fixture
def paid_workspace(
    workspace: Workspace, people: Callable[..., list[str]], begun: Callable[..., None]
) -> Workspace:
    """Prepare an indexed person, and a paid batch that is not ingested."""

    def prepare() -> None:
        """Tag two people, and send two more."""
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


@pytest.mark.full
def test_another_database_is_refused_before_anything_is_written(
    paid_workspace: Workspace, tmp_path: Path
) -> None:
    """Commands exit with 3 if ASKROWS_DATABASE_URL is missing, and keep the paid result.

    The database of another workspace is refused too.
    """
    before = read_files(paid_workspace.data)
    other_workspace = with_other_database(paid_workspace, tmp_path)
    for words in COMMANDS:
        result = other_workspace.ran(*words, code=3)
        assert "belong to workspace" in result.stderr
        assert str(paid_workspace.data / MARKER_FILE) in result.stderr
        assert "ASKROWS_DATABASE_URL" in result.stderr

    second = Workspace(
        tmp_path / "second", {**paid_workspace.environ, "ASKROWS_DATA": str(tmp_path / "second")}
    )
    second.begin()
    mixed = Workspace(paid_workspace.data, dict(paid_workspace.environ))
    mixed.environ[URL] = (
        second.environ[URL] if ON_POSTGRESQL else f"sqlite:///{second.data / 'askrows.db'}"
    )
    assert "has another workspace" in mixed.ran("batch-submit", code=3).stderr

    assert read_files(paid_workspace.data) == before
    assert not (tmp_path / "other.db").exists()
    assert ON_POSTGRESQL is not (paid_workspace.data / "askrows.db").exists()

    # A marker that is not JSON.
    (paid_workspace.data / MARKER_FILE).write_text("{")
    assert MARKER_FILE in paid_workspace.ran("status", code=5).stderr
    (paid_workspace.data / MARKER_FILE).unlink()
    assert paid_workspace.run("batch-ingest").exit_code == 0
    assert paid_workspace.scalar("SELECT count(*) FROM experts WHERE tags IS NOT NULL") == 4


def test_a_second_folder_is_refused(paid_workspace: Workspace, tmp_path: Path) -> None:
    """A mistyped DATA= is refused before a folder is created; an empty folder is taken."""
    url = paid_workspace.environ.get(URL, f"sqlite:///{paid_workspace.data / 'askrows.db'}")
    second = replace(paid_workspace, data=tmp_path / "second")
    second.environ |= {"ASKROWS_DATA": str(second.data), URL: url}
    for words in (("score",), ("batch-ingest",), ("status",)):
        result = second.ran(*words, code=3)
        assert "set DATA= to the folder that belongs to that database" in result.stderr, words
        assert not second.data.exists(), words
    second.data.mkdir()
    assert second.ran("score").exit_code == 0
