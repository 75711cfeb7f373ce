"""Import the images below a folder: their paths, sizes and times, and of those that cannot be asked about, why.

Every regular file is read once, whatever its name; links are never followed. A file that is called as images are is
one, broken or not; of others only those that begin as images do. Doing it again changes nothing: a file whose bytes
changed is looked at again, a moved one is known by their hash, and one that is broken stays so until its bytes change.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import insert, or_, select, update

from pipeline.core.command_hint import HintTemplate, OptionHint
from pipeline.core.errors import InputError
from pipeline.core.files import check_named_in_utf8
from pipeline.core.text import UNSOUND
from pipeline.engine.pictures import (
    NEEDS_HEIC,
    UNPRINTED,
    ChangedError,
    NoFileError,
    PictureError,
    is_printed,
    knows_heic,
    probe,
    read_file,
)
from pipeline.engine.workspace import WorkspaceSession
from pipeline.images import ASSETS, TASK
from pipeline.images.table import assets
from pipeline.store import claims, workspace
from pipeline.store.database import PAGE, Connection, pages, streamed
from pipeline.tables.lists import refusals
from pipeline.tables.row_import import in_blocks

BLOCK = 200  # files and their bytes that are in memory at a time, and one file more
BLOCK_BYTES = 64 * 2**20
SHOWN = 1_000  # broken files that a report names
LOCK = "import-images"
HINT = HintTemplate("{} names one with images", OptionHint("folder"))
GONE = "the file is not there any more"  # as the declaration leaves them out
ENDINGS = (
    *(
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".gif",
        ".webp",
        ".bmp",
        ".tif",
        ".tiff",
        ".avif",
        ".heic",
        ".heif",
    ),
    ".svg",
)
_MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|BM|II\*\0|MM\0\*|....ftyp(?:avif|hei|hev|mif)",
    re.DOTALL,
)
OTHERS = "other files"  # why something is left out, in words for several
LINKS = "links, which are not followed"
UNREAD = "files and folders that cannot be read"
CHANGED = "files that changed meanwhile, which the next import takes"

Row = Mapping[str, Any]


@dataclass
class ImagesImportReport:
    """What an import of a folder did, in files; `broken` are among those that stand in the table now.

    `gone` are rows whose files were below the folder, and are not there any more; `released` were parked before, and
    have other bytes. `left_out` counts what is no image of the folder, by why; `broken_files` are the first thousand.
    """

    folder: str
    added: int = 0
    updated: int = 0
    moved: int = 0
    unchanged: int = 0
    gone: int = 0
    broken: int = 0
    released: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    broken_files: list[dict[str, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Return how many files of the folder stand in the table now."""
        return self.added + self.updated + self.moved + self.unchanged

    @property
    def document(self) -> dict[str, Any]:
        """Return the report for programs."""
        return asdict(self)

    def check(self) -> None:
        """Raise where the folder holds no image, and never held one."""
        if not self.total + self.gone:
            raise InputError(f"{self.folder} holds no image; none was imported", hint=HINT)


class _File(NamedTuple):  # that is, or is called, an image
    path: str
    data: bytes
    sha256: str


def check_folder(folder: Path) -> None:
    """Refuse what is no folder, or one whose name cannot be kept.

    It is an InputError; nothing was imported.
    """
    check_named_in_utf8(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; nothing was imported", hint=HINT)


def run(ws: WorkspaceSession, folder: Path) -> ImagesImportReport:
    """Import the images below a folder, some at a time; `check` of the report raises where there are none.

    With REFRESH=1 broken ones are opened again.
    """
    check_folder(folder)
    done = ImagesImportReport(str(folder))
    left_out = Counter[str]()
    with ws.lock(LOCK), ws.display.bar("importing", None) as bar:
        for some in in_blocks(
            _files(folder, left_out), most=BLOCK, size=lambda one: len(one.data), sizes=BLOCK_BYTES
        ):
            with ws.store.read() as tx:
                rows = _rows(tx, some)
            looked = [
                (
                    one,
                    row,
                    None if _is_same(one, row, is_refreshed=ws.settings.refresh) else _facts(one),
                )
                for one, row in zip(some, rows, strict=True)
            ]
            with ws.store.write() as tx, refusals(ASSETS):
                _write(tx, looked, done)
            bar.show(done.total)
        with ws.store.write() as tx, refusals(ASSETS):
            done.gone = _mark_gone(tx, os.path.realpath(folder))
            news = {name: getattr(done, name) for name in ("added", "updated", "moved", "gone")}
            if any(news.values()):
                summary = ", ".join(
                    f"{count} {name}" for name, count in {**news, "broken": done.broken}.items()
                )
                workspace.record_event(
                    tx, "import", str(folder), old=None, new=summary, why="import", at=ws.now()
                )
    done.left_out = {why: count for why, count in left_out.items() if count}
    return done


def _files(folder: Path, left_out: Counter[str]) -> Iterator[_File]:
    """Yield every file that is, or is called, an image, by folders, in the order of their names; count the others."""
    for place, folders, names in os.walk(
        os.path.realpath(folder), onerror=lambda _: left_out.update([UNREAD])
    ):
        left_out[LINKS] += sum(os.path.islink(f"{place}/{one}") for one in folders)  # noqa: PTH114 - it may be no text
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for name in sorted(names):
            found = OTHERS if name.startswith(".") else _read(f"{place}/{name}")
            if isinstance(found, str):
                left_out[found] += 1
            else:
                yield found


def _read(path: str) -> _File | str:
    """Return an image, or why a file is left out."""
    if UNSOUND.search(path):
        return "files whose names are no text"
    if os.path.islink(path):  # noqa: PTH114 - it may be no text
        return LINKS
    try:
        read = read_file(
            path, is_wanted=lambda head: path.lower().endswith(ENDINGS) or _MAGIC.match(head)
        )
    except (NoFileError, OSError) as error:
        return CHANGED if isinstance(error, FileNotFoundError) else UNREAD
    except ChangedError:
        return CHANGED
    return OTHERS if read is None else _File(path, read[0], hashlib.sha256(read[0]).hexdigest())


def _rows(tx: Connection, some: Sequence[_File]) -> list[Row | None]:
    """Return the row of each file that is its own, or was before it moved."""
    mine = {row["path"]: row for row in _known(tx, assets.c.path, [one.path for one in some])}
    left: dict[str, list[Row]] = {}  # equal files may have moved together
    for row in _known(tx, assets.c.hash, [one.sha256 for one in some]):
        if not os.path.lexists(str(row["path"])):
            left.setdefault(row["hash"], []).append(row)
    return [
        mine.get(one.path) or (left[one.sha256].pop(0) if left.get(one.sha256) else None)
        for one in some
    ]


def _known(tx: Connection, column: Any, values: Sequence[str]) -> list[Row]:
    wanted = select(column.table).where(column.in_(values)).order_by(column.table.c.id)
    return [dict(row) for row in tx.execute(wanted).mappings()]


def _is_same(one: _File, row: Row | None, *, is_refreshed: bool) -> bool:
    """Return whether a file's row stays as it is; what was wrong with it may be so no more, though its bytes are."""
    if row is None or row["path"] != one.path or row["hash"] != one.sha256:
        return False
    if row["problem"] is None:
        return True
    mended = {GONE: True, NEEDS_HEIC: knows_heic(), UNPRINTED: is_printed(one.path)}
    return not (is_refreshed or mended.get(row["problem"], False))


def _facts(found: _File) -> dict[str, Any]:
    facts = {
        "hash": found.sha256,
        "bytes": len(found.data),
        "problem": None if is_printed(found.path) else UNPRINTED,
    }
    try:
        seen = probe(found.data)
    except PictureError as error:
        return {
            **facts,
            **dict.fromkeys(("width", "height", "format", "taken_at")),
            "problem": error.message,
        }
    taken_at = None if seen.taken_at is None else seen.taken_at.isoformat(" ")
    return {
        **facts,
        "width": seen.width,
        "height": seen.height,
        "format": seen.mime_type,
        "taken_at": taken_at,
    }


def _write(
    tx: Connection,
    looked: Sequence[tuple[_File, Row | None, dict[str, Any] | None]],
    done: ImagesImportReport,
) -> None:
    changed = list[str]()
    for one, row, facts in looked:
        problem = (facts or row or {}).get("problem")
        done.broken += problem is not None
        if problem is not None and len(done.broken_files) < SHOWN:
            done.broken_files.append({"path": one.path, "reason": problem})
        if facts is None:
            done.unchanged += 1
        elif row is None:
            tx.execute(insert(assets).values(path=one.path, **facts))
            done.added += 1
        else:
            tx.execute(
                update(assets).where(assets.c.id == row["id"]).values(path=one.path, **facts)
            )
            done.moved += row["path"] != one.path
            done.updated += row["path"] == one.path
            changed += [str(row["id"])] if row["hash"] != one.sha256 else []
    free = set(changed) - set(claims.claimed_among(tx, TASK, changed))
    done.released += len(claims.unpark(tx, TASK, ids=sorted(free)))


def _mark_gone(tx: Connection, folder: str) -> int:
    below = assets.c.path.startswith(f"{folder.rstrip('/')}/", autoescape=True)
    there = select(assets.c.id, assets.c.path).where(
        below, or_(assets.c.problem.is_(None), assets.c.problem != GONE)
    )
    gone = [row.id for row in streamed(tx, there, page=PAGE) if not os.path.lexists(row.path)]
    for some in pages(gone):
        tx.execute(update(assets).where(assets.c.id.in_(some)).values(problem=GONE))
    return len(gone)
