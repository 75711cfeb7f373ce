"""Import the images below a folder: their paths, sizes and times, and of those that cannot be asked about, why.

Doing it again changes nothing. A file whose bytes changed is looked at again, a moved one is known by their hash, and
one that is broken stays so until its bytes change.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from pipeline.core.errors import InputError
from pipeline.engine.workspace import OpenWorkspace
from pipeline.images import ASSETS, TASK
from pipeline.images.scan import FolderScan, FoundFile, facts_of
from pipeline.images.schema import assets_table
from pipeline.store import answers, claims, workspace
from pipeline.tables.rows import refusals

if TYPE_CHECKING:
    from pipeline.store.database import Connection

BLOCK, BLOCK_BYTES = 200, 64 * 2**20  # files and their bytes that are in memory at a time, and one file more
SHOWN = 1_000  # broken files that a report names


@dataclass
class ImagesImportReport:
    """What an import of a folder did, in files; `broken` are among those that stand in the table now.

    `released` were parked before, and have other bytes.

    `left_out` counts what is no image of the folder, by why; `broken_files` are the first thousand, with the reasons.
    """

    folder: str
    added: int = 0
    updated: int = 0
    moved: int = 0
    unchanged: int = 0
    broken: int = 0
    released: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    broken_files: list[tuple[str, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Return how many files of the folder stand in the table now."""
        return self.added + self.updated + self.moved + self.unchanged

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
        """Raise where the folder holds no image.

        Raises:
            InputError: it holds none; nothing was changed.
        """
        if not self.total:
            raise InputError(f"{self.folder} holds no image; nothing was changed", hint="FOLDER= names one with images")


def run(ws: OpenWorkspace, folder: Path) -> ImagesImportReport:
    """Import the images below a folder, some at a time; `check` of the report raises where there are none.

    Raises:
        InputError: it is no folder.
    """
    done, scan = ImagesImportReport(str(folder)), FolderScan(folder)
    with ws.display.bar("importing", None) as bar:
        for some in _blocks(scan):
            with ws.store.write() as tx, refusals(ASSETS):
                _take(tx, some, done)
            bar.show(done.total)
    done.left_out = {why: count for why, count in scan.left_out.items() if count}
    if done.added or done.updated or done.moved:
        with ws.store.write() as tx:
            said = f"{done.added} added, {done.updated} updated, {done.moved} moved, {done.broken} broken"
            workspace.record_event(tx, "import", str(folder), old=None, new=said, why="import", at=ws.now())
    return done


def _blocks(scan: FolderScan) -> Iterator[list[FoundFile]]:
    """Yield the files some at a time."""
    some: list[FoundFile] = []
    for one in scan.files():
        some.append(one)
        if len(some) == BLOCK or sum(len(each.data) for each in some) > BLOCK_BYTES:
            yield some
            some = []
    yield some


def _take(tx: "Connection", some: Sequence[FoundFile], done: ImagesImportReport) -> None:
    """Write what some files are."""
    assets = assets_table()
    by_path = _known(tx, assets.c.path, [one.path for one in some])
    gone = {
        row["hash"]: row
        for row in _known(tx, assets.c.hash, [one.sha256 for one in some]).values()
        if not os.path.lexists(str(row["path"]))
    }
    changed: list[str] = []
    for one in some:
        row = by_path.get(one.path)
        moved = gone.pop(one.sha256, None) if row is None else None
        if row is not None and row["hash"] == one.sha256:
            done.unchanged += 1
            done.tell(one.path, row["problem"])
            continue
        facts = facts_of(one)
        done.tell(one.path, facts.problem)
        there = row or moved
        if there is None:
            tx.execute(insert(assets).values(path=one.path, **facts._asdict()))
            done.added += 1
            continue
        tx.execute(update(assets).where(assets.c.id == there["id"]).values(path=one.path, **facts._asdict()))
        done.moved += moved is not None
        done.updated += moved is None
        changed += [] if moved else [str(there["id"])]
    free = set(changed) - set(claims.claimed_among(tx, TASK, changed))
    done.released += len(answers.unpark(tx, TASK, ids=sorted(free)))


def _known(tx: "Connection", column: Any, values: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return the rows of `assets` whose cell of a column is one of these, by that cell."""
    rows = tx.execute(select(column.table).where(column.in_(values))).mappings()
    return {row[column.name]: dict(row) for row in rows}
