"""Images from a folder to `asset_ai` and back: what is imported, asked once, kept, taken back, and left alone."""

import io
import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.lab import Workspace


def _picture(colour: Any, kind: str = "PNG", **options: Any) -> bytes:
    """Return the file of an image of one colour."""
    out = io.BytesIO()
    Image.new(options.pop("mode", "RGB"), options.pop("size", (48, 32)), colour).save(
        out, kind, **options
    )
    return out.getvalue()


def _huge() -> bytes:
    """Return a PNG that says it has 30,000 by 30,000 pixels, and is a few bytes."""
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    body = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with three images, one of them below another folder and one under a wrong name."""
    folder = tmp_path / "photos"
    (folder / "2026").mkdir(parents=True)
    (folder / "navy.png").write_bytes(_picture("navy"))
    (folder / "2026" / "lime.JPG").write_bytes(_picture("lime", "JPEG"))
    (folder / "notes.txt").write_bytes(_picture("red"))
    return folder


def _imported(workspace: Workspace, folder: Path) -> dict[str, Any]:
    """Import a folder and return the report."""
    done: dict[str, Any] = json.loads(workspace.ran("import-images", str(folder), "--json").stdout)
    return done


def _counts(report: dict[str, Any]) -> tuple[int, ...]:
    return tuple(report[name] for name in ("added", "updated", "moved", "unchanged", "broken"))


def test_whatever_lies_in_a_folder_is_imported_or_told(workspace: Workspace, photos: Path) -> None:
    """Images are known by their bytes; broken ones are kept with the reason; links, pipes and other files are left."""
    bad = {
        "cut.jpg": _picture("lime", "JPEG")[:200],
        "empty.png": b"",
        "huge.png": _huge(),
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>',
        "two\nlines.png": _picture("gold"),
    }
    for name, data in bad.items():
        (photos / name).write_bytes(data)
    (photos / "cmyk.jpg").write_bytes(_picture((0, 200, 0, 60), "JPEG", mode="CMYK"))
    (photos / "at 3.05.10\u202fPM \U0001f468\u200d\U0001f469.png").write_bytes(_picture("pink"))
    (photos / "movie.mp4").write_bytes(b"no image at all")
    (photos / ".hidden.png").write_bytes(_picture("red"))
    (photos.parent / "outside.png").write_bytes(_picture("red"))
    (photos / "link.png").symlink_to(photos.parent / "outside.png")
    (photos / "linked").symlink_to(photos.parent)
    os.mkfifo(photos / "pipe.png")
    report = _imported(workspace, photos)
    assert _counts(report) == (10, 0, 0, 0, 5)
    reasons = {
        Path(broken_file["path"]).name: broken_file["reason"]
        for broken_file in report["broken_files"]
    }
    assert "cut off" in reasons["cut.jpg"]
    assert "0 bytes" in reasons["empty.png"]
    assert "30,000" in reasons["huge.png"]
    assert "none of the images" in reasons["drawing.svg"]
    assert report["left_out"] == {
        "links, which are not followed": 2,
        "other files": 2,
        "files and folders that cannot be read": 1,
    }
    assert _counts(_imported(workspace, photos)) == (0, 0, 0, 10, 5)
    found = dict(workspace.query("SELECT path, format FROM assets"))
    assert found[str(photos / "notes.txt")] == "image/png"
    assert workspace.scalar("SELECT count(*) FROM findable_rows WHERE unusable IS NULL") == 5


def test_a_moved_file_is_known_again_and_a_changed_one_is_looked_at(
    workspace: Workspace, photos: Path
) -> None:
    """A file at another place keeps its row, a copy gets its own, and other bytes are another look."""
    (photos / "broken.png").write_bytes(b"")
    _imported(workspace, photos)
    ids = dict(workspace.query("SELECT hash, id FROM assets"))
    (photos / "navy.png").rename(photos / "2026" / "blue.png")
    (photos / "copy.jpg").write_bytes((photos / "2026" / "lime.JPG").read_bytes())
    (photos / "broken.png").write_bytes(_picture("gold"))
    assert _counts(_imported(workspace, photos)) == (1, 1, 1, 2, 0)
    assert set(ids.values()) < {one for (one,) in workspace.query("SELECT id FROM assets")}
    (photos / "notes.txt").rename(photos.parent / "notes.txt")
    assert _imported(workspace, photos)["gone"] == 1
    assert workspace.scalar("SELECT count(*) FROM findable_rows WHERE gone_at IS NOT NULL") == 1
    (photos.parent / "notes.txt").rename(photos / "notes.txt")
    assert _counts(_imported(workspace, photos)) == (0, 1, 0, 4, 0)
    assert workspace.scalar("SELECT count(*) FROM assets WHERE path LIKE '%blue.png'") == 1
    photos.rename(photos.with_name("elsewhere"))
    assert _counts(_imported(workspace, photos.with_name("elsewhere"))) == (0, 0, 5, 0, 0)
    assert workspace.scalar("SELECT count(*) FROM assets WHERE path LIKE '%/elsewhere/%'") == 5
