"""Import the images below a folder: their paths, sizes and times, and of those that cannot be asked about, why.

Doing it again changes nothing. A file whose bytes changed is looked at again, a moved one is known by their hash, and
one that is broken stays so until its bytes change.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, or_, select, update

from pipeline.core.errors import InputError
from pipeline.engine.picture_source import UNPRINTED, is_printed
from pipeline.engine.pictures import NEEDS_HEIC, knows_heic
from pipeline.engine.workspace import OpenWorkspace
from pipeline.images import ASSETS, TASK
from pipeline.images.adopt import assets_table
from pipeline.images.scan import Facts, FolderScan, FoundFile, facts_of
from pipeline.store import asks, workspace
from pipeline.store.database import PAGE, pages, streamed
from pipeline.tables.rows import refusals

if TYPE_CHECKING:
    from pipeline.store.database import Connection

BLOCK, BLOCK_BYTES = 200, 64 * 2**20  # files and their bytes that are in memory at a time, and one file more
SHOWN = 1_000  # broken files that a report names
LOCK = "import-images"
GONE = "the file is not there any more"

Planned = tuple[FoundFile, Mapping[str, Any] | None, bool]  # a file, its row, and whether that stays as it is
Looked = tuple[FoundFile, Mapping[str, Any] | None, Facts | None]  # a file, its row, and what to write of it


@dataclass
class ImagesImportReport:
    """What an import of a folder did, in files; `broken` are among those that stand in the table now.

    `gone` are rows whose files were below the folder, and are not there any more; `released` were parked before, and
    have other bytes.

    `left_out` counts what is no image of the folder, by why; `broken_files` are the first thousand, with the reasons.
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
    broken_files: list[tuple[str, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Return how many files of the folder stand in the table now."""
        return self.added + self.updated + self.moved + self.unchanged

    @property
    def is_news(self) -> bool:
        """Return whether anything is another thing now."""
        return bool(self.added + self.updated + self.moved + self.gone)

    @property
    def summary(self) -> str:
        """Return what was done in a few words, for the event."""
        named = ("added", "updated", "moved", "gone", "broken")
        return ", ".join(f"{getattr(self, name)} {name}" for name in named)

    @property
    def document(self) -> dict[str, Any]:
        """Return the report for programs."""
        told = asdict(self)
        return told | {"broken_files": [{"path": path, "reason": why} for path, why in self.broken_files]}

    def tell(self, path: str, problem: str | None) -> None:
        """Count a file that is broken, and keep why while there is room."""
        self.broken += problem is not None
        if problem is not None and len(self.broken_files) < SHOWN:
            self.broken_files.append((path, problem))

    def check(self) -> None:
        """Raise where the folder holds no image, and never held one.

        Raises:
            InputError: it holds none; none was imported.
        """
        if not self.total + self.gone:
            raise InputError(f"{self.folder} holds no image; none was imported", hint="FOLDER= names one with images")


def run(ws: OpenWorkspace, folder: Path) -> ImagesImportReport:
    """Import the images below a folder, some at a time; `check` of the report raises where there are none.

    With REFRESH=1 broken ones are opened again.

    Raises:
        InputError: it is no folder.
    """
    done, scan = ImagesImportReport(str(folder)), FolderScan(folder)
    with ws.lock(LOCK), ws.display.bar("importing", None) as bar:
        for some in _blocks(scan):
            with ws.store.read() as tx:
                planned = _plan(tx, some, is_refreshed=ws.settings.refresh)
            looked = [(one, row, None if is_same else facts_of(one)) for one, row, is_same in planned]
            with ws.store.write() as tx, refusals(ASSETS):
                _write(tx, looked, done)
            bar.show(done.total)
        with ws.store.write() as tx, refusals(ASSETS):
            done.gone = _mark_gone(tx, os.path.realpath(folder))
            if done.is_news:
                workspace.record_event(tx, "import", str(folder), old=None, new=done.summary, why="import", at=ws.now())
    done.left_out = {why: count for why, count in scan.left_out.items() if count}
    return done


def _blocks(scan: FolderScan) -> Iterator[list[FoundFile]]:
    some: list[FoundFile] = []
    for one in scan.files():
        some.append(one)
        if len(some) == BLOCK or sum(len(each.data) for each in some) > BLOCK_BYTES:
            yield some
            some = []
    yield some


def _plan(tx: "Connection", some: Sequence[FoundFile], *, is_refreshed: bool) -> list[Planned]:
    """Return each file with the row that is its own, or was before it moved, and whether that stays as it is."""
    assets = assets_table()
    mine = {row["path"]: row for row in _known(tx, assets.c.path, [one.path for one in some])}
    known = _known(tx, assets.c.hash, [one.sha256 for one in some])
    left: dict[str, list[Mapping[str, Any]]] = {}  # equal files may have moved together
    for row in known:
        if not os.path.lexists(str(row["path"])):
            left.setdefault(row["hash"], []).append(row)
    found: list[Planned] = []
    for one in some:
        its_own = mine.get(one.path)
        if its_own is None:
            moved = left.get(one.sha256)
            found.append((one, moved.pop(0) if moved else None, False))
            continue
        problem = its_own["problem"]
        again = problem is not None and (is_refreshed or _is_mended(one.path, problem))
        found.append((one, its_own, its_own["hash"] == one.sha256 and not again))
    return found


def _is_mended(path: str, problem: str) -> bool:
    """Return whether what was wrong with a file that is there is so no more, though its bytes are the same."""
    mended = {GONE: True, NEEDS_HEIC: knows_heic(), UNPRINTED: is_printed(path)}
    return mended.get(problem, False)


def _write(tx: "Connection", looked: Sequence[Looked], done: ImagesImportReport) -> None:
    """Write what some files are, and let parked ones go again that have other bytes."""
    assets, changed = assets_table(), list[str]()
    for one, row, facts in looked:
        if facts is None:
            done.unchanged += 1
            done.tell(one.path, (row or {}).get("problem"))
            continue
        done.tell(one.path, facts.problem)
        if row is None:
            tx.execute(insert(assets).values(path=one.path, **facts._asdict()))
            done.added += 1
            continue
        tx.execute(update(assets).where(assets.c.id == row["id"]).values(path=one.path, **facts._asdict()))
        done.moved += row["path"] != one.path
        done.updated += row["path"] == one.path
        changed += [str(row["id"])] if row["hash"] != one.sha256 else []
    free = set(changed) - set(asks.claimed_among(tx, TASK, changed))
    done.released += len(asks.unpark(tx, TASK, ids=sorted(free)))


def _mark_gone(tx: "Connection", folder: str) -> int:
    """Mark the rows of files below a folder that are not there any more; return how many."""
    assets = assets_table()
    below = assets.c.path.startswith(f"{folder.rstrip('/')}/", autoescape=True)
    there = select(assets.c.id, assets.c.path).where(below, or_(assets.c.problem.is_(None), assets.c.problem != GONE))
    gone = [row.id for row in streamed(tx, there, page=PAGE) if not os.path.lexists(row.path)]
    for some in pages(gone):
        tx.execute(update(assets).where(assets.c.id.in_(some)).values(problem=GONE))
    return len(gone)


def _known(tx: "Connection", column: Any, values: Sequence[str]) -> list[Mapping[str, Any]]:
    there = column.table
    wanted = select(there).where(column.in_(values)).order_by(there.c.id)
    return [dict(row) for row in tx.execute(wanted).mappings()]
