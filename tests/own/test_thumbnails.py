"""Small images are made of the files that were imported; what cannot be shown says why."""

import io
from pathlib import Path

import pytest
from PIL import Image

from pipeline.engine.pictures import PictureError
from pipeline.images.task import thumbnail_of
from tests.lab import Workspace


def test_a_thumbnail_is_of_the_file_that_was_imported(workspace: Workspace, tmp_path: Path) -> None:
    """One that changed since says so, and a broken one why it cannot be shown."""
    path = tmp_path / "a.png"
    Image.new("RGB", (900, 300), "red").save(path)
    (tmp_path / "b.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    workspace.ran("import-images", str(tmp_path))
    by_path = {row[1]: str(row[0]) for row in workspace.query("SELECT id, path FROM assets")}
    with workspace.open() as ws:
        small = thumbnail_of(ws.store, by_path[str(path)], side=320)
        assert Image.open(io.BytesIO(small)).size == (320, 107)
        with pytest.raises(PictureError, match="none of the images that can be opened"):
            thumbnail_of(ws.store, by_path[str(path.with_name("b.png"))], side=320)
        Image.new("RGB", (900, 300), "blue").save(path)
        with pytest.raises(PictureError, match="changed since it was imported"):
            thumbnail_of(ws.store, by_path[str(path)], side=160)
