"""Find the image that a cell of a table names: a file below a folder, what an https address gives, or bytes it held.

What was seen of it is kept beside its row, so that a file that did not change is not read again: size and times alone
tell, and tell nothing of a file that was written less than two seconds before it was read.
"""

import base64
import hashlib
import mimetypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from pipeline.engine.picture_file import UNPRINTED, Stamp, is_printed, read_file
from pipeline.engine.pictures import MAX_BYTES, SENT_TYPE, PictureError, prepare, probe
from pipeline.gemini.requests import uploaded_part
from pipeline.tables.kept_images import KEPT

SETTLED_NS = 2_000_000_000  # after which another write gives a file another time, on every file system
REGISTERED = "gs://"
ADDRESSES = ("https://", "http://")


class SentPart(NamedTuple):
    """One image of a request: the part that carries it, the SHA-256 of what the row named, and its bytes to upload."""

    part: Mapping[str, Any]
    sha256: str
    uploads: Mapping[str, bytes] = MappingProxyType({})  # by the SHA-256 of the bytes; see `Prompt`


@dataclass(frozen=True)
class PictureSource:
    """Where the images of a task are, and how they go out.

    `registered` lets `gs://` addresses pass as they are; `refetches` asks https addresses again that were asked before.
    `kept` gives what is sent of bytes that were taken from a cell, by their hash; `broken` says which of them cannot
    be asked about, and why.
    """

    folder: Path
    side: int
    inline_max: int
    registered: bool
    fetch: Callable[[str], bytes]
    refetches: bool = False
    kept: Callable[[str], bytes | None] = field(default=lambda _sha256: None)
    broken: Mapping[str, str] = field(default_factory=dict)

    def look(self, named: str, known: Mapping[str, Any] | None) -> dict[str, Any]:
        """Return what is seen of an image, for the next look: what it was, its `sha256`, and `why` it cannot be asked.

        `known` is what the look before saw of the same cell. An image that could be asked about and did not change
        since is not opened again.
        """
        same = known is not None and known.get("named") == named
        told: Mapping[str, Any] = known if known is not None and same and not known.get("why") else {}
        try:
            if named.startswith((KEPT, REGISTERED)):
                is_kept = named.startswith(KEPT)
                return self._note(named, self._taken(named) if is_kept else self._registered(named).sha256)
            if named.startswith(ADDRESSES):
                if told.get("sha256") and not self.refetches:
                    return dict(told)
                return self._seen(named, self.fetch(named), None)
            told = _opened.get(named, told)
            stamp = told.get("stamp")
            if stamp is not None and _stamp_of(self._place(named)) == tuple(stamp):
                return {**told, "named": named}
            return self._seen(named, *self._read(named))
        except PictureError as error:
            return {**self._note(named, None), "why": error.message}

    def part(self, named: str) -> SentPart:
        """Return an image as a request carries it, read now.

        Raises:
            PictureError: it cannot be asked about; the message says why.
        """
        if named.startswith(REGISTERED):
            return self._registered(named)
        if named.startswith(KEPT):
            sha256 = named.removeprefix(KEPT)
            sent = self.kept(sha256)
            if sent is None:
                raise PictureError("its bytes are not kept any more; the next look at its source keeps them")
            return self._sent(sent, sha256)
        data = self.fetch(named) if named.startswith(ADDRESSES) else self._read(named)[0]
        return self._sent(prepare(data, side=self.side).data, hashlib.sha256(data).hexdigest())

    def _sent(self, data: bytes, sha256: str) -> SentPart:
        """Return the bytes that are sent of an image as a request carries them, within it or as an upload."""
        if len(data) > self.inline_max:
            own = hashlib.sha256(data).hexdigest()
            return SentPart(uploaded_part(SENT_TYPE, own), sha256, {own: data})
        inline = {"mimeType": SENT_TYPE, "data": base64.b64encode(data).decode("ascii")}
        return SentPart({"inlineData": inline}, sha256)

    def _taken(self, named: str) -> str:
        """Return the hash of bytes that were taken from a cell.

        Raises:
            PictureError: they are no image that can be asked about.
        """
        sha256 = named.removeprefix(KEPT)
        if (why := self.broken.get(sha256)) is not None:
            raise PictureError(why)
        return sha256

    def _seen(self, named: str, data: bytes, stamp: Stamp | None) -> dict[str, Any]:
        """Return what is seen of bytes that were read."""
        seen = {**self._note(named, hashlib.sha256(data).hexdigest()), "stamp": stamp}
        try:
            probe(data)
        except PictureError as error:
            seen["why"] = error.message
        return seen

    def _note(self, named: str, sha256: str | None) -> dict[str, Any]:
        return {"named": named, "sha256": sha256}

    def _registered(self, named: str) -> SentPart:
        kind = mimetypes.guess_type(named)[0] or ""
        if not self.registered:
            raise PictureError("gs:// addresses go out only where the task says registered_uris=True")
        if not kind.startswith("image/"):
            raise PictureError("its ending does not say which image it is, as .jpg or .png do")
        media = {"mimeType": kind, "fileUri": named}
        return SentPart({"fileData": media}, hashlib.sha256(named.encode()).hexdigest())

    def _place(self, named: str) -> Path:
        """Return where a file below the folder is, behind all links.

        Raises:
            PictureError: it is not below it, or cannot be told.
        """
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
        """Return the bytes of a file, and its stamp where that tells a change from now on."""
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
