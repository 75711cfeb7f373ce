"""Read, check and resize the images of rows; only this module uses Pillow.

- Every image that leaves the machine is encoded anew: a JPEG with 8 bits per channel, of bounded
  size, rotated upright, on white if it is transparent, the first frame of an animation, and without
  metadata (no location, no camera). Equal bytes give equal bytes with the same Pillow.
- The state of an inspected image is stored with its row, so an unchanged file is not read again.
  A file is unchanged if its size and times are. Times are not trusted if the file was written less
  than two seconds before it was read.
"""

import hashlib
import io
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from askrows.pipeline.core.errors import InputError

if TYPE_CHECKING:
    from PIL.Image import Image


# Our bound of an image before it is scaled.
MAX_IMAGE_BYTES = 64 * 2**20
# Our bound; phones take no more. Such an image needs 400 MB with colours and transparency.
MAX_PIXELS = 8_192 * 6_144
# Our bound of a JPEG in a request; a longer JPEG is scaled further.
MAX_SENT_BYTES = 4_000_000
# Letters on a screenshot stay sharp at this JPEG quality, with colours at full resolution.
SENT_QUALITY = 90
THUMBNAIL_QUALITY = 80
WHITE_LEVEL = 255
# Our bound of the difference from white or black after scaling, in levels of 255.
MAX_BLANK_LEVELS = 2
# Pixels of the longer side at which an image is checked to be blank.
BLANK_CHECK_SIDE = 640
BLANK_REASON = "it is blank: completely white, black or transparent"
# Pixels of the longer side of thumbnails.
THUMBNAIL_SIDES = (160, 320, 640)
# Other unprintable characters, such as U+202F, are in file names of cameras and systems.
_CONTROL_CHARS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Bytes at the beginning of a file that identify its format.
_HEAD_BYTES = 16
# A large image takes 400 MB while it is scaled, so thumbnails are made one at a time.
_thumbnail_lock = threading.Lock()

# MIME types by the formats of Pillow that are opened. Other decoders are left out, because some run
# programs and some have met few hostile files.
_MIME_TYPES = {
    "JPEG": "image/jpeg",
    "PNG": "image/png",
    "GIF": "image/gif",
    "WEBP": "image/webp",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "AVIF": "image/avif",
    "MPO": "image/jpeg",
    "HEIF": "image/heic",
}
_HEIC_HEAD = re.compile(rb"....ftyp(?:hei[cmsx]|hev[cmx]|mif1|msf1)", re.DOTALL)
UNPRINTABLE_NAME_REASON = "its name contains a line end or another unprintable character"
NEEDS_HEIC_REASON = "it is HEIC, which needs an extra package (pillow-heif)"

# Tags of EXIF.
_ORIENTATION_TAG = 0x0112
_CHANGED_AT_TAG = 0x0132
_EXIF_TAG = 0x8769
_TAKEN_AT_TAG = 0x9003
_UTC_OFFSET_TAG = 0x9011
# Members of Pillow's Transpose by EXIF orientation.
_TRANSPOSE_BY_ORIENTATION = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}
# EXIF orientations that swap width and height.
_SIDEWAYS_ORIENTATIONS = (5, 6, 7, 8)
# Identifies a state of a file: size in bytes, times of change of content and of entry in ns.
Stamp = tuple[int, int, int]


class PictureError(InputError):
    """An image cannot be sent. The message is the reason, without the name of the file."""


class NoFileError(PictureError):
    """A path is not the path of a regular file."""


class FileChangedError(PictureError):
    """A file changed while it was read."""


class Picture(NamedTuple):
    """Properties of an image."""

    mime_type: str
    # Pixels of the upright image.
    width: int
    height: int
    # As the camera wrote it, without time zone if the camera wrote none. Unknown times are `None`.
    taken_at: datetime | None


# ---- files


def make_file_stamp(status: os.stat_result) -> Stamp:
    """Return size and time of change of a file, which differ after a change."""
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def is_printable_path(path: str) -> bool:
    """Return whether a path has no control characters, so that it prints on one line."""
    return _CONTROL_CHARS.search(path) is None


def read_image_file(
    path: str | Path,
    *,
    accepts_head: Callable[[bytes], object] | None = None,
) -> tuple[bytes, Stamp] | None:
    """Read a regular file; return its bytes and its stamp (size and times of change).

    A link is not followed, and the call never waits for a pipe.

    Args:
        accepts_head: Gets the first 16 bytes; returns whether to read the file. None reads all.

    Returns:
        The first `MAX_IMAGE_BYTES` + 1 bytes, so that the caller sees that a file is too long, and
        the stamp. None if `accepts_head` refused the file.

    Raises:
        NoFileError: The path is a folder, a device or a pipe.
        FileChangedError: The file changed while it was read.
        OSError: The file does not exist, cannot be read, or is a link.
    """
    with open(path, "rb", opener=_open_regular_file) as file:
        first_stamp = make_file_stamp(os.fstat(file.fileno()))
        content = file.read(_HEAD_BYTES)
        if accepts_head is not None and not accepts_head(content):
            return None
        content += file.read(MAX_IMAGE_BYTES + 1 - len(content))
        last_stamp = make_file_stamp(os.fstat(file.fileno()))

    size = last_stamp[0]
    is_complete = len(content) == min(size, MAX_IMAGE_BYTES + 1)
    if first_stamp != last_stamp or not is_complete:
        raise FileChangedError("it changed while it was read")
    return content, last_stamp


def _open_regular_file(path: str, flags: int) -> int:
    """Return a descriptor of a file, without waiting for a pipe's writer or following a link.

    Raises:
        NoFileError: The path is a folder, a device or a pipe.
        OSError: The file cannot be opened, or is a link.
    """
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoFileError("it is a folder, a device or a pipe, not a file")
    return descriptor


# ---- decoding and resizing


def inspect_image(content: bytes) -> Picture:
    """Decode an image completely; return its MIME type, width, height and time of taking.

    Width and height are those of the upright image: its EXIF orientation is applied. The time of
    taking is read from EXIF, or else the time of change. It is None if EXIF has no valid time.

    Raises:
        PictureError: The bytes are not an image that can be sent, or the image is blank: it is
            completely white, black or transparent.
    """
    with _open_image(content) as image:
        mime_type = _MIME_TYPES[str(image.format)]
        width, height = image.size
        # Decode a JPEG at the smallest size.
        image.draft(None, (1, 1))
        image.load()
        # Pillow rotates a TIFF when it is loaded, so read its tags afterwards.
        exif = _read_exif(image)
        may_be_blank = image.has_transparency_data or _is_blank(_convert_to_8_bits(image))

    if may_be_blank:
        convert_to_sent_jpeg(content, max_side=BLANK_CHECK_SIDE)
    if exif.get(_ORIENTATION_TAG) in _SIDEWAYS_ORIENTATIONS:
        width, height = height, width
    return Picture(mime_type, width, height, _parse_taken_at(exif))


def convert_to_sent_jpeg(content: bytes, *, max_side: int, quality: int = SENT_QUALITY) -> bytes:
    """Return an image, or the first frame of an animation, as the JPEG that is sent.

    A transparent image is put on white, or on black if nothing is visible on white. The image is
    rotated upright, without metadata, and scaled down but never up. As long as the JPEG has more
    than MAX_SENT_BYTES, it is scaled to three quarters.

    Args:
        max_side: Maximum pixels of the longer side.
        quality: Quality of the JPEG, up to 95.

    Raises:
        PictureError: The bytes are not an image that can be opened, or nothing is visible.
    """
    from PIL.Image import Resampling, Transpose

    with _open_image(content) as image:
        # Decode a large JPEG at a fraction of its size.
        image.draft(None, (3 * max_side, 3 * max_side))
        frame = _shrink_onto_visible_background(image, max_side)
        # Pillow rotates a TIFF when it is loaded, so read its tags afterwards.
        orientation = _read_exif(image).get(_ORIENTATION_TAG, 1)
        transpose = _TRANSPOSE_BY_ORIENTATION.get(orientation)
        if transpose is not None:
            frame = frame.transpose(Transpose(transpose))

        # Otherwise a comment of the file is written into the JPEG.
        frame.info.clear()
        while True:
            buffer = io.BytesIO()
            frame.save(buffer, "JPEG", quality=quality, subsampling=0)
            jpeg = buffer.getvalue()
            if len(jpeg) <= MAX_SENT_BYTES:
                return jpeg
            smaller_side = max(frame.size) * 3 // 4
            frame.thumbnail((smaller_side, smaller_side), Resampling.LANCZOS)


def _shrink_onto_visible_background(image: "Image", side: int) -> "Image":
    """Return an image in RGB, scaled down to at most `side` pixels wide and high.

    A transparent image is put on white, or on black if it is blank on white.

    Raises:
        PictureError: The image is blank on a white and on a black background, or has more than 8
            bits per channel.
    """
    from PIL.Image import Resampling, alpha_composite, new

    frame = _convert_to_8_bits(image)
    frame.thumbnail((side, side), Resampling.LANCZOS, reducing_gap=3.0)
    frames = [frame]
    if frame.mode == "RGBA":
        backgrounds = (new("RGBA", frame.size, colour) for colour in ("white", "black"))
        frames = [alpha_composite(ground, frame).convert("RGB") for ground in backgrounds]
    for visible_frame in frames:
        if not _is_blank(visible_frame):
            return visible_frame
    raise PictureError(BLANK_REASON)


def _is_blank(frame: "Image") -> bool:
    """Return whether an RGB image is completely white or black; other colours are not blank."""
    extrema: Any = frame.getextrema()
    darkest = min(low for low, _ in extrema)
    brightest = max(high for _, high in extrema)
    return bool(brightest <= MAX_BLANK_LEVELS or darkest >= WHITE_LEVEL - MAX_BLANK_LEVELS)


# A thumbnail has about 10 KB. A cached thumbnail does not wait for the lock.
@lru_cache(maxsize=1_000)
def make_or_reuse_thumbnail(path: str, sha256: str, *, side: int) -> bytes:
    """Return a small JPEG of an image file; the last 1,000 thumbnails are cached.

    One thread at a time makes a thumbnail.

    Args:
        path: Path of the file; links are not followed.
        sha256: SHA-256 of the file when it was imported, in hex.
        side: Maximum pixels of the longer side; a member of THUMBNAIL_SIDES.

    Raises:
        InputError: Thumbnails do not have that size.
        PictureError: The file cannot be read, is not an image, or is blank.
        FileChangedError: The file changed since it was imported, or while it was read.
    """
    if side not in THUMBNAIL_SIDES:
        sides_text = ", ".join(str(permitted_side) for permitted_side in THUMBNAIL_SIDES)
        raise InputError(f"thumbnails have {sides_text} pixels a side, not {side}")

    with _thumbnail_lock:
        try:
            file_read = read_image_file(path)
        except OSError as error:
            raise PictureError(f"it cannot be read: {error.strerror}") from error

        content = file_read[0] if file_read else b""
        if hashlib.sha256(content).hexdigest() != sha256:
            raise FileChangedError("it changed since it was imported; import its folder again")
        return convert_to_sent_jpeg(content, max_side=side, quality=THUMBNAIL_QUALITY)


@contextmanager
def _open_image(content: bytes) -> Iterator["Image"]:
    """Open an image with Pillow while the context is active; errors become PictureError.

    Pillow's own limits of pixels and texts are replaced in the whole process.

    Raises:
        PictureError: The bytes are empty, too long, broken or not an image that can be opened, or
            the image has too many pixels. Errors within the context are converted as well.
    """
    from PIL import Image, PngImagePlugin, UnidentifiedImageError

    if not content:
        raise PictureError("it is empty (0 bytes)")
    if len(content) > MAX_IMAGE_BYTES:
        raise PictureError(describe_excess_bytes(len(content)))
    if _HEIC_HEAD.match(content) and not register_heic_reader():
        raise PictureError(NEEDS_HEIC_REASON)

    # Pillow's own bound of 1 MB refuses whole images because of their colour profile.
    PngImagePlugin.MAX_TEXT_CHUNK = MAX_IMAGE_BYTES
    # Pillow's own bound only warns.
    Image.MAX_IMAGE_PIXELS = None
    Image.init()
    formats = [format_name for format_name in _MIME_TYPES if format_name in Image.OPEN]
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                reason = (
                    f"it has {width:,} by {height:,} pixels ({width * height:,}), "
                    f"more than the limit of {MAX_PIXELS:,}"
                )
                raise PictureError(reason)  # noqa: TRY301 - once
            yield image
    except PictureError:
        raise
    except UnidentifiedImageError:
        type_names = [mime_type.partition("/")[2].upper() for mime_type in _MIME_TYPES.values()]
        names = ", ".join(dict.fromkeys(type_names))
        raise PictureError(f"it is not an image in a supported format ({names})") from None
    except MemoryError:
        raise PictureError("there is not enough memory to open it") from None
    # Pillow's limits, such as that of the texts in a PNG file.
    except ValueError as error:
        raise PictureError(f"it cannot be opened: {_describe_image_error(error)}") from None
    except Exception as error:  # noqa: BLE001 - decoders raise whatever broken bytes lead them to
        raise PictureError(f"it is cut off or damaged: {_describe_image_error(error)}") from None


def describe_excess_bytes(size: int) -> str:
    """Return the message that an image has too many bytes."""
    return f"it has {size:,} bytes, more than the limit of {MAX_IMAGE_BYTES:,}"


def _describe_image_error(error: Exception) -> str:
    """Return the message of an error on one line, else its type."""
    return " ".join(str(error).split()) or type(error).__name__


def register_heic_reader() -> bool:
    """Register the HEIC decoder with Pillow, and return whether it is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    return True


def _convert_to_8_bits(image: "Image") -> "Image":
    """Return an image as RGB with 8 bits per channel, or as RGBA if it has transparency.

    Raises:
        PictureError: The image has more than 8 bits per channel.
    """
    if image.mode.startswith(("I", "F")):
        raise PictureError("it has more than 8 bits per channel; save it with 8 bits")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _read_exif(image: "Image") -> dict[int, Any]:
    """Return the EXIF tags of an image by number; none if they are broken."""
    # Decoders raise many errors, and an image with broken tags can still be sent.
    with suppress(Exception):
        exif = image.getexif()
        return {**exif, **exif.get_ifd(_EXIF_TAG)}
    return {}


def _parse_taken_at(exif: Mapping[int, Any]) -> datetime | None:
    """Return when an image was taken (DateTimeOriginal), else changed (DateTime), else None.

    The time has the offset to UTC if the tags contain a valid offset, otherwise it has no time
    zone. A time that cannot be parsed is None.
    """
    time_text = str(exif.get(_TAKEN_AT_TAG) or exif.get(_CHANGED_AT_TAG) or "")[:19]
    utc_offset = str(exif.get(_UTC_OFFSET_TAG) or "")
    for text in (f"{time_text}{utc_offset}", time_text):
        # EXIF separates the parts of a date by colons.
        with suppress(ValueError):
            return datetime.fromisoformat(text.replace(":", "-", 2))
    return None
