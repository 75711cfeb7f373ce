"""Images from a folder to `asset_ai`: imported, moved, changed and broken files."""

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.lab import Workspace


def _make_image(colour: Any, kind: str = "PNG", **options: Any) -> bytes:
    """Return the file of an image in a single colour."""
    buffer = io.BytesIO()
    Image.new(options.pop("mode", "RGB"), options.pop("size", (48, 32)), colour).save(
        buffer, kind, **options
    )
    return buffer.getvalue()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Create a folder with three images, in a subfolder and under a wrong name too."""
    folder = tmp_path / "photos"
    (folder / "2026").mkdir(parents=True)
    (folder / "navy.png").write_bytes(_make_image("navy"))
    (folder / "2026" / "lime.JPG").write_bytes(_make_image("lime", "JPEG"))
    (folder / "notes.txt").write_bytes(_make_image("red"))
    return folder


def _import_folder(workspace: Workspace, folder: Path) -> dict[str, Any]:
    """Import a folder and return the report."""
    report: dict[str, Any] = json.loads(
        workspace.ran("import-images", str(folder), "--json").stdout
    )
    return report


def _counts_of(report: dict[str, Any]) -> tuple[int, ...]:
    return tuple(report[name] for name in ("added", "updated", "moved", "unchanged", "broken"))


def test_every_file_of_a_folder_is_imported_or_reported(workspace: Workspace, photos: Path) -> None:
    """Images are detected by their bytes, broken images get a reason, other files are counted."""
    files = {
        "cut.jpg": _make_image("lime", "JPEG")[:200],
        "empty.png": b"",
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "two\nlines.png": _make_image("gold"),
    }
    for name, content in files.items():
        (photos / name).write_bytes(content)
    (photos / "cmyk.jpg").write_bytes(_make_image((0, 200, 0, 60), "JPEG", mode="CMYK"))
    (photos / "at 3.05.10\u202fPM \U0001f468\u200d\U0001f469.png").write_bytes(_make_image("pink"))
    (photos / "movie.mp4").write_bytes(b"no image at all")
    (photos / ".hidden.png").write_bytes(_make_image("red"))
    (photos.parent / "outside.png").write_bytes(_make_image("red"))
    (photos / "link.png").symlink_to(photos.parent / "outside.png")
    (photos / "linked").symlink_to(photos.parent)
    os.mkfifo(photos / "pipe.png")

    report = _import_folder(workspace, photos)

    assert _counts_of(report) == (9, 0, 0, 0, 4)

    problems = workspace.query("SELECT path, problem FROM assets WHERE problem IS NOT NULL")
    reasons = {Path(path).name: problem for path, problem in problems}
    assert "cut off" in reasons["cut.jpg"]
    assert "0 bytes" in reasons["empty.png"]
    assert "not an image in a supported format" in reasons["drawing.svg"]
    assert report["left_out"] == {
        "links, which are not followed": 2,
        "other files": 2,
        "files and folders that cannot be read": 1,
    }
    assert _counts_of(_import_folder(workspace, photos)) == (0, 0, 0, 9, 4)

    formats = dict(workspace.query("SELECT path, format FROM assets"))
    assert formats[str(photos / "notes.txt")] == "image/png"
    assert workspace.scalar("SELECT count(*) FROM askrows_rows WHERE unusable IS NULL") == 5


@pytest.mark.full
def test_a_moved_file_keeps_its_row_and_a_changed_file_is_read_again(
    workspace: Workspace, photos: Path
) -> None:
    """A moved file keeps its row, a copy gets a row, and changed bytes are read again."""
    (photos / "broken.png").write_bytes(b"")
    _import_folder(workspace, photos)
    ids = dict(workspace.query("SELECT hash, id FROM assets"))
    (photos / "navy.png").rename(photos / "2026" / "blue.png")
    (photos / "copy.jpg").write_bytes((photos / "2026" / "lime.JPG").read_bytes())
    (photos / "broken.png").write_bytes(_make_image("gold"))
    assert _counts_of(_import_folder(workspace, photos)) == (1, 1, 1, 2, 0)
    assert set(ids.values()) < {
        asset_id for (asset_id,) in workspace.query("SELECT id FROM assets")
    }

    # A file disappears and returns.
    (photos / "notes.txt").rename(photos.parent / "notes.txt")
    assert _import_folder(workspace, photos)["gone"] == 1
    assert workspace.scalar("SELECT count(*) FROM askrows_rows WHERE gone_at IS NOT NULL") == 1

    (photos.parent / "notes.txt").rename(photos / "notes.txt")
    assert _counts_of(_import_folder(workspace, photos)) == (0, 1, 0, 4, 0)
    assert workspace.scalar("SELECT count(*) FROM assets WHERE path LIKE '%blue.png'") == 1

    # The whole folder moves.
    photos.rename(photos.with_name("elsewhere"))
    assert _counts_of(_import_folder(workspace, photos.with_name("elsewhere"))) == (0, 0, 5, 0, 0)
    assert workspace.scalar("SELECT count(*) FROM assets WHERE path LIKE '%/elsewhere/%'") == 5
