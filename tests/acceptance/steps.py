"""Count the durable steps of a process, and cause an event at one of them.

A step is a change that survives the process: a file of the workspace opened for writing, written,
synced, renamed, linked or removed, a folder created or removed, a commit, bytes sent, bytes
received. Each step is counted before it happens. The event of step n happens before or after the
step. `watching` detects the steps.
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

# SQLite's own files. The step of SQLite is the commit.
SQLITE_SUFFIXES: Final = ("-shm", "-wal", "-journal")
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
MAX_LINE_BYTES: Final = 160
FULL: Final = "FULL"
ROT: Final = "ROT"
SHORT: Final = "SHORT"
REPLACED: Final = "OTHER"
CUT: Final = "CUT"
# Variable with the database of a CUT, if it is not the workspace's own.
TO_CUT: Final = "DATABASE_TO_CUT"


@dataclass(frozen=True)
class Fate:
    """An event that happens to a process at a step.

    `how` names the event:

    - ROT: A byte changes in the file of the step.
    - SHORT: The second half of that file is cut off.
    - OTHER: The file gets the content of the file `other`.
    - FULL: The disk is full from that step on.
    - CUT: The server ends all connections to the database.
    - Another word: The process gets the signal SIG`how`.
    """

    # Number of the step; 0 means no event.
    step: int = 0
    # "before" or "after" the step.
    side: str = "before"
    event: str = "KILL"
    # A full disk is full at this step only.
    is_single_step: bool = False
    # Pages by which the database may still grow; negative means no limit.
    free_pages: int = -1
    # Path relative to the folder of the replaced file.
    replacement: str = ""


class Steps:
    """Count the steps of this process, pass each to `record`, and cause the event of its fate."""

    def __init__(self, record: Callable[[str], object], *, folder: str, fate: Fate) -> None:
        """Count from 0 the changes below `folder` and the messages on the network."""
        self.fate = fate
        self.folder = folder
        # The last counted step.
        self.last_step = ""
        # Text that is recorded after the next step.
        self.suffix = ""
        self._record = record
        self._count = 0
        # The step of an event was counted, and the event has not happened yet.
        self._has_pending_event = False
        self._lock = threading.RLock()

    def is_in_workspace(self, path: str) -> bool:
        """Return whether a path is in the workspace and is not one of SQLite's own files."""
        return path.startswith(self.folder) and not path.endswith(SQLITE_SUFFIXES)

    def step(self, description: str) -> None:
        """Count a step before it happens.

        Raises:
            OSError: The disk is full, as the fate says.
        """
        with self._lock:
            self.finish_step()
            self._count += 1
            self.last_step = description
            self._record(f"{description} {self.suffix}".strip().replace("\n", " "))
            self.suffix = ""
            if self.fate.event == FULL:
                self._check_room(description)
            elif self._count == self.fate.step:
                self._has_pending_event = True
                if self.fate.side == "before":
                    self.finish_step()

    def finish_step(self) -> None:
        """Cause the pending event of the finished step."""
        if not self._has_pending_event:
            return

        self._has_pending_event = False
        if self.fate.event in {ROT, SHORT, REPLACED}:
            path = Path(self.last_step.rpartition(" ")[2])
            damage_file(path, self.fate.event, replacement=self.fate.replacement)
        elif self.fate.event == CUT:
            _end_connections(os.environ.get(TO_CUT) or os.environ["ASKROWS_DATABASE_URL"])
        else:
            os.kill(os.getpid(), signal.Signals[f"SIG{self.fate.event}"])

    def _check_room(self, description: str) -> None:
        is_full = 0 < self.fate.step <= self._count
        if self.fate.is_single_step:
            is_full = self._count == self.fate.step
        # The database server has another disk.
        if is_full and description.startswith(TAKES_ROOM) and description != ON_SERVER:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _end_connections(url: str) -> None:
    """Make the server end all other connections to a database."""
    connections = (
        "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as server:
        server.execute(f"SELECT pg_terminate_backend(pid, 5000) {connections}".encode())


def damage_file(path: Path, event: str, *, replacement: str = "") -> None:
    """Damage a file in one of the ways ROT, SHORT and OTHER."""
    if event == REPLACED:
        path.write_bytes((path.parent / replacement).read_bytes())
        return

    middle = path.stat().st_size // 2
    if event == SHORT:
        os.truncate(path, middle)
        return

    file = os.open(path, os.O_RDWR)
    changed_byte = os.pread(file, 1, middle)[0] ^ 1
    os.pwrite(file, bytes([changed_byte]), middle)
    os.close(file)
