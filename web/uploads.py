"""Files that were dropped on the page: each stays on disk, as it came, until it went in or was given up.

They are in a folder of this process, which takes it away at its end; what a killed one left goes at the next start.
"""

import re
import secrets
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PureWindowsPath
from typing import Any

from starlette.concurrency import run_in_threadpool

from pipeline.core import files
from pipeline.core.declaration import AS_IT_IS, ReadOptions
from pipeline.engine.task_template import TableGuess
from pipeline.tables.row_import import ImportReport
from web.background_work import BackgroundJob
from web.errors import RequestRefused

FOLDER = "dropped"  # in a workspace
_STRANGE = re.compile(r"[^\w .,()+@-]")
_LONGEST = 80  # characters of a name that are kept, the last ones


STATES = {  # of a file, while a step is under way, and after it went well or failed
    "read": ("reading", "ready", "unreadable"),
    "try": ("trying", "ready", "ready"),
    "import": ("importing", "imported", "failed"),
    "keep": ("importing", "imported", "failed"),
}


@dataclass
class UploadedFile:
    """One file: for which task, where it is, what its columns mean (as MAP= says), how it is read, what was made of it.

    `work` does the last `step`, `found` is what reading it told, `done` what its import did, `first` are its first
    rows. Of a new task `guess` says what its columns are, and `tried` is what came of what was `asked` about a few
    rows; `made` is what it is called where it was kept as a task.
    """

    number: int
    task: str
    path: Path
    mapping: str = ""
    reading: ReadOptions = AS_IT_IS
    step: str = "read"
    work: BackgroundJob | None = field(default=None, repr=False)
    found: ImportReport | None = field(default=None, repr=False)
    done: ImportReport | None = field(default=None, repr=False)
    first: list[dict[str, Any]] = field(default_factory=list, repr=False)
    guess: TableGuess | None = field(default=None, repr=False)
    asked: dict[str, str] = field(default_factory=dict, repr=False)
    tried: BackgroundJob | None = field(default=None, repr=False)
    made: str = ""

    @property
    def state(self) -> str:
        """Return how far it is."""
        running, done, failed = STATES[self.step]
        return {"done": done, "failed": failed}.get(self.work.state if self.work else "", running)

    @property
    def document(self) -> dict[str, Any]:
        """Return it for programs; all paths are the file's name."""
        told: dict[str, Any] = {
            one: getattr(self, one) for one in ("number", "task", "state", "first")
        }
        told |= {"name": self.path.name, "made": self.made or None, "found": None, "done": None}
        for name, report in (("found", self.found), ("done", self.done)):
            if report:
                told[name] = report.document | {
                    "path": self.path.name,
                    "rows_in": report.rows_in,
                    "notes": report.notes,
                }
        error = (self.work.error if self.work else None) or {}
        said = {
            one: text.replace(str(self.path), self.path.name) if isinstance(text, str) else text
            for one, text in error.items()
        }
        return told | {
            "error": said or None,
            "columns": list(self.found.columns) if self.found else [],
        }


class Uploads:
    """The files of one page."""

    def __init__(self, data: Path) -> None:
        self._folder = files.part_of(data / FOLDER / "page")
        # Begins anywhere: a tab that outlived a page that was served here before has the number of no file of this one.
        self._numbers = count(secrets.randbits(32))
        self._all: dict[int, UploadedFile] = {}

    def sweep(self) -> None:
        """Remove what dead processes left."""
        for part in self._folder.parent.glob("*"):
            if part.is_dir() and files.is_abandoned(part):
                shutil.rmtree(part, ignore_errors=True)

    async def keep(
        self,
        task: str,
        name: str,
        body: AsyncIterator[bytes],
        *,
        mapping: str,
        reading: ReadOptions,
    ) -> UploadedFile:
        """Write a file to the disk as it comes; of half a file nothing stays.

        Raises:
            Refused: there is no room on the disk.
        """
        number = next(self._numbers)
        plain = _STRANGE.sub("_", PureWindowsPath(name).name).strip(" .")[-_LONGEST:]
        path = self._folder / str(number) / (plain or "file")
        try:
            with files.SealedWriter(path) as writer:
                async for piece in body:
                    await run_in_threadpool(writer.write, piece)
                await run_in_threadpool(writer.seal)
        except OSError as error:
            said = f"the file cannot be kept here: {error.strerror}; nothing of it was"
            raise RequestRefused(507, said, hint="make room, and drop it again") from error
        finally:
            if not path.is_file():
                shutil.rmtree(path.parent, ignore_errors=True)
        found = self._all[number] = UploadedFile(number, task, path, mapping, reading)
        return found

    def get(self, number: int) -> UploadedFile:
        """Return one by its number.

        Raises:
            Refused: there is none, or it was given up.
        """
        found = self._all.get(number)
        if found is None:
            said = (
                f"there is no dropped file {number}; it was given up, or the page was started again"
            )
            raise RequestRefused(404, said, hint="drop it again")
        return found

    def remove(self, number: int) -> None:
        """Give one up: the file is gone, and what was read of it is forgotten; Refused while it is imported."""
        if (found := self.get(number)).state == "importing":
            raise RequestRefused(
                409, "the file is being imported; nothing was changed", hint="look at it again"
            )
        shutil.rmtree(self._all.pop(found.number).path.parent, ignore_errors=True)

    def settle(self, dropped: UploadedFile, done: ImportReport | None = None) -> None:
        """Keep what an import did, without the rows that it tells of; the file is gone."""
        if done is not None:
            done.findings.clear()
            done.groups.clear()
        dropped.done, dropped.found = done, None
        shutil.rmtree(dropped.path.parent, ignore_errors=True)

    def close(self) -> None:
        """Remove all."""
        shutil.rmtree(self._folder, ignore_errors=True)
