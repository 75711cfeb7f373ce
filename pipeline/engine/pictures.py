"""Open the bytes of an image, check what they really are, and make of them what a request carries; the owner of Pillow.

What leaves the machine is always written anew: a JPEG of 8 bits a colour, its longer side within a bound, turned as it
is meant to be seen, transparency on white, the first frame of an animation, and no metadata (no place, no camera). The
same bytes give the same bytes, as long as Pillow stays the same.
"""

import contextlib
import io
import re
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 64 * 2**20  # ours; of an image before it is scaled
MAX_PIXELS = 8_192 * 6_144  # ours; the most that phones take, 400 MB where a pixel has colours and transparency
SENT_TYPE = "image/jpeg"
QUALITY = 90  # letters on a screenshot stay sharp, with colours at full resolution
# What is opened, by Pillow's names; every other decoder stays out, for some run programs or have met few hostile files
_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
    "HEIF": "image/heic",
}
_HEIC = re.compile(rb"....ftyp(?:hei[cmsx]|hev[cmx]|mif1|msf1)", re.DOTALL)
NEEDS_HEIC = "it is HEIC, which is opened with an extra alone (make setup EXTRAS=heic, or pip install -e '.[heic]')"
_SVG = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:svg[\s>]|(?:\?xml|!doctype|!--).*<svg[\s>])", re.DOTALL | re.IGNORECASE)
_HEAD = 4_096  # bytes in which an SVG says that it is one
_ORIENTATION, _CHANGED, _EXIF, _TAKEN, _OFFSET = 0x0112, 0x0132, 0x8769, 0x9003, 0x9011  # tags of EXIF
_LYING = (5, 6, 7, 8)  # orientations that exchange width and height
_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")


class PictureError(InputError):
    """The bytes are no image that can be asked about; the message says why, and names no file."""


class Picture(NamedTuple):
    """What an image really is: MIME type, width and height in pixels as it is seen, when it was taken, how many bytes.

    `taken_at` is as the camera wrote it: without a zone where it named none, None where it said nothing.
    """

    mime_type: str
    width: int
    height: int
    taken_at: datetime | None
    size: int


class SentPicture(NamedTuple):
    """An image as a request carries it: its bytes, their MIME type, width and height in pixels."""

    data: bytes
    mime_type: str
    width: int
    height: int


def probe(data: bytes) -> Picture:
    """Return what the bytes of an image are, after a look at all of them.

    Raises:
        PictureError: they are none that can be asked about.
    """
    with _opened(data) as image:
        mime_type, (width, height), exif = _TYPES[str(image.format)], image.size, _exif_of(image)
        image.draft(None, (1, 1))
        image.load()
    if exif.get(_ORIENTATION) in _LYING:
        width, height = height, width
    return Picture(mime_type, width, height, _taken_at(exif), len(data))


def prepare(data: bytes, *, side: int, quality: int = QUALITY) -> SentPicture:
    """Return an image as it is sent, its longer side at most `side` pixels; a smaller one is not enlarged.

    Raises:
        PictureError: the bytes are no image that can be asked about.
    """
    from PIL.Image import Resampling, Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    with _opened(data) as image:
        turn = turns.get(_exif_of(image).get(_ORIENTATION, 1))
        image.draft(None, (3 * side, 3 * side))  # a large JPEG is decoded at a part of its size
        small = _eight_bits(image)
        small.thumbnail((side, side), Resampling.LANCZOS, reducing_gap=3.0)
        seen = _on_white(small)
        if turn is not None:
            seen = seen.transpose(turn)
        out = io.BytesIO()
        seen.save(out, "JPEG", quality=quality, subsampling=0)
    return SentPicture(out.getvalue(), SENT_TYPE, *seen.size)


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator["Image"]:
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise PictureError("it is empty (0 bytes)")
    if len(data) > MAX_BYTES:
        raise PictureError(f"it has {len(data):,} bytes, and {MAX_BYTES:,} are the most that is read")
    if _SVG.match(data[:_HEAD]):
        raise PictureError("it is an SVG, a drawing and no picture, which is not supported; save it as PNG")
    if _HEIC.match(data) and not knows_heic():
        raise PictureError(NEEDS_HEIC)
    Image.MAX_IMAGE_PIXELS = None  # ours is the bound below, which warns of nothing
    Image.init()
    known = [one for one in _TYPES if one in Image.OPEN]
    try:
        with Image.open(io.BytesIO(data), formats=known) as image:
            _check_size(*image.size)
            yield image
    except PictureError:
        raise
    except UnidentifiedImageError:
        raise PictureError(f"it is none of the images that can be opened ({_known()})") from None
    except MemoryError:
        raise PictureError("there is not enough memory to open it") from None
    except Exception as error:  # noqa: BLE001 - decoders raise whatever broken bytes lead them to
        raise PictureError(f"it is cut off or broken: {' '.join(str(error).split()) or type(error).__name__}") from None


def _check_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise PictureError(f"it has {width:,} by {height:,} pixels, and {MAX_PIXELS:,} are the most that is opened")


def _known() -> str:
    return ", ".join(dict.fromkeys(one.partition("/")[2].upper() for one in _TYPES.values()))


def knows_heic() -> bool:
    """Return whether the extra that opens HEIC is installed, and let Pillow know it."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _eight_bits(image: "Image") -> "Image":
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        wide = image.convert("F")
        low, high = (0, 65_535) if image.mode.startswith("I;16") else wide.getextrema()
        scale = 255 / max(float(high) - float(low), 1.0)  # type: ignore[arg-type]
        return wide.point(lambda value: value * scale - float(low) * scale).convert("RGB")  # type: ignore[arg-type]
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _on_white(image: "Image") -> "Image":
    from PIL import Image

    if image.mode != "RGBA":
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def _exif_of(image: "Image") -> dict[int, Any]:
    tags: dict[int, Any] = {}
    with contextlib.suppress(Exception):  # broken tags leave the picture what it is
        exif = image.getexif()
        tags = {**exif, **exif.get_ifd(_EXIF)}
    return tags


def _taken_at(exif: dict[int, Any]) -> datetime | None:
    found = _TIME.match(str(exif.get(_TAKEN) or exif.get(_CHANGED) or ""))
    if found is None:
        return None
    year, month, day, clock = found.groups()
    for offset in (str(exif.get(_OFFSET) or ""), ""):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(f"{year}-{month}-{day}T{clock}{offset}")
    return None
