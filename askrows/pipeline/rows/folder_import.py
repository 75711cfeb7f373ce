"""Import the images below a folder into the table of a task with a `Folder`.

- Every regular file is read once. Links are not followed.
- A file is an image if its name ends like an image's, even if it is broken. Other files are images
  if they begin like an image.
- Repeating an import changes nothing. A file with other bytes and a broken file are inspected
  again, and a moved file is recognized by its hash.
"""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Table, insert, or_, select, update

from askrows.pipeline.core.command_hint import HintTemplate
from askrows.pipeline.core.declaration import GONE_FILE
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.files import check_path_is_no_address, require_utf8_path
from askrows.pipeline.core.text import INVALID_TEXT
from askrows.pipeline.rows.folder_files import make_file_table, make_import_hint
from askrows.pipeline.rows.pictures import (
    UNPRINTABLE_NAME_REASON,
    FileChangedError,
    NoFileError,
    PictureError,
    inspect_image,
    is_printable_path,
    read_image_file,
)
from askrows.pipeline.rows.refusals import translate_refusals
from askrows.pipeline.rows.row_import import split_into_blocks
from askrows.pipeline.store import claims
from askrows.pipeline.store.database import (
    PAGE_ROWS,
    Connection,
    split_into_pages,
    stream_rows,
)
from askrows.pipeline.store.task_record import TaskRecord
from askrows.pipeline.store.workspace import find_task_record, record_event, update_task_record
from askrows.pipeline.workspace.open_workspace import OpenWorkspace

# Limits of the files that are in memory together. A last file may exceed the bytes.
MAX_BLOCK_FILES = 200
MAX_BLOCK_BYTES = 64 * 2**20
LOCK = "import-images"
IMAGE_SUFFIXES = (
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
    ".svg",
)
_IMAGE_MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG|GIF8|RIFF....WEBP|BM|II\*\0|MM\0\*|....ftyp(?:avif|hei|hev|mif)",
    re.DOTALL,
)
# Reasons for skipping files, in the plural.
OTHER_FILES = "other files"
BAD_NAMES = "files whose names are no text"
LINKS = "links, which are not followed"
UNREADABLE = "files and folders that cannot be read"
CHANGED_FILES = "files that changed meanwhile, which the next import takes"

Row = Mapping[str, Any]


@dataclass
class FolderImportReport:
    """Result of an import of a folder. All numbers count files."""

    folder: str
    added: int = 0
    # Files with other bytes than before, and files that were inspected again.
    updated: int = 0
    moved: int = 0
    unchanged: int = 0
    # Rows whose files were below the folder and were deleted.
    gone: int = 0
    # Files that cannot be asked about; they are also counted above.
    broken: int = 0
    # Parked images that were unparked, because they have other bytes.
    released: int = 0
    # Number of skipped files by reason.
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """The number of files of the folder that are in the table now."""
        return self.added + self.updated + self.moved + self.unchanged

    def require_image(self, task: str) -> None:
        """Check that the folder has or had an image; `task` is for the hint.

        Raises:
            InputError: It has no image, and no row of an earlier import is below it.
        """
        if not self.total + self.gone:
            raise InputError(
                f"{self.folder} contains no image; nothing was imported",
                hint=_make_folder_hint(task),
            )


class _ImageFile(NamedTuple):
    """A file that is an image, possibly broken."""

    path: str
    data: bytes
    sha256: str


# An image file with its row (None for a new image), and all cells to write except its path (None if
# the image is unchanged).
_Inspection = tuple[_ImageFile, Row | None, dict[str, Any] | None]


def _make_folder_hint(task: str) -> HintTemplate:
    return HintTemplate(
        "name a folder with images, as in `{}`", make_import_hint(task, has_folder=True)
    )


def check_folder(folder: Path, task: str) -> None:
    """Check that a path is a folder whose name can be stored; `task` is for the hint.

    Raises:
        InputError: It is not; nothing was imported.
    """
    require_utf8_path(folder)
    if not folder.is_dir():
        check_path_is_no_address(folder, "nothing was imported")
        raise InputError(
            f"{folder} is not a folder; nothing was imported", hint=_make_folder_hint(task)
        )


def sync_image_folder(
    workspace: OpenWorkspace, record: TaskRecord, folder: Path
) -> FolderImportReport:
    """Import the images below a folder, a block of files in each transaction.

    The folder is stored with the task, which sends only images of its stored folders. Reads all
    files and shows the progress. Rows of images are inserted or updated: a file that was moved
    keeps its row. Parked images with other bytes are unparked, except while a batch asks them. Rows
    below the folder whose files were deleted are marked. Links, hidden files and other skipped
    files are only counted. An event is recorded if rows changed. Waits until no other import of a
    folder runs. A folder without images is no error here: `require_image` of the report raises it.

    Args:
        record: The task, whose source is a `Folder`.
        folder: The folder.

    Raises:
        InputError: `folder` is not a folder, or its name cannot be stored.
        RefusedRowError: A rule of the table refuses a row; earlier blocks stay imported.
    """
    check_folder(folder, record.name)
    real_folder = os.path.realpath(folder)
    table = make_file_table(record.table)
    report = FolderImportReport(str(folder))
    skipped_counts = Counter[str]()
    blocks = split_into_blocks(
        _read_images(real_folder, skipped_counts),
        max_rows=MAX_BLOCK_FILES,
        size_of=lambda file: len(file.data),
        max_block_size=MAX_BLOCK_BYTES,
    )
    with workspace.wait_for_lock(LOCK), workspace.display.bar("importing", None) as bar:
        with workspace.store.write() as tx:
            _store_image_folder(tx, record.name, real_folder)
        for image_files in blocks:
            rows = workspace.store.query(_find_stored_rows, table, image_files)
            inspections = [
                (file, row, _make_cells_if_changed(file, row))
                for file, row in zip(image_files, rows, strict=True)
            ]
            with workspace.store.write() as tx, translate_refusals(table.name):
                _store_and_unpark_images(tx, table, inspections, report, task=record.name)
            bar.show(report.total)

        with workspace.store.write() as tx, translate_refusals(table.name):
            report.gone = _record_gone_files(tx, table, real_folder)
            if report.added or report.updated or report.moved or report.gone:
                record_event(
                    tx,
                    "import",
                    report.folder,
                    old=None,
                    new=f"{report.added} added, {report.updated} updated, {report.moved} moved, "
                    f"{report.gone} gone, {report.broken} broken",
                    reason="import",
                    now=workspace.now(),
                )
    report.left_out = {reason: count for reason, count in skipped_counts.items() if count}
    return report


def _store_image_folder(tx: Connection, task: str, folder: str) -> None:
    """Store a folder with a task, unless it is stored already.

    Args:
        folder: Absolute path without links.
    """
    record = find_task_record(tx, task)
    if record is not None and folder not in record.image_folders:
        update_task_record(tx, task, image_folders=[*record.image_folders, folder])


def _read_images(folder: str, skipped_counts: Counter[str]) -> Iterator[_ImageFile]:
    """Yield every image below a folder with its bytes, by folders, sorted by name.

    Links and hidden files are skipped, and hidden folders are not entered. Skipped files, links,
    and folders that cannot be read are added to `skipped_counts` by reason, hidden files as
    OTHER_FILES.
    """
    tree = os.walk(folder, onerror=lambda _: skipped_counts.update([UNREADABLE]))
    for directory, folders, names in tree:
        # The name of a link may contain bytes that are not text, so no Path is made of it.
        links = [name for name in folders if os.path.islink(f"{directory}/{name}")]  # noqa: PTH114
        skipped_counts[LINKS] += len(links)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = (
                OTHER_FILES
                if name.startswith(".")
                else _read_image_or_skip_reason(f"{directory}/{name}")
            )
            if isinstance(file, str):
                skipped_counts[file] += 1
            else:
                yield file


def _read_image_or_skip_reason(path: str) -> _ImageFile | str:
    """Read an image, or return the reason for skipping the file.

    A file is an image by its suffix, or else by its first bytes. Whether it can be decoded is not
    checked.

    Returns:
        The image with its bytes and hash; or a reason: BAD_NAMES, LINKS (a symbolic link is never
        followed), OTHER_FILES (not an image), or that it cannot be read or changed meanwhile.
    """
    if INVALID_TEXT.search(path):
        return BAD_NAMES
    if os.path.islink(path):  # noqa: PTH114 - as above
        return LINKS

    def is_image(head: bytes) -> bool:
        return path.lower().endswith(IMAGE_SUFFIXES) or bool(_IMAGE_MAGIC.match(head))

    try:
        content = read_image_file(path, accepts_head=is_image)
    except (FileNotFoundError, FileChangedError):
        return CHANGED_FILES
    except (NoFileError, OSError):
        return UNREADABLE
    if content is None:
        return OTHER_FILES
    data = content[0]
    return _ImageFile(path, data, hashlib.sha256(data).hexdigest())


def _find_stored_rows(
    tx: Connection, table: Table, image_files: Sequence[_ImageFile]
) -> list[Row | None]:
    """Return the stored row of each file, in their order; None for a new file.

    It is the row with the path of the file. Otherwise the file may have been moved: then it is a
    row with the same hash, whose own file does not exist any more. If several files have this hash,
    each such row is returned for only one of them.
    """
    paths = [file.path for file in image_files]
    row_by_path = {row["path"]: row for row in _read_rows_by_values(tx, table.c.path, paths)}
    # Several files with the same bytes can have moved together.
    moved_rows_by_hash: dict[str, list[Row]] = {}
    for equal_row in _read_rows_by_values(tx, table.c.hash, [file.sha256 for file in image_files]):
        if not os.path.lexists(str(equal_row["path"])):
            moved_rows_by_hash.setdefault(equal_row["hash"], []).append(equal_row)

    rows: list[Row | None] = []
    for file in image_files:
        row = row_by_path.get(file.path)
        moved_rows = moved_rows_by_hash.get(file.sha256)
        if row is None and moved_rows:
            row = moved_rows.pop(0)
        rows.append(row)
    return rows


def _read_rows_by_values(tx: Connection, column: Any, values: Sequence[str]) -> list[Row]:
    query = select(column.table).where(column.in_(values)).order_by(column.table.c.id)
    return [dict(row) for row in tx.execute(query).mappings()]


def _make_cells_if_changed(file: _ImageFile, row: Row | None) -> dict[str, Any] | None:
    """Return the cells of a file except its path; None if its row is up to date.

    A row is up to date if it has the path and the hash of the file, and its problem if there is
    any. A problem may be solved without a change of the file, by another decoder.
    """
    is_same = row is not None and row["path"] == file.path and row["hash"] == file.sha256
    if row is not None and is_same and row["problem"] is None:
        return None

    cells = _decode_image_and_make_cells(file)
    if row is not None and is_same and row["problem"] == cells["problem"]:
        return None
    return cells


def _decode_image_and_make_cells(file: _ImageFile) -> dict[str, Any]:
    """Decode an image, and return its cells except the path.

    The cells are hash, size in bytes, problem, width and height in pixels, format, and the time at
    which the image was taken. A broken image has only hash, size and problem; the others are None.
    An image whose name cannot be printed has this problem and all other cells.
    """
    cells: dict[str, Any] = {
        "hash": file.sha256,
        "bytes": len(file.data),
        "problem": None if is_printable_path(file.path) else UNPRINTABLE_NAME_REASON,
        "width": None,
        "height": None,
        "format": None,
        "taken_at": None,
    }
    try:
        picture = inspect_image(file.data)
    except PictureError as error:
        return {**cells, "problem": error.message}

    cells |= {"width": picture.width, "height": picture.height, "format": picture.mime_type}
    if picture.taken_at is not None:
        cells["taken_at"] = picture.taken_at.isoformat(" ")
    return cells


def _store_and_unpark_images(
    tx: Connection,
    table: Table,
    inspections: Sequence[_Inspection],
    report: FolderImportReport,
    *,
    task: str,
) -> None:
    """Insert and update the rows of images, and unpark images with other bytes.

    The row of an unchanged image is not written. Images that a batch asks now are not unparked.
    Runs in the caller's transaction.

    Adds to the counts of `report`. Every image with a problem counts as broken, changed or not.
    """
    changed_ids: list[str] = []
    for file, row, new_cells in inspections:
        problem = (new_cells or row or {}).get("problem")
        if problem is not None:
            report.broken += 1

        if new_cells is None:
            report.unchanged += 1
        elif row is None:
            tx.execute(insert(table).values(path=file.path, **new_cells))
            report.added += 1
        else:
            statement = update(table).where(table.c.id == row["id"])
            tx.execute(statement.values(path=file.path, **new_cells))
            is_moved = row["path"] != file.path
            report.moved += is_moved
            report.updated += not is_moved
            if row["hash"] != file.sha256:
                changed_ids.append(str(row["id"]))

    unclaimed_ids = set(changed_ids) - set(claims.filter_claimed_ids(tx, task, changed_ids))
    report.released += len(claims.unpark_and_forgive(tx, task, row_ids=sorted(unclaimed_ids)))


def _record_gone_files(tx: Connection, table: Table, folder: str) -> int:
    """Store the problem GONE_FILE for rows below a folder whose files were deleted.

    A file that exists and cannot be read counts as present.

    Args:
        folder: Absolute path of the folder.

    Returns:
        The number of rows that were marked now; rows that were marked before do not count.
    """
    is_inside_folder = table.c.path.startswith(f"{folder.rstrip('/')}/", autoescape=True)
    is_unmarked = or_(table.c.problem.is_(None), table.c.problem != GONE_FILE)
    query = select(table.c.id, table.c.path).where(is_inside_folder, is_unmarked)
    gone_ids = [
        row.id for row in stream_rows(tx, query, page=PAGE_ROWS) if not os.path.lexists(row.path)
    ]
    for page in split_into_pages(gone_ids):
        statement = update(table).where(table.c.id.in_(page))
        tx.execute(statement.values(problem=GONE_FILE))
    return len(gone_ids)
