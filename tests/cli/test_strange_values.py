"""Folder names with a `~` that no shell expanded."""

from pathlib import Path

import pytest

from tests.lab import ON_POSTGRESQL, Workspace


def test_a_tilde_in_the_workspace_is_the_home_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`DATA=~/people` from a `.env` file or a plain shell never makes a directory called `~`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    workspace = Workspace(tmp_path / "people", {"ASKROWS_DATA": "~/people"})
    people = tmp_path / "people.csv"
    people.write_text("Username,Bio\nada,I keep bees.\n")
    workspace.ran("import", str(people))
    assert (tmp_path / "people").is_dir()
    assert ON_POSTGRESQL or (tmp_path / "people" / "askrows.db").is_file()
    assert not (tmp_path / "~").exists()
