"""Make small images for a list, and keep them in the workspace: by what the bytes of the large ones are.

It is a cache: what is not there is made again from the file, and all of it may be removed at any time.
"""

import contextlib
import os
import threading
from hashlib import sha256
from pathlib import Path

from pipeline.core.errors import InputError
from pipeline.core.files import seal_bytes
from pipeline.core.links import remove_link
from pipeline.engine.picture_source import ChangedError, read_file
from pipeline.engine.pictures import PictureError, prepare

FOLDER = "thumbnails"  # below the workspace
SIDES = (160, 320, 640)  # pixels of the longer side
QUALITY = 80
MOST = 100  # kept images of those whose hashes begin alike, in one of 256 folders; the oldest go
_MAKING = threading.Lock()  # one at a time: a large image takes 400 MB while it is scaled


def thumbnail(data: Path, path: str, digest: str, *, side: int) -> bytes:
    """Return the small JPEG of the image file at `path`, whose bytes had the SHA-256 `digest` when it was imported.

    `data` is the folder of the workspace, in which it is kept.

    Raises:
        PictureError: there is none, for the reason that the message says.
        InputError: images of that size are not made.
    """
    if side not in SIDES:
        raise InputError(f"thumbnails have {', '.join(map(str, SIDES))} pixels a side, and none has {side}")
    kept = data / FOLDER / digest[:2] / f"{digest}-{side}.jpg"
    with _MAKING if (found := _read(kept)) is None else contextlib.nullcontext():
        return found or _read(kept) or _make(kept, path, digest, side=side)


def drop_thumbnails(data: Path) -> None:
    """Remove all small images of a workspace; a link in their place goes, and not what it leads to."""
    remove_link(data / FOLDER)


def _make(kept: Path, path: str, digest: str, *, side: int) -> bytes:
    try:
        found = read_file(path)
    except OSError as error:
        raise PictureError(f"it cannot be read: {error.strerror}") from error
    whole = found[0] if found else b""
    if sha256(whole).hexdigest() != digest:
        raise ChangedError("it changed since it was imported; `make import-images` looks again")
    small = prepare(whole, side=side, quality=QUALITY).data
    with contextlib.suppress(OSError):  # one that cannot be kept is made again
        if _is_inside(kept):
            seal_bytes(kept, small)
            _bound(kept.parent)
    return small


def _read(kept: Path) -> bytes | None:
    try:
        found = read_file(kept) if _is_inside(kept) else None
    except (OSError, PictureError):
        return None
    return found[0] if found else None


def _is_inside(kept: Path) -> bool:
    data = kept.parents[2]
    return Path(os.path.realpath(kept)) == Path(os.path.realpath(data)) / kept.relative_to(data)


def _bound(folder: Path) -> None:
    with os.scandir(folder) as entries:
        made = sorted((entry.stat(follow_symlinks=False).st_mtime_ns, entry.path) for entry in entries)
    for _, path in made[: max(len(made) - MOST, 0)]:
        Path(path).unlink(missing_ok=True)
