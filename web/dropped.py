"""Files that were dropped on the page: each stays on disk, as it came, until it went in or was given up.

A file is in a folder of this process, which takes it away at its end; what a killed one left goes at the next start.
"""

import re
import secrets
import shutil
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PureWindowsPath
from typing import Any

from starlette.concurrency import run_in_threadpool

from pipeline.core import files
from pipeline.core.links import staging_of, sweep_staging
from pipeline.tables.findings import ImportReport
from pipeline.tables.mapping import ColumnMapping
from web.problem import Refused
from web.running import Work

FOLDER = "dropped"  # in a workspace
KEPT = 8  # files that are there at once
PIECE = 1 << 20  # bytes that are written at once
_STRANGE = re.compile(r"[^\w .,()+@-]")
_LONGEST = 80  # characters of a name that are kept, the last ones


@dataclass
class DroppedFile:
    """One file: for which task, where it is, what its columns are to mean (as MAP= says it), and what was made of it.

    `work` reads or imports it, `found` is what reading it told, `done` what its import did. `unread` is what its names
    were taken for where that was not enough to read it.
    """

    number: int
    task: str
    path: Path
    size: int
    mapping: str = ""
    work: Work | None = field(default=None, repr=False)
    is_import: bool = False  # of `work`: it imports
    unread: ColumnMapping | None = field(default=None, repr=False)
    found: ImportReport | None = field(default=None, repr=False)
    done: ImportReport | None = field(default=None, repr=False)

    @property
    def called(self) -> str:
        """Return its name, with the digits of its number that tell it from others that are here."""
        return f"{self.path.name} (file {self.number % 1000})"

    @property
    def state(self) -> str:
        """Return how far it is: reading, unreadable, ready, importing, failed, imported."""
        now = self.work.state if self.work else "running"
        if self.is_import:
            return {"running": "importing", "done": "imported"}.get(now, "failed")
        return {"running": "reading", "done": "ready"}.get(now, "unreadable")

    @property
    def document(self) -> dict[str, Any]:
        """Return it for programs; all paths are the file's name."""
        mapping = self.found.mapping if self.found else self.unread
        return {
            "number": self.number,
            "task": self.task,
            "name": self.path.name,
            "size": self.size,
            "state": self.state,
            "columns": [one._asdict() for one in mapping.listed] if mapping else [],
            "names": list(mapping.names) if mapping else [],
            "found": self._told(self.found),
            "done": self._told(self.done),
            "error": self._error,
            "work": self.work.number if self.work else None,
        }

    def _told(self, report: ImportReport | None) -> dict[str, Any] | None:
        if report is None:
            return None
        return {**report.document, "path": self.path.name, "rows_in": report.rows_in, "notes": report.notes}

    @property
    def _error(self) -> dict[str, Any] | None:
        """Return what went wrong last, without the place where the file is kept."""
        error = self.work.error if self.work else None
        if error is None:
            return None
        long, short = str(self.path), self.path.name
        return {name: one.replace(long, short) if isinstance(one, str) else one for name, one in error.items()}


class DroppedFiles:
    """The files of one page."""

    def __init__(self, data: Path) -> None:
        """Keep them below a workspace; nothing is made there yet."""
        self._place = data / FOLDER / "page"
        self._folder: Path | None = None
        # Begins anywhere: a tab that outlived a page that was served here before has the number of no file of this one.
        self._numbers, self._lock = count(secrets.randbits(32)), threading.Lock()
        self._all: dict[int, DroppedFile] = {}

    def sweep(self) -> None:
        """Remove what dead processes left."""
        sweep_staging(self._place)

    async def keep(self, task: str, name: str, body: AsyncIterator[bytes]) -> DroppedFile:
        """Write a file to the disk as it comes; of half a file nothing stays.

        Raises:
            Refused: there are as many already as may be, or there is no room on the disk.
        """
        number = next(self._numbers)
        path = await run_in_threadpool(self._path, number, name)
        try:
            size = await _written(path, body)
        except OSError as error:
            said = f"the file cannot be kept here: {error.strerror}; nothing of it was"
            raise Refused(507, said, hint="make room, and drop it again") from error
        finally:
            if not path.is_file():
                shutil.rmtree(path.parent, ignore_errors=True)
        found = DroppedFile(number, task, path, size)
        self._all[number] = found
        return found

    def has(self, number: int) -> bool:
        """Return whether one is here."""
        return number in self._all

    def get(self, number: int) -> DroppedFile:
        """Return one by its number.

        Raises:
            Refused: there is none, or it was given up.
        """
        found = self._all.get(number)
        if found is None:
            said = f"there is no dropped file {number}; it was given up, or the page was started again"
            raise Refused(404, said, hint="drop it again")
        return found

    def every(self) -> list[DroppedFile]:
        """Return all, oldest first."""
        return list(self._all.values())

    def remove(self, number: int) -> None:
        """Give one up: the file is gone, and what was read of it is forgotten."""
        found = self._all.pop(number)
        shutil.rmtree(found.path.parent, ignore_errors=True)

    def settle(self, dropped: DroppedFile, done: ImportReport) -> None:
        """Keep what an import did, without the rows that it tells of; the file is gone."""
        done.findings.clear()
        done.groups.clear()
        dropped.done, dropped.found, dropped.unread = done, None, None
        shutil.rmtree(dropped.path.parent, ignore_errors=True)

    def close(self) -> None:
        """Remove all."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            with suppress(OSError):  # another page has files there
                self._folder.parent.rmdir()

    def _path(self, number: int, name: str) -> Path:
        """Return where a file of that name is kept."""
        with self._lock:
            over = [one.number for one in self._all.values() if one.state == "imported"]
            for old in over[:-KEPT]:
                self.remove(old)
            if len(self._all) - len(over) >= KEPT:
                said = f"{KEPT} files are here already; nothing of this one was kept"
                raise Refused(409, said, hint="import one of them, or give it up")
            if self._folder is None:
                self._folder = staging_of(self._place)
        plain = _STRANGE.sub("_", PureWindowsPath(name).name).strip(" .")[-_LONGEST:]
        return self._folder / str(number) / (plain or "file")


async def _written(path: Path, body: AsyncIterator[bytes]) -> int:
    """Write what comes to a file, which is there once it is whole; return how many bytes it has."""
    with files.SealedWriter(path) as writer:
        held = bytearray()
        async for piece in body:
            held += piece
            if len(held) >= PIECE:
                await run_in_threadpool(writer.write, bytes(held))
                held.clear()
        writer.write(bytes(held))
        return (await run_in_threadpool(writer.seal)).size
