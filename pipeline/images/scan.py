"""Walk a folder for images: every regular file below it, whatever its name, read once; links are never followed.

A file that is called as images are is one, broken or not; of others only those that begin as images do.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.files import check_named_in_utf8
from pipeline.core.text import UNSOUND
from pipeline.engine.picture_source import (
    UNPRINTED,
    ChangedError,
    NoFileError,
    Stamp,
    is_printed,
    note_opened,
    read_file,
)
from pipeline.engine.pictures import PictureError, probe

ENDINGS = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".heif"),
    ".svg",
)
_MAGIC = re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|BM|II\*\0|MM\0\*|....ftyp(?:avif|hei|hev|mif)", re.DOTALL)
OTHERS = "other files"


class FoundFile(NamedTuple):
    """One file that is, or is called, an image: where it is, its bytes, their SHA-256, and what tells a change."""

    path: str
    data: bytes
    sha256: str
    stamp: Stamp


class Facts(NamedTuple):
    """What is kept of a file's bytes; `problem` says why it cannot be asked about."""

    hash: str
    width: int | None
    height: int | None
    format: str | None
    taken_at: str | None
    bytes: int
    problem: str | None


@dataclass
class FolderScan:
    """The images below a folder; what was left out while it was walked is counted, by why."""

    folder: Path
    left_out: Counter[str] = field(default_factory=Counter)

    def files(self) -> Iterator[FoundFile]:
        """Yield every file that is, or is called, an image, by folders, in the order of their names.

        Raises:
            InputError: the folder cannot be read at all.
        """
        check_folder(self.folder)
        walked = os.walk(os.path.realpath(self.folder), onerror=self._refused)
        for place, folders, names in walked:
            self.left_out["links, which are not followed"] += sum(map(os.path.islink, _in(place, folders)))
            folders[:] = sorted(one for one in folders if not one.startswith("."))
            for path in _in(place, sorted(names)):
                found = self._read(path)
                if found is not None:
                    yield found

    def _refused(self, _error: OSError) -> None:
        self.left_out["folders that cannot be read"] += 1

    def _read(self, path: str) -> FoundFile | None:
        """Return a file with its bytes, or count why it is left out."""
        why, read = _unfit(path), None
        if not why:
            try:
                read = read_file(path, is_wanted=lambda head: path.lower().endswith(ENDINGS) or _MAGIC.match(head))
                why = OTHERS if read is None else ""
            except NoFileError:
                why = "devices, pipes and sockets"
            except ChangedError:
                why = "files that changed while they were read, which the next import takes"
            except FileNotFoundError:
                why = "files that vanished meanwhile"
            except OSError:
                why = "files that cannot be read"
        if read is None:
            self.left_out[why] += 1
            return None
        data, stamp = read
        return FoundFile(path, data, hashlib.sha256(data).hexdigest(), stamp)


def check_folder(folder: Path) -> None:
    """Refuse what is no folder, or one whose name cannot be kept.

    Raises:
        InputError: that is so; nothing was imported.
    """
    check_named_in_utf8(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; nothing was imported", hint="FOLDER= names one with images")


def _in(place: str, names: list[str]) -> list[str]:
    return [os.path.join(place, name) for name in names]  # noqa: PTH118 - it may be no text


def _unfit(path: str) -> str:
    """Return why a path is not looked at, in words for several; empty where it is."""
    if os.path.basename(path).startswith("."):  # noqa: PTH119 - it may be no text
        return OTHERS
    if UNSOUND.search(path):
        return "files whose names are no text"
    return "links, which are not followed" if os.path.islink(path) else ""  # noqa: PTH114 - it may be no text


def facts_of(found: FoundFile) -> Facts:
    """Return what is kept of a file, after a look at all of its pixels; this process need not look again."""
    try:
        seen = probe(found.data)
    except PictureError as error:
        return Facts(found.sha256, None, None, None, None, len(found.data), error.message)
    note_opened(found.path, found.stamp, found.sha256)
    taken = None if seen.taken_at is None else seen.taken_at.isoformat(" ")
    problem = None if is_printed(found.path) else UNPRINTED
    return Facts(found.sha256, seen.width, seen.height, seen.mime_type, taken, seen.size, problem)
