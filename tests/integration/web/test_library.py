"""Images on the page: small ones in a grid, with what was said of each."""

import io
from pathlib import Path

from PIL import Image

from tests.lab import Workspace
from tests.page import Page

THUMBNAIL = "/api/images/thumbnail"


def put_images(workspace: Workspace, folder: Path) -> None:
    """Import two images that open and one that does not, and have the others described."""
    folder.mkdir()
    for name, colour in {"blue <b>.png": "navy", "green.png": "lime"}.items():
        Image.new("RGB", (48, 32), colour).save(folder / name)
    (folder / "cut.jpg").write_bytes(b"")
    workspace.ran("import-images", str(folder))
    workspace.ran("tag", MODE="live", TASK="images")


def test_images_are_shown_with_what_was_said_of_them(workspace: Workspace, tmp_path: Path) -> None:
    """In a grid, by a tag, and with the reason where there is nothing; all names are text."""
    put_images(workspace, tmp_path / "photos")
    with Page(workspace) as page:
        every = page.get("/api/items", params={"task": "images", "fields": "path,summary"}).json()["items"]
        one, other = every
        assert [Path(each["path"]).name for each in every] == ["blue <b>.png", "green.png"]
        shown = page.get("/", params={"task": "images"}).text
        assert all(text in shown for text in ("blue &lt;b&gt;.png", other["summary"], "?key=" + one["id"]))
        green = page.get("/", params={"task": "images", "tag": "green"}).text
        assert [f"?key={each['id']}" in green for each in every] == [False, True]
        large = page.get("/row", params={"task": "images", "key": one["id"]}).text
        assert f"key={one['id']}&amp;side=640" in large
        workspace.ran("index", TASK="images")
        hits = page.get("/search", params={"task": "images", "q": "green"}).text
        assert hits.index("<b>green.png</b>") < hits.index("<b>blue &lt;b&gt;.png</b>")
        assert "nothing at this address" in page.get("/nowhere").text
        _check_thumbnail(page, other["id"])


def _check_thumbnail(page: Page, key: str) -> None:
    """Assert that a small image is sent."""
    got = page.get(THUMBNAIL, params={"key": key, "side": 160})
    assert Image.open(io.BytesIO(got.content)).format == "JPEG"
