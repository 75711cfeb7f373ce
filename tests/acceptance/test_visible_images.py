"""An image is sent as it is meant to be seen; one on which nothing can be seen is refused before it is paid."""

import base64
import io
from array import array
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from tests.acceptance.product import IMAGES, Workspace

SIZE = (60, 40)
LARGE_CHUNK = 2_000_000  # bytes of a colour profile or a text beside an image


def drawing(mode: str, background: Any, square: Any) -> Image.Image:
    """Return an image with a square in its upper left quarter."""
    image = Image.new(mode, SIZE, background)
    image.paste(square, (0, 0, 30, 20))
    return image


def write_images(folder: Path) -> None:
    """Write one image of each kind, named by it."""
    folder.mkdir(parents=True)
    shown = drawing("RGB", "navy", "red")

    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    shown.save(folder / "turned.tif", exif=exif)
    blank = Image.new("RGB", SIZE, "white")
    blank.save(folder / "animated.gif", save_all=True, append_images=[shown])
    drawing("RGBA", (255, 255, 255, 0), (255, 255, 255, 255)).save(folder / "white-on-nothing.png")
    narrow = [340 if x < 30 and y < 20 else 300 for y in range(SIZE[1]) for x in range(SIZE[0])]
    Image.frombytes("I;16", SIZE, array("H", narrow).tobytes()).save(folder / "narrow.png")
    shown.save(folder / "profile.png", icc_profile=b"p" * LARGE_CHUNK)
    comment = PngImagePlugin.PngInfo()  # which would be sent as the JPEG's own
    comment.add_text("comment", "c" * LARGE_CHUNK, zip=True)
    drawing("RGB", "navy", "green").save(folder / "comment.png", pnginfo=comment)

    blank.save(folder / "blank.jpg")
    Image.new("RGBA", SIZE, (255, 0, 0, 0)).save(folder / "invisible.png")


def test_each_image_is_sent_as_it_is_seen(workspace: Workspace) -> None:
    """Turned once, its first visible frame, in contrast; a blank one is unusable, and no request is made of it."""
    write_images(workspace.home / "pictures")
    workspace.do("import_images", "pictures")
    unusable = {
        Path(row["path"]).name for row in workspace.rows(IMAGES) if row["state"] == "unusable"
    }
    assert unusable == {"blank.jpg", "invisible.png"}

    workspace.task = IMAGES
    workspace.do("tag", mode="live", yes=True)
    (number,) = [batch["number"] for batch in workspace.batches()]
    sent = {}
    for request in workspace.requests(number):
        parts = request["request"]["contents"][0]["parts"]
        data = next(part["inlineData"]["data"] for part in parts if "inlineData" in part)
        sent[request["key"]] = Image.open(io.BytesIO(base64.b64decode(data)))
    assert len(sent) == 6
    for image in sent.values():
        image.load()
        assert "comment" not in image.info
        assert image.size in {SIZE, SIZE[::-1]}
        extrema: Any = image.getextrema()
        assert max(high - low for low, high in extrema) > 100
    assert sum(image.size == SIZE[::-1] for image in sent.values()) == 1
