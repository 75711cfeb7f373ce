"""Small images are made once and kept in the workspace; what cannot be shown says why."""

import io
from pathlib import Path

import pytest
from PIL import Image

from pipeline.engine import thumbnails
from pipeline.engine.pictures import PictureError
from pipeline.images.library import thumbnail_of
from tests.lab import Workspace


def put(folder: Path, name: str, colour: str) -> Path:
    """Write an image into a folder."""
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (900, 300), colour).save(folder / name)
    return folder / name


def test_a_thumbnail_is_made_once_and_stays_in_the_workspace(workspace: Workspace, tmp_path: Path) -> None:
    """From what is kept, also where the file is gone; a link that leads out is neither read nor written."""
    path = put(tmp_path / "photos", "a.png", "red")
    (tmp_path / "photos" / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    workspace.ran("import-images", str(tmp_path / "photos"))
    by_path = {row[1]: str(row[0]) for row in workspace.query("SELECT id, path FROM assets")}
    mine, broken = by_path[str(path)], by_path[str(path.with_name("b.png"))]
    with workspace.open() as ws:
        small = thumbnail_of(ws.store, ws.data, mine, side=320)
        assert Image.open(io.BytesIO(small)).size == (320, 107)
        with pytest.raises(PictureError, match="none of the images that can be opened"):
            thumbnail_of(ws.store, ws.data, broken, side=320)
        (kept,) = (workspace.data / thumbnails.FOLDER).rglob("*.jpg")
        put(tmp_path / "photos", "a.png", "blue")
        assert thumbnail_of(ws.store, ws.data, mine, side=320) == small
        with pytest.raises(PictureError, match="changed since it was imported"):
            thumbnail_of(ws.store, ws.data, mine, side=160)
        put(tmp_path / "photos", "a.png", "red")
        outside = tmp_path / "outside.jpg"
        outside.write_bytes(b"secret")
        kept.unlink()
        kept.symlink_to(outside)
        assert thumbnail_of(ws.store, ws.data, mine, side=320) == small
        assert outside.read_bytes() == b"secret"
        thumbnails.drop_thumbnails(ws.data)
    assert not (workspace.data / thumbnails.FOLDER).exists()


def test_few_are_kept_of_each_kind_and_forgotten_with_their_image(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest go; to forget an image takes what was made of it."""
    monkeypatch.setattr(thumbnails, "MOST", 2)
    put(tmp_path / "photos", "a.png", "red")
    workspace.ran("import-images", str(tmp_path / "photos"))
    with workspace.open() as ws:
        for side in thumbnails.SIDES:
            thumbnail_of(ws.store, ws.data, "1", side=side)
        assert len(list((workspace.data / thumbnails.FOLDER).rglob("*.jpg"))) == thumbnails.MOST
    workspace.ran("forget", "--item", "1", "--yes", TASK="images")
    assert not (workspace.data / thumbnails.FOLDER).exists()
