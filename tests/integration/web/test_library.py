"""Images and passages on the page: small images with what was said of them, texts with what is quoted of them."""

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


def test_images_are_listed_with_what_was_said_of_them(workspace: Workspace, tmp_path: Path) -> None:
    """Page by page, by a tag of a bucket, and with the reason where there is nothing; all names are text."""
    put_images(workspace, tmp_path / "photos")
    with Page(workspace) as page:
        first = page.get("/api/images", params={"limit": 1}).json()
        (other,) = page.get("/api/images", params={"limit": 1, "after": first["after"]}).json()["items"]
        names = [Path(one["path"]).name for one in (*first["items"], other)]
        assert names == ["blue <b>.png", "green.png"]
        assert other["buckets"]["colours"] == ["green"]
        by_bucket = {"bucket": "colours", "tag": "green"}
        assert page.get("/api/images", params=by_bucket).json() == {"items": [other], "after": None}
        assert page.get("/api/images", params={**by_bucket, "bucket": "mood"}).json()["items"] == []
        (broken,) = page.get("/api/images", params={"state": "broken"}).json()["items"]
        assert ("0 bytes" in broken["reason"], broken["state"]) == (True, "unusable")
        assert page.get("/api/images", params={"state": "broken", "after": broken["id"]}).json()["items"] == []
        assert broken["reason"] in page.get("/images", params={"state": "broken"}).text
        shown = page.get("/images").text
        assert "blue &lt;b&gt;.png" in shown
        assert other["summary"] in shown
        workspace.ran("index", TASK="images")
        hits = page.get("/search", params={"task": "images", "q": "green"}).text
        told = [one.count("<dt>summary</dt>") for one in hits.split("<li value=")[1:]]
        assert told == [1, 0]  # what is shown of a text begins within one, has all of the other
        assert "nothing at this address" in page.get("/nowhere").text
        _check_thumbnail(page, other["id"])
        assert page.get(THUMBNAIL, params={"key": broken["id"]}).json()["status"] == 422


def test_an_image_that_is_open_is_on_the_page_once(workspace: Workspace, tmp_path: Path) -> None:
    """Whether the page lists it or not; one that cannot be opened, or is not there, takes nothing away."""
    put_images(workspace, tmp_path / "photos")
    with Page(workspace) as page:
        one, other = (image["id"] for image in page.get("/api/images").json()["items"])
        (broken,) = page.get("/api/images", params={"state": "broken"}).json()["items"]
        for opened, is_there in ((one, [1, 0]), (other, [1, 1]), (broken["id"], [1, 0]), ("nowhere", [1, 0])):
            shown = page.get("/images", params={"limit": 1, "open": opened}).text
            assert [shown.count(f'data-opened="{key}"') for key in (one, other)] == is_there
            assert f'data-opened="{broken["id"]}"' not in shown


def _check_thumbnail(page: Page, key: str) -> None:
    """Assert that a small image is sent once, and kept for ever where its address says what it shows."""
    got = page.get(THUMBNAIL, params={"key": key, "side": 160, "of": "abc"})
    assert Image.open(io.BytesIO(got.content)).format == "JPEG"
    assert "no-cache" in got.headers["cache-control"]
    assert "no-cache" in page.get(THUMBNAIL, params={"key": key}).headers["cache-control"]
    again = page.get(THUMBNAIL, params={"key": key, "side": 160}, headers={"if-none-match": got.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
