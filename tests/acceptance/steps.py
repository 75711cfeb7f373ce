"""Counts the durable steps of a process and lets at one of them happen what was asked for. Part of `mortal`.

A step is something that stays when the process dies: a file of the workspace opened for writing, written, synced,
renamed, linked or removed, a folder made or removed, a commit, bytes sent, bytes received. Each is counted before it
happens; what was asked for at step n happens right before it, or right after it. `watching` sees them.
"""

import errno
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psycopg

QUIET: Final = ("-shm", "-wal", "-journal")  # SQLite's own files; it has its own step, the commit
TAKES_ROOM: Final = (
    "open",
    "os.mkdir",
    "os.rename",
    "os.symlink",
    "os.link",
    "write",
    "fsync",
    "commit",
)
ON_SERVER: Final = "commit on the server"
LONGEST: Final = 160  # of what is sent
FULL: Final = "FULL"
ROT: Final = "ROT"
SHORT: Final = "SHORT"
OTHER: Final = "OTHER"
CUT: Final = "CUT"
TO_CUT: Final = "DATABASE_TO_CUT"  # in the environment, where it is not the workspace's own


@dataclass(frozen=True)
class Fate:
    """What happens to a process: at step `at` (0: nothing), before or after it, the signal SIG`how`.

    Where `how` is ROT, a byte of the file that the step is about changes on the disk; where it is SHORT, the file's
    second half is gone; where it is OTHER, it holds what the file `other` holds, whose path begins at its folder. Where
    it is FULL, the disk is full from that step on, or at that step alone where `once`. Where it is CUT, the database's
    server ends all that is connected to the database. `pages`, where it is not negative, is how many pages the database
    may still grow by.
    """

    at: int = 0
    side: str = "before"
    how: str = "KILL"
    once: bool = False
    pages: int = -1
    other: str = ""


class Steps:
    """Counts the steps of this process, tells each to `record`, and lets its fate come true."""

    def __init__(self, record: Callable[[str], object], *, folder: str, fate: Fate) -> None:
        """Count from 0 what happens below `folder`, and on the network."""
        self.fate = fate
        self.folder = folder
        self._record = record
        self._count = 0
        self.last = ""  # step that was counted
        self.more = ""  # what is recorded behind the next one
        self._due = (
            False  # the step was taken, and what was asked for after it has not happened yet
        )
        self._lock = threading.RLock()

    def is_ours(self, path: str) -> bool:
        """Return whether a path is in the workspace and none of SQLite's own files."""
        return path.startswith(self.folder) and not path.endswith(QUIET)

    def step(self, what: str) -> None:
        """Count one step that is about to happen.

        Raises:
            OSError: the disk is full, as was asked for.
        """
        with self._lock:
            self.done()
            self._count += 1
            self.last = what
            self._record(f"{what} {self.more}".strip().replace("\n", " "))
            self.more = ""
            if self.fate.how == FULL:
                self._check_room(what)
            elif self._count == self.fate.at:
                self._due = True
                if self.fate.side == "before":
                    self.done()

    def done(self) -> None:
        """Let happen what was asked for after the step that is over now."""
        if not self._due:
            return
        self._due = False
        if self.fate.how in {ROT, SHORT, OTHER}:
            spoil(Path(self.last.rpartition(" ")[2]), self.fate.how, other=self.fate.other)
        elif self.fate.how == CUT:
            _cut(os.environ.get(TO_CUT) or os.environ["FINDABLE_DATABASE_URL"])
        else:
            os.kill(os.getpid(), signal.Signals[f"SIG{self.fate.how}"])

    def _check_room(self, what: str) -> None:
        reached = self._count == self.fate.at if self.fate.once else 0 < self.fate.at <= self._count
        if reached and what.startswith(TAKES_ROOM) and what != ON_SERVER:  # whose disk is another
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _cut(url: str) -> None:
    others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as server:
        server.execute(f"SELECT pg_terminate_backend(pid, 5000) {others}".encode())


def spoil(path: Path, how: str, *, other: str = "") -> None:
    """Damage a file as ROT, SHORT and OTHER do."""
    if how == OTHER:
        path.write_bytes((path.parent / other).read_bytes())
        return
    middle = path.stat().st_size // 2
    if how == SHORT:
        os.truncate(path, middle)
        return
    handle = os.open(path, os.O_RDWR)
    os.pwrite(handle, bytes([os.pread(handle, 1, middle)[0] ^ 1]), middle)
    os.close(handle)
