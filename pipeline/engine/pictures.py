"""The images of rows, files or https addresses: what they really are, and what a request shows; the owner of Pillow.

What leaves the machine is always written anew: a JPEG of 8 bits a colour, its longer side within a bound, turned as it
is meant to be seen, transparency on white, the first frame of an animation, and no metadata (no place, no camera). The
same bytes give the same bytes, as long as Pillow stays the same.

What was seen of an image is kept beside its row, so that a file that did not change is not read again: size and times
alone tell, and tell nothing of a file that was written less than two seconds before it was read.

A table may have been written by others. The name in an address is resolved once, and the connection goes to the address
that was looked at: nothing can lead it to a machine of this network in between. Addresses that are not public are
refused, those that redirects lead to alike. A proxy is not asked, for it would resolve the name anew.
"""

import base64
import contextlib
import hashlib
import http.client
import io
import ipaddress
import json
import os
import re
import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import SplitResult, urljoin, urlsplit

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import InputError
from pipeline.tables.cells import to_compact_json
from pipeline.tables.row_sync import ImageInspection, hash_input

if TYPE_CHECKING:
    from PIL.Image import Image

    from pipeline.gemini.requests import Prompt

MAX_BYTES = 64 * 2**20  # ours; of an image before it is scaled
MAX_PIXELS = (
    8_192 * 6_144
)  # ours; the most that phones take, 400 MB where a pixel has colours and transparency
MAX_SENT = 4_000_000  # ours; bytes of an image within a request; what has more is scaled further
SENT_TYPE = "image/jpeg"
QUALITY = 90  # letters on a screenshot stay sharp, with colours at full resolution
OF_SMALL = 80
MAX_FRAMES = 50  # ours; of an animation, in which the first ones may be blank
WHITE = 255
BLANK_LEVELS = 2  # ours; of 255, by which white may differ after it was scaled
NARROW_SHARE = 1 / 64  # ours; of the range of 16 bits, below which nothing is seen of 8
LEAST_SIDE = 640  # pixels; of an image that is looked at for anything to be seen
BLANK = "it is blank: white or black as a whole"
SIDES = (160, 320, 640)  # pixels of the longer side of thumbnails
UNPRINTED = "its name holds a line end or another character that is not printed"
_CONTROLS = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029]"
)  # not what cameras and systems name files with, as U+202F
MAX_16_BITS = 65_535.0
_START = 16  # bytes in which a file says that it may be an image
_MAKING = (
    threading.Lock()
)  # thumbnails are made one at a time: a large image takes 400 MB while it is scaled
# What is opened, by Pillow's names; every other decoder stays out, for some run programs or have met few hostile files
_TYPES = {
    one: f"image/{one.lower()}" for one in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF")
}
_TYPES |= {"MPO": "image/jpeg", "HEIF": "image/heic"}
_HEIC = re.compile(rb"....ftyp(?:hei[cmsx]|hev[cmx]|mif1|msf1)", re.DOTALL)
NEEDS_HEIC = "it is HEIC, which is opened with an extra alone (make setup EXTRAS=heic, or pip install -e '.[heic]')"
_ORIENTATION = 0x0112  # tags of EXIF
_CHANGED = 0x0132
_EXIF = 0x8769
_TAKEN = 0x9003
_OFFSET = 0x9011
_TURNS = {2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}  # orientations of EXIF, as Pillow's Transpose


Stamp = tuple[
    int, int, int
]  # tells that a file is the one that was read: size, when it and its entry changed, in ns


class PictureError(InputError):
    """The bytes are no image that can be asked about; the message says why, and names no file."""


class NoFileError(PictureError):
    """A path leads to no regular file."""


class ChangedError(PictureError):
    """A file changed while it was read."""


class Picture(NamedTuple):
    """What an image really is: MIME type, width and height in pixels as it is seen, and when it was taken.

    `taken_at` is as the camera wrote it: without a zone where it named none, None where it said nothing.
    """

    mime_type: str
    width: int
    height: int
    taken_at: datetime | None


def _stamp_of(found: os.stat_result) -> Stamp:
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
        before = _stamp_of(os.fstat(file.fileno()))
        data = file.read(_START)
        if not is_wanted(data):
            return None
        data += file.read(MAX_BYTES + 1 - len(data))
        after = _stamp_of(os.fstat(file.fileno()))
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
    """Return what the bytes of an image are, after a look at all of them.

    Raises:
        PictureError: They are no image, or nothing can be seen on it.
    """
    with _opened(data) as image:
        mime_type = _TYPES[str(image.format)]
        width, height = image.size
        image.draft(None, (1, 1))
        image.load()
        exif = _exif_of(image)  # after loading, for Pillow turns a TIFF then
        may_be_blank = _is_blank(_on_background(_eight_bits(image), "white"))
    if may_be_blank:
        prepare(data, side=LEAST_SIDE)
    if exif.get(_ORIENTATION) in (5, 6, 7, 8):
        width, height = height, width
    return Picture(mime_type, width, height, _taken_at(exif))


def prepare(data: bytes, *, side: int, quality: int = QUALITY) -> bytes:
    """Return an image as it is sent, its longer side at most `side` pixels; a smaller one is not enlarged.

    One that would not go into a request is scaled further.

    Raises:
        PictureError: The bytes are no image, or nothing can be seen on it.
    """
    from PIL.Image import Resampling, Transpose

    with _opened(data) as image:
        image.draft(None, (3 * side, 3 * side))  # a large JPEG is decoded at a part of its size
        seen = _first_visible(image, side)
        turn = _TURNS.get(
            _exif_of(image).get(_ORIENTATION, 1)
        )  # after loading, for Pillow turns a TIFF then
        if turn is not None:
            seen = seen.transpose(Transpose(turn))
        seen.info.clear()  # else a comment of the file goes into the JPEG
        while True:
            seen.save(out := io.BytesIO(), "JPEG", quality=quality, subsampling=0)
            if len(sent := out.getvalue()) <= MAX_SENT:
                return sent
            seen.thumbnail((max(seen.size) * 3 // 4,) * 2, Resampling.LANCZOS)


def _first_visible(image: "Image", side: int) -> "Image":
    """Return the first frame on which anything can be seen, in RGB and at most `side` pixels wide and high.

    Raises:
        PictureError: Each frame is white or black as a whole, on a white and on a black background.
    """
    from PIL.Image import Resampling

    for number in range(min(getattr(image, "n_frames", 1), MAX_FRAMES)):
        if number:
            image.seek(number)
        frame = _eight_bits(image)
        frame.thumbnail((side, side), Resampling.LANCZOS, reducing_gap=3.0)
        for background in ("white", "black"):
            seen = _on_background(frame, background)
            if not _is_blank(seen):
                return seen
    raise PictureError(BLANK)


def _on_background(frame: "Image", colour: str) -> "Image":
    """Return a frame in RGB, on a background where it is transparent."""
    import PIL.Image

    if frame.mode != "RGBA":
        return frame
    background = PIL.Image.new("RGBA", frame.size, colour)
    return PIL.Image.alpha_composite(background, frame).convert("RGB")


def _is_blank(seen: "Image") -> bool:
    """Return whether an image in RGB is white or black as a whole; one of another colour may be asked about."""
    extrema: Any = seen.getextrema()
    darkest = min(low for low, _ in extrema)
    brightest = max(high for _, high in extrema)
    return bool(brightest <= BLANK_LEVELS or darkest >= WHITE - BLANK_LEVELS)


@lru_cache(maxsize=1_000)  # of about 10 KB; one that is kept waits for none that is being made
def thumbnail(path: str, digest: str, *, side: int) -> bytes:
    """Return the small JPEG of the image file at `path`, whose bytes had the SHA-256 `digest` when it was imported.

    PictureError says why there is none, InputError that images of that size are not made.
    """
    if side not in SIDES:
        raise InputError(
            f"thumbnails have {', '.join(map(str, SIDES))} pixels a side, and none has {side}"
        )
    with _MAKING:
        try:
            found = read_file(path)
        except OSError as error:
            raise PictureError(f"it cannot be read: {error.strerror}") from error
        whole = found[0] if found else b""
        if hashlib.sha256(whole).hexdigest() != digest:
            raise ChangedError(
                f"it changed since it was imported; `{CommandHint('import-images')}` looks again"
            )
        return prepare(whole, side=side, quality=OF_SMALL)


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator["Image"]:
    from PIL import Image, PngImagePlugin, UnidentifiedImageError

    if not data:
        raise PictureError("it is empty (0 bytes)")
    if len(data) > MAX_BYTES:
        raise PictureError(
            f"it has {len(data):,} bytes, and {MAX_BYTES:,} are the most that is read"
        )
    if _HEIC.match(data) and not knows_heic():
        raise PictureError(NEEDS_HEIC)
    # Pillow's own bound of 1 MB refuses whole images because of their colour profile.
    PngImagePlugin.MAX_TEXT_CHUNK = MAX_BYTES
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
        raise PictureError(
            f"it is cut off or broken: {' '.join(str(error).split()) or type(error).__name__}"
        ) from None


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
        extrema: Any = wide.getextrema()
        low, high = map(float, extrema)
        is_narrow = high - low < NARROW_SHARE * MAX_16_BITS
        if image.mode.startswith("I;16") and not (is_narrow and high > low):
            low = 0.0
            high = MAX_16_BITS
        scale = 255 / max(high - low, 1.0)
        return wide.point(lambda value: value * scale - low * scale).convert("RGB")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _exif_of(image: "Image") -> dict[int, Any]:
    tags: dict[int, Any] = {}
    with suppress(Exception):  # broken tags leave the picture what it is
        exif = image.getexif()
        tags = {**exif, **exif.get_ifd(_EXIF)}
    return tags


def _taken_at(exif: dict[int, Any]) -> datetime | None:
    taken = str(exif.get(_TAKEN) or exif.get(_CHANGED) or "")[:19]
    offset = str(exif.get(_OFFSET) or "")
    for text in (f"{taken}{offset}", taken):
        with suppress(ValueError):
            return datetime.fromisoformat(text.replace(":", "-", 2))
    return None


# ---- of a row

# After this time, another write changes the modification time on every file system.
SETTLED_NS = 2_000_000_000
ADDRESSES = ("https://", "http://", "gs://")  # all but the first are refused where they are fetched
SECONDS = 30.0  # in which an address gives its image
REDIRECTS = 5  # ours; more lead in a circle
PORT = 443
_MOVED = frozenset({301, 302, 303, 307, 308})
_WITHIN_V6 = tuple(
    map(
        ipaddress.IPv6Network, ("::/96", "64:ff9b::/96", "64:ff9b:1::/48", "2001::/32", "2002::/16")
    )
)


def _resolved(host: str, port: int) -> Sequence[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def _connected(address: str, host: str, port: int, seconds: float) -> socket.socket:
    """Return a connection to an address, by whose certificate it is the host's."""
    plain = socket.create_connection((address, port), timeout=seconds)
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def fetch(
    url: str,
    *,
    seconds: float = SECONDS,
    resolve: Callable[[str, int], Sequence[str]] = _resolved,
    connect: Callable[[str, str, int, float], socket.socket] = _connected,
) -> bytes:
    """Return the bytes that an address gives; PictureError says why it is not asked, or gives none within bounds."""
    until = time.monotonic() + seconds
    for _ in range(REDIRECTS + 1):
        parts = _parts(url)
        host = str(parts.hostname)
        port = parts.port or PORT
        address = _public_address(host, port, resolve)
        try:
            found = _answer(
                parts,
                connect(address, host, port, max(until - time.monotonic(), 0.001)),
                until=until,
            )
        except (OSError, http.client.HTTPException, ValueError) as error:
            late = time.monotonic() >= until
            why = (
                f"not within {seconds:g} s"
                if late
                else " ".join(str(error).split()) or type(error).__name__
            )
            raise PictureError(f"{host} could not be asked: {why}") from None
        if isinstance(found, bytes):
            return found
        url = urljoin(url, found)
    raise PictureError(f"its address redirects more than {REDIRECTS} times")


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        is_right = parts.scheme == "https" and parts.hostname and parts.port != 0 and url.isascii()
    except ValueError:
        is_right = False
    if not is_right or any(one <= " " or one == "\x7f" for one in url):
        raise PictureError("its address is none that begins with https:// and can be asked")
    if parts.username is not None or parts.password is not None:
        raise PictureError("its address holds a user's name, which is not sent")
    return parts


def _public_address(host: str, port: int, resolve: Callable[[str, int], Sequence[str]]) -> str:
    """Return an address of a host, of which all are of the public network; those that wrap another one are not."""
    found: Sequence[str] = ()
    with suppress(OSError, UnicodeError):
        found = resolve(host, port)
    if not found:
        raise PictureError(f"the host {host} is not known")
    for one in found:
        with suppress(ValueError):
            known = ipaddress.ip_address(one.partition("%")[0])
            is_wrapped = isinstance(known, ipaddress.IPv6Address) and (
                known.ipv4_mapped or any(known in one for one in _WITHIN_V6)
            )
            if known.is_global and not known.is_multicast and not is_wrapped:
                continue
        raise PictureError(f"the host {host} is in a private network, which is not asked")
    return found[0]


def _answer(parts: SplitResult, connected: socket.socket, *, until: float) -> bytes | str:
    guard = threading.Timer(max(until - time.monotonic(), 0), _cut, [connected])  # of what drips
    guard.daemon = True
    guard.start()
    with closing(http.client.HTTPConnection(str(parts.hostname))) as connection:
        connection.sock = connected
        try:
            target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
            connection.request(
                "GET", target, headers={"Accept": "image/*", "User-Agent": "findable"}
            )
            with connection.getresponse() as reply:
                if reply.status in _MOVED and (place := reply.getheader("Location")):
                    return place
                if reply.status != HTTPStatus.OK:
                    raise PictureError(f"its address answers {reply.status} {reply.reason}")
                data = reply.read(MAX_BYTES + 1)
                if len(data) > MAX_BYTES:
                    raise PictureError(
                        f"its address gives more than {MAX_BYTES:,} bytes, the most that is read"
                    )
                if reply.length:
                    raise PictureError("its address gave less than it promised")
        finally:
            guard.cancel()
    if time.monotonic() >= until:  # it was cut off, which an answer without a length does not tell
        raise TimeoutError
    return data


def _cut(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class RowImages:
    """The images of a task's rows: the columns that name them, those asked about beside, their folder and size.

    `side` are the pixels of the longer side, at most. With `refetches` addresses are asked again.
    """

    columns: Sequence[str]
    asked: Sequence[str]
    folder: Path
    side: int
    refetches: bool = False

    def look(self, values: Mapping[str, Any], seen: str | None) -> ImageInspection:
        """Look at what a row names, given what the look before saw; see `pipeline.tables.row_sync.LookAt`."""
        known = json.loads(seen) if seen else {}
        found = {
            name: self._look(named, known.get(name) or {}) for name, named in self._named(values)
        }
        wrong = next(((name, one["why"]) for name, one in found.items() if one.get("why")), None)
        hashes = {name: found.get(name, {}).get("sha256") for name in self.columns}
        return ImageInspection(
            hashes, to_compact_json(found), None if wrong is None else f"{wrong[0]}: {wrong[1]}"
        )

    def put_into(self, prompt: "Prompt", row: Mapping[str, Any]) -> "tuple[Prompt, str] | None":
        """Return a prompt with a row's images before its text, and the hash of both; None where one cannot be asked.

        The next look at the row says why. Where there are several columns, each image follows the name of its own.
        """
        parts: list[Mapping[str, Any]] = []
        hashes: dict[str, str | None] = dict.fromkeys(self.columns)
        for name, named in self._named(row):
            try:
                data, _ = self._bytes(named)
                sent = base64.b64encode(prepare(data, side=self.side)).decode("ascii")
            except PictureError:
                return None
            hashes[name] = hashlib.sha256(data).hexdigest()
            parts += [{"text": f"{name}:"}] * (len(self.columns) > 1)
            parts.append({"inlineData": {"mimeType": SENT_TYPE, "data": sent}})
        input_hash = hash_input({**row, **hashes}, [*self.asked, *self.columns])
        return prompt._replace(parts=[*parts, *prompt.parts]), input_hash

    def _named(self, row: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [
            (name, str(row[name]).strip())
            for name in self.columns
            if str(row.get(name) or "").strip()
        ]

    def _look(self, named: str, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is seen of an image, for the next look: its `sha256`, and `why` it cannot be asked.

        An image that could be asked about and did not change since is not opened again.
        """
        told = known if known.get("named") == named and not known.get("why") else {}
        seen: dict[str, Any] = {"named": named, "sha256": None, "stamp": None}
        try:
            is_address = named.startswith(ADDRESSES)
            stamp = told.get("stamp")
            if told.get("sha256") and is_address and not self.refetches:
                return dict(told)
            if stamp and not is_address and _stamp_of(self._place(named).stat()) == tuple(stamp):
                return dict(told)
            data, seen["stamp"] = self._bytes(named)
            seen["sha256"] = hashlib.sha256(data).hexdigest()
            probe(data)
        except PictureError as error:
            seen["why"] = error.message
        except OSError as error:  # it went while it was looked at
            seen["why"] = f"it cannot be read: {error.strerror}"
        return seen

    def _place(self, named: str) -> Path:
        if not is_printed(named):
            raise PictureError(UNPRINTED)
        try:
            place = (self.folder / named).resolve(strict=True)
        except FileNotFoundError:
            raise PictureError(f"there is no such file in {self.folder}") from None
        except (OSError, RuntimeError, ValueError) as error:
            raise PictureError(
                f"it cannot be read: {getattr(error, 'strerror', None) or error}"
            ) from None
        if not place.is_relative_to(self.folder.resolve()):
            raise PictureError(
                f"it is not below {self.folder}; {OptionHint('folder')} names another folder"
            )
        return place

    def _bytes(self, named: str) -> tuple[bytes, Stamp | None]:
        """Return the bytes of an image, and the stamp of a file where its times would tell another change."""
        if named.startswith(ADDRESSES):
            return fetch(named), None
        place = self._place(named)
        try:
            size = place.stat().st_size
            read = read_file(place) if size <= MAX_BYTES else None
        except OSError as error:
            raise PictureError(f"it cannot be read: {error.strerror}") from None
        if read is None or len(read[0]) > MAX_BYTES:
            raise PictureError(
                f"it has {size:,} bytes, and {MAX_BYTES:,} are the most that is read"
            )
        data, stamp = read
        return data, stamp if time.time_ns() - max(stamp[1:]) > SETTLED_NS else None
