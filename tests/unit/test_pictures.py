"""An image is opened by the type of its bytes, or refused with the reason."""

import io
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from askrows.pipeline.rows import pictures
from askrows.pipeline.rows.pictures import (
    MAX_IMAGE_BYTES,
    Picture,
    PictureError,
    convert_to_sent_jpeg,
    inspect_image,
)

Bytes = Callable[[], bytes]


def save_image(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the file of an image."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def make_shaded_image(mode: str = "RGB", read_size: tuple[int, int] = (200, 100)) -> Image.Image:
    """Return an image that is dark in the middle."""
    return Image.radial_gradient("L").resize(read_size).convert(mode)


def make_rotated_jpeg() -> bytes:
    """Return a rotated JPEG with the place and the time of the camera."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8825)[1] = "N"
    return save_image(make_shaded_image(), "JPEG", exif=exif)


def make_animated_gif() -> bytes:
    """Return a GIF of 400 frames whose first frame is red."""
    first, *later_frames = (
        Image.new("RGB", (50, 40), (255 if not number else 0, number % 200, 0))
        for number in range(400)
    )
    return save_image(first, "GIF", save_all=True, append_images=later_frames)


def make_oversized_png(side: int) -> bytes:
    """Return the file of a single pixel whose header claims a size of `side` by `side`."""
    file = save_image(Image.new("1", (1, 1)), "PNG")
    header = b"IHDR" + struct.pack(">II", side, side) + file[24:29]
    return file[:12] + header + struct.pack(">I", zlib.crc32(header)) + file[33:]


def read_middle_colour(data: bytes) -> Any:
    """Return the colour in the middle of the sent image."""
    with Image.open(io.BytesIO(convert_to_sent_jpeg(data, max_side=64))) as sent:
        assert (sent.format, sent.mode, dict(sent.getexif())) == ("JPEG", "RGB", {})
        return sent.getpixel((sent.width // 2, sent.height // 2))


def read_size(data: bytes) -> tuple[int, int]:
    """Return width and height of an image."""
    return Image.open(io.BytesIO(data)).size


def make_png_with_long_text() -> bytes:
    """Return a small PNG image whose text is longer than any image file may be."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Comment", "x" * 100_000_000, zip=True)
    data = io.BytesIO()
    make_shaded_image().save(data, "PNG", pnginfo=text)
    return data.getvalue()


CUT = "cut off or damaged"
REFUSED: dict[str, tuple[Bytes, str]] = {
    "no bytes": (lambda: b"", "empty"),
    "a text": (lambda: b"hello", "not an image in a supported format"),
    "an SVG": (
        lambda: b'<?xml version="1.0"?>\n<!-- drawn --><svg xmlns="x">',
        "not an image in a supported format",
    ),
    "HEIC": (lambda: b"\0\0\0\x18ftypheic" + bytes(12), "HEIC, which needs an extra package"),
    "a cut JPEG": (lambda: save_image(make_shaded_image(), "JPEG")[:1_200], CUT),
    "a cut PNG": (lambda: save_image(make_shaded_image(), "PNG")[:500], CUT),
    "a text of 100 MB": (
        make_png_with_long_text,
        "it cannot be opened: Decompressed data too large",
    ),
    "30,000 pixels squared": (lambda: make_oversized_png(30_000), "30,000 by 30,000 pixels"),
    "16 bits": (
        lambda: save_image(Image.new("I;16", (50, 40), 32_768), "PNG"),
        "more than 8 bits per channel",
    ),
    "too many bytes": (lambda: bytes(MAX_IMAGE_BYTES + 1), "bytes, more than the limit of"),
    "what Pillow might run": (
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "not an image in a supported format",
    ),
}


@pytest.mark.full
@pytest.mark.parametrize("case", REFUSED)
def test_invalid_image_is_refused_with_its_reason(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inspecting and sending both raise a `PictureError`."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    make, reason = REFUSED[case]
    data = make()
    with pytest.raises(PictureError, match=reason):
        inspect_image(data)
    with pytest.raises(PictureError, match=reason):
        convert_to_sent_jpeg(data, max_side=64)


def test_image_is_inspected_by_its_bytes_and_sent_as_displayed() -> None:
    """The sent JPEG is rotated, scaled, without metadata, in 8 bits, and reproducible."""
    picture = inspect_image(make_rotated_jpeg())
    assert picture == Picture("image/jpeg", 100, 200, picture.taken_at)
    assert str(picture.taken_at) == "2024-05-06 07:08:09"
    assert read_size(convert_to_sent_jpeg(make_rotated_jpeg(), max_side=64)) == (32, 64)
    assert convert_to_sent_jpeg(make_rotated_jpeg(), max_side=64) == convert_to_sent_jpeg(
        make_rotated_jpeg(), max_side=64
    )
    # Images are never enlarged.
    assert read_size(convert_to_sent_jpeg(make_rotated_jpeg(), max_side=900)) == (100, 200)
    assert inspect_image(make_animated_gif()).mime_type == "image/gif"
    red, green, blue = read_middle_colour(make_animated_gif())
    assert red > 250
    assert green + blue < 10
    with pytest.raises(PictureError, match="blank"):
        convert_to_sent_jpeg(
            save_image(Image.new("RGBA", (50, 40), (255, 0, 0, 0)), "PNG"), max_side=64
        )
    assert max(read_middle_colour(save_image(make_shaded_image("CMYK"), "JPEG"))) < 20


def test_heic_is_opened_if_its_extra_is_installed() -> None:
    """HEIC images of phones are opened and sent as JPEG."""
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    assert inspect_image(save_image(make_shaded_image(), "HEIF")).mime_type == "image/heic"
    assert read_size(
        convert_to_sent_jpeg(save_image(make_shaded_image(), "HEIF"), max_side=50)
    ) == (50, 25)


def test_image_above_the_request_limit_is_scaled_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image is scaled down until it fits into a request."""
    monkeypatch.setattr(pictures, "MAX_SENT_BYTES", 100_000)
    sent = convert_to_sent_jpeg(
        save_image(Image.effect_noise((1_200, 1_200), 100), "PNG"), max_side=1_200
    )
    assert len(sent) <= 100_000
    assert read_size(sent)[0] < 1_200
