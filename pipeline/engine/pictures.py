"""Read an image, check what it really is, and make of it what a request or a page shows; the owner of Pillow.

What leaves the machine is always written anew: a JPEG of 8 bits a colour, its longer side within a bound, turned as it
is meant to be seen, transparency on white, the first frame of an animation, and no metadata (no place, no camera). The
same bytes give the same bytes, as long as Pillow stays the same.
"""

import contextlib
import io
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.step import Step

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 64 * 2**20  # ours; of an image before it is scaled
MAX_PIXELS = 8_192 * 6_144  # ours; the most that phones take, 400 MB where a pixel has colours and transparency
MAX_SENT = 4_000_000  # ours; bytes of an image within a request; what has more is scaled further
SENT_TYPE = "image/jpeg"
QUALITY, OF_SMALL = 90, 80  # letters on a screenshot stay sharp, with colours at full resolution
SIDES = (160, 320, 640)  # pixels of the longer side of thumbnails
UNPRINTED = "its name holds a line end or another character that is not printed"
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # not what cameras and systems name files with, as U+202F
_START = 16  # bytes in which a file says that it may be an image
_MAKING = threading.Lock()  # thumbnails are made one at a time: a large image takes 400 MB while it is scaled
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
_ORIENTATION, _CHANGED, _EXIF, _TAKEN, _OFFSET = 0x0112, 0x0132, 0x8769, 0x9003, 0x9011  # tags of EXIF
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # orientations of EXIF, as Pillow's Transpose
_LYING = (5, 6, 7, 8)  # orientations that exchange width and height
_TIME = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)")


Stamp = tuple[int, int, int]  # tells that a file is the one that was read: size, when it and its entry changed, in ns


class PictureError(InputError):
    """The bytes are no image that can be asked about; the message says why, and names no file."""


class NoFileError(PictureError):
    """A path leads to no regular file."""


class ChangedError(PictureError):
    """A file changed while it was read."""


class Picture(NamedTuple):
    """What an image really is: MIME type, width and height in pixels as it is seen, when it was taken, how many bytes.

    `taken_at` is as the camera wrote it: without a zone where it named none, None where it said nothing.
    """

    mime_type: str
    width: int
    height: int
    taken_at: datetime | None
    size: int


def stamp_of(found: os.stat_result) -> Stamp:
    """Return the stamp that a look at a file gives."""
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns


def is_printed(path: str) -> bool:
    """Return whether a path stands on one line, wherever it is shown."""
    return _CONTROLS.search(path) is None


def read_file(
    path: str | Path, *, is_wanted: Callable[[bytes], object] = lambda _head: True
) -> tuple[bytes, Stamp] | None:
    """Return the bytes of a file and its stamp, one byte more than `MAX_BYTES` at most; None where it is not wanted.

    `is_wanted` is asked about the first 16 bytes. NoFileError of a folder, a device or a pipe, ChangedError where it
    changed meanwhile, OSError where it cannot be read, or is a link.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        before = stamp_of(os.fstat(file.fileno()))
        data = file.read(_START)
        if not is_wanted(data):
            return None
        data += file.read(MAX_BYTES + 1 - len(data))
        after = stamp_of(os.fstat(file.fileno()))
    if before != after or len(data) != min(after[0], MAX_BYTES + 1):
        raise ChangedError("it changed while it was read")
    return data, after


def _without_waiting(path: str, flags: int) -> int:
    """Open a file, never waiting for a writer of a pipe; a link in its place is not followed."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoFileError("it is no file but a folder, a device or a pipe")
    return descriptor


def probe(data: bytes) -> Picture:
    """Return what the bytes of an image are, after a look at all of them; PictureError where they are none."""
    with _opened(data) as image:
        mime_type, (width, height), exif = _TYPES[str(image.format)], image.size, _exif_of(image)
        image.draft(None, (1, 1))
        image.load()
    if exif.get(_ORIENTATION) in _LYING:
        width, height = height, width
    return Picture(mime_type, width, height, _taken_at(exif), len(data))


def prepare(data: bytes, *, side: int, quality: int = QUALITY) -> bytes:
    """Return an image as it is sent, its longer side at most `side` pixels; a smaller one is not enlarged.

    One that would not go into a request is scaled further. PictureError where the bytes are no image.
    """
    import PIL.Image
    from PIL.Image import Resampling, Transpose

    with _opened(data) as image:
        turn = _TURNS.get(_exif_of(image).get(_ORIENTATION, 1))
        image.draft(None, (3 * side, 3 * side))  # a large JPEG is decoded at a part of its size
        small = _eight_bits(image)
        small.thumbnail((side, side), Resampling.LANCZOS, reducing_gap=3.0)
        seen = small
        if seen.mode == "RGBA":
            seen = PIL.Image.alpha_composite(PIL.Image.new("RGBA", seen.size, "white"), seen).convert("RGB")
        if turn is not None:
            seen = seen.transpose(Transpose(turn))
        while True:
            seen.save(out := io.BytesIO(), "JPEG", quality=quality, subsampling=0)
            if len(sent := out.getvalue()) <= MAX_SENT:
                return sent
            seen.thumbnail((max(seen.size) * 3 // 4,) * 2, Resampling.LANCZOS)


@lru_cache(maxsize=1_000)  # of about 10 KB; one that is kept waits for none that is being made
def thumbnail(path: str, digest: str, *, side: int) -> bytes:
    """Return the small JPEG of the image file at `path`, whose bytes had the SHA-256 `digest` when it was imported.

    PictureError says why there is none, InputError that images of that size are not made.
    """
    if side not in SIDES:
        raise InputError(f"thumbnails have {', '.join(map(str, SIDES))} pixels a side, and none has {side}")
    with _MAKING:
        try:
            found = read_file(path)
        except OSError as error:
            raise PictureError(f"it cannot be read: {error.strerror}") from error
        whole = found[0] if found else b""
        if sha256(whole).hexdigest() != digest:
            raise ChangedError(f"it changed since it was imported; `{Step('import-images')}` looks again")
        return prepare(whole, side=side, quality=OF_SMALL)


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator["Image"]:
    from PIL import Image, UnidentifiedImageError

    if not data:
        raise PictureError("it is empty (0 bytes)")
    if len(data) > MAX_BYTES:
        raise PictureError(f"it has {len(data):,} bytes, and {MAX_BYTES:,} are the most that is read")
    if _HEIC.match(data) and not knows_heic():
        raise PictureError(NEEDS_HEIC)
    Image.MAX_IMAGE_PIXELS = None  # ours is the bound below, which warns of nothing
    Image.init()
    known = [one for one in _TYPES if one in Image.OPEN]
    try:
        with Image.open(io.BytesIO(data), formats=known) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                most = f"{MAX_PIXELS:,} are the most that is opened"
                raise PictureError(f"it has {width:,} by {height:,} pixels, and {most}")  # noqa: TRY301 - once
            yield image
    except PictureError:
        raise
    except UnidentifiedImageError:
        names = ", ".join(dict.fromkeys(one.partition("/")[2].upper() for one in _TYPES.values()))
        raise PictureError(f"it is none of the images that can be opened ({names})") from None
    except MemoryError:
        raise PictureError("there is not enough memory to open it") from None
    except Exception as error:  # noqa: BLE001 - decoders raise whatever broken bytes lead them to
        raise PictureError(f"it is cut off or broken: {' '.join(str(error).split()) or type(error).__name__}") from None


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
