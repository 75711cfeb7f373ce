"""Find the image that a cell of a table names: a file below a folder, or what an https address gives.

What was seen of it is kept beside its row, so that a file that did not change is not read again: size and times alone
tell, and tell nothing of a file that was written less than two seconds before it was read.
"""

import base64
import hashlib
import os
import re
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.engine.pictures import MAX_BYTES, SENT_TYPE, PictureError, prepare, probe

UNPRINTED = "its name holds a line end or another character that is not printed"
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # not what cameras and systems name files with, as U+202F
_HEAD = 16  # bytes in which a file says that it may be an image


class NoFileError(PictureError):
    """A path leads to no regular file."""


class ChangedError(PictureError):
    """A file changed while it was read."""


class Stamp(NamedTuple):
    """What tells that a file is the one that was read: its size, and when it and its entry were changed last, in ns."""

    size: int
    changed: int
    moved: int

    @classmethod
    def of(cls, found: os.stat_result) -> "Stamp":
        """Return the stamp that a look at a file gives."""
        return cls(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def is_printed(path: str) -> bool:
    """Return whether a path stands on one line, wherever it is shown."""
    return _CONTROLS.search(path) is None


def read_file(
    path: str | Path, *, is_wanted: Callable[[bytes], object] = lambda _head: True
) -> tuple[bytes, Stamp] | None:
    """Return the bytes of a file and its stamp, one byte more than `MAX_BYTES` at most; None where it is not wanted.

    `is_wanted` is asked about the first 16 bytes.

    Raises:
        NoFileError: it is a folder, a device or a pipe.
        ChangedError: it changed meanwhile.
        OSError: it cannot be read, or is a link.
    """
    with open(path, "rb", opener=_without_waiting) as file:
        before = Stamp.of(os.fstat(file.fileno()))
        data = file.read(_HEAD)
        if not is_wanted(data):
            return None
        data += file.read(MAX_BYTES + 1 - len(data))
        after = Stamp.of(os.fstat(file.fileno()))
    if before != after or len(data) != min(after.size, MAX_BYTES + 1):
        raise ChangedError("it changed while it was read")
    return data, after


def _without_waiting(path: str, flags: int) -> int:
    """Open a file, never waiting for a writer of a pipe; a link in its place is not followed."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise NoFileError("it is no file but a folder, a device or a pipe")
    return descriptor


SETTLED_NS = 2_000_000_000  # after which another write gives a file another time, on every file system
ADDRESSES = ("https://", "http://", "gs://")  # all but the first are refused where they are fetched
MAX_SENT = 4_000_000  # ours; bytes of an image within a request
SMALL_SIDE = 1_024  # pixels of the longer side up to which every image stays below that


@dataclass(frozen=True)
class PictureSource:
    """Where the images of a task are, and how they go out: `side` pixels at most, within the request.

    `refetches` asks https addresses again that were asked before.
    """

    folder: Path
    side: int
    fetch: Callable[[str], bytes]
    refetches: bool = False

    def look(self, named: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what is seen of an image, for the next look: what it was, its `sha256`, and `why` it cannot be asked.

        `known` is what the look before saw of the same cell. An image that could be asked about and did not change
        since is not opened again.
        """
        large = self.side if self.side > SMALL_SIDE else None
        same = known is not None and (known.get("named"), known.get("large")) == (named, large)
        told: Mapping[str, Any] = known if known is not None and same and not known.get("why") else {}
        try:
            if named.startswith(ADDRESSES):
                if told.get("sha256") and not self.refetches:
                    return dict(told)
                return self._seen(named, self.fetch(named), None)
            if large is None:
                told = _opened.get(named, told)
            stamp = told.get("stamp")
            if stamp is not None and _stamp_of(self._place(named)) == tuple(stamp):
                return {**told, "named": named}
            return self._seen(named, *self._read(named))
        except PictureError as error:
            return {"named": named, "sha256": None, "why": error.message}

    def part(self, named: str) -> tuple[dict[str, Any], str]:
        """Return an image as a request carries it, read now, and the SHA-256 of what the row named.

        Raises:
            PictureError: it cannot be asked about; the message says why.
        """
        data = self.fetch(named) if named.startswith(ADDRESSES) else self._read(named)[0]
        inline = {"mimeType": SENT_TYPE, "data": base64.b64encode(self._sent(data)).decode("ascii")}
        return {"inlineData": inline}, hashlib.sha256(data).hexdigest()

    def _sent(self, data: bytes) -> bytes:
        sent = prepare(data, side=self.side).data
        if len(sent) > MAX_SENT:
            raise PictureError(
                f"scaled to {self.side:,} pixels it still has {len(sent):,} bytes, and {MAX_SENT:,} are the most that "
                "go into a request; `image_side` in task.toml scales it further"
            )
        return sent

    def _seen(self, named: str, data: bytes, stamp: Stamp | None) -> dict[str, Any]:
        seen: dict[str, Any] = {"named": named, "sha256": hashlib.sha256(data).hexdigest(), "stamp": stamp}
        try:
            probe(data)
            if self.side > SMALL_SIDE:
                seen["large"] = self.side
                self._sent(data)
        except PictureError as error:
            seen["why"] = error.message
        return seen

    def _place(self, named: str) -> Path:
        if not is_printed(named):
            raise PictureError(UNPRINTED)
        try:
            place = (self.folder / named).resolve(strict=True)
        except FileNotFoundError:
            raise PictureError(f"there is no such file in {self.folder}") from None
        except (OSError, RuntimeError, ValueError) as error:
            raise PictureError(f"it cannot be read: {getattr(error, 'strerror', None) or error}") from None
        if not place.is_relative_to(self.folder.resolve()):
            raise PictureError(f"it is not below {self.folder}; FOLDER= names another folder")
        return place

    def _read(self, named: str) -> tuple[bytes, Stamp | None]:
        place = self._place(named)
        try:
            size = place.stat().st_size
            read = read_file(place) if size <= MAX_BYTES else None
        except OSError as error:
            raise PictureError(f"it cannot be read: {error.strerror}") from None
        if read is None or len(read[0]) > MAX_BYTES:
            raise PictureError(f"it has {size:,} bytes, and {MAX_BYTES:,} are the most that is read")
        data, after = read
        return data, after if _is_settled(after) else None


_opened: dict[str, dict[str, Any]] = {}  # what this process saw of files that it opened, by their whole paths


def note_opened(path: str, stamp: Stamp, sha256: str) -> None:
    """Take a file for an image that can be asked about, which was found by opening it whole, until it changes."""
    _opened[path] = {"sha256": sha256, "stamp": stamp if _is_settled(stamp) else None}


def _is_settled(stamp: Stamp) -> bool:
    """Return whether a file that is read now was last changed so long ago that its times tell another change."""
    return time.time_ns() - max(stamp.changed, stamp.moved) > SETTLED_NS


def _stamp_of(place: Path) -> Stamp | None:
    try:
        return Stamp.of(place.stat())
    except OSError:
        return None
