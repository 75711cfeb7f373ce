"""Images in the commands that keep a workspace: what was imported and answered is moved, kept, and brought back."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.lab import Api, Workspace

TABLES = {"assets": "id", "asset_ai": "asset_id, model", "images_items": "findable_row", "images_answers": "id"}


def saved(path: Path, colour: str) -> None:
    """Write the file of an image of one colour."""
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (24, 16), colour).save(path)


@pytest.fixture
def described(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A workspace with three images, two of which are equal, that were asked about and indexed, and one that is cut."""
    for name, colour in (("a", "navy"), ("b", "lime"), ("c", "navy")):
        saved(tmp_path / "photos" / f"{name}.png", colour)
    (tmp_path / "photos" / "cut.png").write_bytes((tmp_path / "photos" / "a.png").read_bytes()[:40])
    workspace.ran("import-images", str(tmp_path / "photos"))
    workspace.ran_each("tag-live", "index", TASK="images")
    workspace.environ["FINDABLE_TASK"] = "images"
    return workspace


def kept(workspace: Workspace) -> dict[str, list[list[str]]]:
    """Return every row of images as text that is the same on both databases."""
    return {
        name: [[_plain(cell) for cell in row] for row in workspace.query(f"SELECT * FROM {name} ORDER BY {key}")]  # noqa: S608 - our names
        for name, key in TABLES.items()
    }


def _plain(cell: Any) -> str:
    if isinstance(cell, str) and cell.startswith("{"):
        cell = json.loads(cell)
    if isinstance(cell, bool):
        cell = int(cell)
    return json.dumps(cell, sort_keys=True) if isinstance(cell, dict) else str(cell).replace("T", " ")


@pytest.mark.full
def test_a_copy_has_the_images_and_what_was_said_of_them(described: Workspace, api: Api, tmp_path: Path) -> None:
    """What was forgotten after a backup is there again, and nothing is asked for it."""
    before, asked = kept(described), len(api.seen("POST", ":generateContent"))
    described.ran("backup", str(tmp_path / "copy"))
    described.ran("forget", "--item", "1", "--yes")
    assert len(kept(described)["asset_ai"]) == 2
    again = Workspace(tmp_path / "again", {**described.environ, "FINDABLE_DATA": str(tmp_path / "again")})
    again.ran("restore", str(tmp_path / "copy"))
    assert kept(again) == before
    again.ran_each("tag-live", "doctor")
    assert len(api.seen("POST", ":generateContent")) == asked


@pytest.mark.full
def test_an_image_with_other_bytes_has_one_row_with_its_newest_answer(described: Workspace, tmp_path: Path) -> None:
    """It is asked again, the one equal to it before is not; taken back, no row is left."""
    saved(tmp_path / "photos" / "a.png", "red")
    described.ran("import-images", str(tmp_path / "photos"))
    described.ran("tag-live", REFRESH="1")
    said = dict(described.query("SELECT asset_id, summary FROM asset_ai"))
    assert [": red" in said[number] for number in (1, 2, 3)] == [True, False, False]
    described.ran("doctor")
    described.ran("rollback", "images@1/gemini-3.5-flash-lite", "--yes")
    assert described.scalar("SELECT count(*) FROM asset_ai") == 0
