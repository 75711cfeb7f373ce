"""Whatever bytes stand for an image, it is opened for what it really is, or refused with the reason."""

import io
import struct
import sys
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from PIL import Image

from pipeline.engine import pictures
from pipeline.engine.pictures import MAX_IMAGE_BYTES, Picture, PictureError, prepare, probe

Bytes = Callable[[], bytes]


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Return the file of an image."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def shaded(mode: str = "RGB", size: tuple[int, int] = (200, 100)) -> Image.Image:
    """Return an image that is dark in the middle."""
    return Image.radial_gradient("L").resize(size).convert(mode)


def turned() -> bytes:
    """Return a JPEG that lies on its side, with the place and the time of the camera."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    exif.get_ifd(0x8825)[1] = "N"
    return saved(shaded(), "JPEG", exif=exif)


def frames() -> bytes:
    """Return a GIF whose first frame is red, and 399 others."""
    first, *rest = (
        Image.new("RGB", (50, 40), (255 if not number else 0, number % 200, 0))
        for number in range(400)
    )
    return saved(first, "GIF", save_all=True, append_images=rest)


def saying(side: int) -> bytes:
    """Return the file of an image of one pixel, which says that it has so many in each row, and so many rows."""
    file = saved(Image.new("1", (1, 1)), "PNG")
    header = b"IHDR" + struct.pack(">II", side, side) + file[24:29]
    return file[:12] + header + struct.pack(">I", zlib.crc32(header)) + file[33:]


def middle(data: bytes) -> Any:
    """Return the colour in the middle of what is sent of an image."""
    with Image.open(io.BytesIO(prepare(data, side=64))) as sent:
        assert (sent.format, sent.mode, dict(sent.getexif())) == ("JPEG", "RGB", {})
        return sent.getpixel((sent.width // 2, sent.height // 2))


def size(data: bytes) -> tuple[int, int]:
    """Return width and height of an image."""
    return Image.open(io.BytesIO(data)).size


CUT = "cut off or broken"
REFUSED: dict[str, tuple[Bytes, str]] = {
    "no bytes": (lambda: b"", "empty"),
    "a text": (lambda: b"hello", "none of the images that can be opened"),
    "an SVG": (
        lambda: b'<?xml version="1.0"?>\n<!-- drawn --><svg xmlns="x">',
        "none of the images",
    ),
    "HEIC": (lambda: b"\0\0\0\x18ftypheic" + bytes(12), "HEIC, which is opened with an extra"),
    "a cut JPEG": (lambda: saved(shaded(), "JPEG")[:1_200], CUT),
    "a cut PNG": (lambda: saved(shaded(), "PNG")[:500], CUT),
    "30,000 pixels squared": (lambda: saying(30_000), "30,000 by 30,000 pixels"),
    "too many bytes": (lambda: bytes(MAX_IMAGE_BYTES + 1), "the most that is read"),
    "what Pillow might run": (
        lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
        "none of the images",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_image_is_refused_with_its_reason(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a look at it and when it is to be sent, alike; nothing but a `PictureError` comes out."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    make, reason = REFUSED[case]
    data = make()
    with pytest.raises(PictureError, match=reason):
        probe(data)
    with pytest.raises(PictureError, match=reason):
        prepare(data, side=64)


def test_an_image_is_what_its_bytes_say_and_goes_out_as_it_is_seen() -> None:
    """Turned, scaled, without metadata, its first frame, on white, in 8 bits; the same bytes each time."""
    seen = probe(turned())
    assert seen == Picture("image/jpeg", 100, 200, seen.taken_at)
    assert str(seen.taken_at) == "2024-05-06 07:08:09"
    assert size(prepare(turned(), side=64)) == (32, 64)
    assert prepare(turned(), side=64) == prepare(turned(), side=64)
    assert size(prepare(turned(), side=900)) == (100, 200)  # never enlarged
    assert probe(frames()).mime_type == "image/gif"
    red, green, blue = middle(frames())
    assert red > 250
    assert green + blue < 10
    with pytest.raises(PictureError, match="blank"):
        prepare(saved(Image.new("RGBA", (50, 40), (255, 0, 0, 0)), "PNG"), side=64)
    assert middle(saved(Image.new("I;16", (50, 40), 32_768), "PNG")) in {(127,) * 3, (128,) * 3}
    assert max(middle(saved(shaded("CMYK"), "JPEG"))) < 20


def test_heic_is_opened_where_its_extra_is_installed() -> None:
    """As phones write it."""
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    assert probe(saved(shaded(), "HEIF")).mime_type == "image/heic"
    assert size(prepare(saved(shaded(), "HEIF"), side=50)) == (50, 25)


def test_what_does_not_fit_into_a_request_is_scaled_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until it does."""
    monkeypatch.setattr(pictures, "MAX_SENT_BYTES", 100_000)
    sent = prepare(saved(Image.effect_noise((1_200, 1_200), 100), "PNG"), side=1_200)
    assert len(sent) <= 100_000
    assert size(sent)[0] < 1_200
