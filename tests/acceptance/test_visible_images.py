"""Images are sent as a person sees them, and blank images are refused before they cost money."""

import base64
import io
from array import array
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from tests.acceptance.product import IMAGES, Workspace

SIZE = (60, 40)
# Size of a colour profile or of a text in an image file.
LARGE_CHUNK_BYTES = 2_000_000


def drawing(mode: str, background: Any, square: Any) -> Image.Image:
    """Return an image with a square in its upper left quarter."""
    image = Image.new(mode, SIZE, background)
    image.paste(square, (0, 0, 30, 20))
    return image


def write_images(folder: Path) -> None:
    """Write an image of each kind under the name of the kind."""
    folder.mkdir(parents=True)
    picture = drawing("RGB", "navy", "red")

    exif = Image.Exif()
    # Viewers turn this image by 90 degrees to the right.
    exif[0x0112] = 6
    picture.save(folder / "turned.tif", exif=exif)
    blank = Image.new("RGB", SIZE, "white")
    blank.save(folder / "animated.gif", save_all=True, append_images=[picture])
    drawing("RGBA", (255, 255, 255, 0), (255, 255, 255, 255)).save(folder / "white-on-nothing.png")
    # A 16-bit image whose values differ by little.
    brightness = []
    for y in range(SIZE[1]):
        brightness += [340 if x < 30 and y < 20 else 300 for x in range(SIZE[0])]
    Image.frombytes("I;16", SIZE, array("H", brightness).tobytes()).save(folder / "narrow.png")
    picture.save(folder / "profile.png", icc_profile=b"p" * LARGE_CHUNK_BYTES)
    # A comment would be sent as the comment of the JPEG file.
    comment = PngImagePlugin.PngInfo()
    comment.add_text("comment", "c" * LARGE_CHUNK_BYTES, zip=True)
    drawing("RGB", "navy", "green").save(folder / "comment.png", pnginfo=comment)

    blank.save(folder / "blank.jpg")
    Image.new("RGBA", SIZE, (255, 0, 0, 0)).save(folder / "invisible.png")


def test_image_is_sent_as_a_person_sees_it(workspace: Workspace) -> None:
    """Images are turned, animations send their first visible frame, and contrast is stretched.

    Blank images are unusable and in no request.
    """
    write_images(workspace.home / "pictures")
    workspace.run_command("import_images", "pictures")
    unusable_names = {
        Path(row["path"]).name
        for row in workspace.listed_rows(IMAGES)
        if row["state"] == "unusable"
    }
    assert unusable_names == {"blank.jpg", "invisible.png"}

    workspace.task = IMAGES
    workspace.run_command("tag", mode="live", yes=True)
    (number,) = [batch["number"] for batch in workspace.batches()]
    images_by_key = {}
    for request in workspace.sealed_requests(number):
        parts = request["request"]["contents"][0]["parts"]
        encoded = next(part["inlineData"]["data"] for part in parts if "inlineData" in part)
        images_by_key[request["key"]] = Image.open(io.BytesIO(base64.b64decode(encoded)))

    assert len(images_by_key) == 6
    for image in images_by_key.values():
        image.load()
        assert "comment" not in image.info
        assert image.size in {SIZE, SIZE[::-1]}
        extrema: Any = image.getextrema()
        assert max(high - low for low, high in extrema) > 100

    # Only the turned image is upright.
    assert sum(image.size == SIZE[::-1] for image in images_by_key.values()) == 1


def test_dry_import_of_images_is_refused(workspace: Workspace) -> None:
    """An import of images with an option for other files imports nothing."""
    write_images(workspace.home / "pictures")
    for option in ({"dry": True}, {"strict": True}, {"report": "rejects.csv"}):
        options = {"task": IMAGES, "from": "pictures", **option}
        assert "no image was imported" in workspace.run_command("import", code=2, **options).stderr
    assert not workspace.data.exists()
