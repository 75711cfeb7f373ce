"""The local engine's own times predict nothing."""

import json
from pathlib import Path

import pytest

from tests.lab import Workspace


@pytest.mark.full
def test_no_duration_follows_from_calls_of_the_local_engine(tmp_path: Path) -> None:
    """The first calls wait until the engine has started, so many rows would seem to take long."""
    workspace = Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data")})
    lines = [f"{number},I keep bees in {number} hives" for number in range(9)]
    Path("notes.csv").write_text("\n".join(["id,text", *lines]), encoding="utf-8")
    workspace.ran("ask", "notes.csv", Q="What?", N="1", NAME="notes")
    workspace.ran("tag", TASK="notes", MODE="live", LIMIT="2", YES="1")

    document = json.loads(workspace.ran("tag", TASK="notes", DRY="1", JSON="1").stdout)
    modes = ("batch", "flex", "live")
    assert [document[mode]["seconds"] for mode in modes] == [None, None, None]
    assert "it takes" not in document["reason"]
