"""Sees every durable step of a process without its help: audit hooks, SQLite's trace, PostgreSQL's driver, the sockets.

That something begins is seen by hooks that no code can go around; that it is over, by what stands around the calls. A
call that nothing stands around is over, at the latest, when the next step begins. The product knows nothing of this.
Part of `mortal`.
"""

import io
import os
import re
import socket
import sqlite3
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import psycopg

from tests.acceptance.steps import FULL, LONGEST, ON_SERVER, Steps

WRITING: Final = os.O_WRONLY | os.O_RDWR
NOWHERE: Final = 9
# what is audited and which of its arguments are paths, each with where its folder's handle stands, if it takes one
CHANGES: Final[Mapping[str, tuple[tuple[int, int], ...]]] = {
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
    "os.link": ((0, 2), (1, 3)),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.truncate": ((0, NOWHERE),),
}
CALLS: Final = (
    "mkdir",
    "rename",
    "replace",
    "symlink",
    "link",
    "remove",
    "unlink",
    "rmdir",
    "truncate",
    "open",
)
MESSAGES: Final = ("send", "sendall", "sendmsg", "recv", "recv_into")
READING: Final = (
    *(
        "SELECT",
        "PRAGMA",
        "BEGIN",
        "ROLLBACK",
        "EXPLAIN",
        "SAVEPOINT",
        "RELEASE",
        "SET",
        "RESET",
        "SHOW",
        "ANALYZE",
    ),
    "--",
)
FILE: Final = re.compile(
    r"\b[\w-]+\.(?:jsonl?|index|csv|npy|sqlite)\b"
)  # what looks like the name of a file


def watch(steps: Steps) -> None:
    """Count every step of this process from here on."""
    for name in MESSAGES:
        setattr(socket.socket, name, _on_network(steps, name, getattr(socket.socket, name)))
    for name in CALLS:
        setattr(os, name, _told_afterwards(steps, getattr(os, name)))
    os.fsync, os.fdatasync = _synced(steps, os.fsync), _synced(steps, os.fdatasync)
    io.open = _opening(steps, io.open)  # what pathlib calls
    connect = sqlite3.connect
    connection = _connection_class(steps)

    def watched(*arguments: Any, **options: Any) -> Any:
        return connect(*arguments, **({"factory": connection} | options))

    sqlite3.connect = sqlite3.dbapi2.connect = watched
    _watch_server(steps)
    sys.addaudithook(_auditor(steps))


def _auditor(steps: Steps) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that counts what changes below the workspace's folder."""

    def hook(name: str, arguments: tuple[Any, ...]) -> None:
        if name in CHANGES:
            places = [_path(arguments, *where) for where in CHANGES[name]]
            if any(map(steps.is_ours, places)) and _changes_something(name, places[0]):
                steps.step(" ".join((name, *places)))
        elif name == "open" and _writes(arguments[2]) and steps.is_ours(str(arguments[0])):
            steps.step(f"open {arguments[0]}")

    return hook


def _connection_class(steps: Steps) -> type[sqlite3.Connection]:
    class Watched(sqlite3.Connection):
        """A connection of which SQLite tells each statement before it runs; those that keep something are steps."""

        def __init__(self, database: Any, *arguments: Any, **options: Any) -> None:
            super().__init__(database, *arguments, **options)
            self._step = f"commit {Path(str(database)).name}"
            self._wrote = False
            self._names: list[str] = []  # files that what is not committed yet names
            if steps.folder in str(database):
                _limit(self, str(database), steps.fate.pages)
                self.set_trace_callback(self._tell)

        def _tell(self, statement: str) -> None:
            """Count a commit of something, also that of a statement outside a transaction."""
            words = statement.lstrip().upper()
            self._wrote = self._wrote and self.in_transaction
            writes = words.startswith("PRAGMA JOURNAL_MODE =") or not words.startswith(
                (*READING, "COMMIT")
            )
            self._names = _named(self._names, statement, goes_on=self.in_transaction, writes=writes)
            commits = words.startswith("COMMIT") and self._wrote and steps.fate.how != FULL
            if commits or (writes and not self.in_transaction):
                steps.more = _naming(self._names)
                steps.step(self._step)
            self._wrote = self._wrote or writes

        def commit(self) -> None:
            """Commit, and tell; on a full disk, which a trace cannot object to, as SQLite does it."""
            if steps.fate.how == FULL and self._wrote and self.in_transaction:
                try:
                    steps.step(self._step)
                except OSError as error:
                    raise sqlite3.OperationalError("database or disk is full") from error
            super().commit()
            steps.done()

        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            cursor = super().execute(*arguments)
            if arguments[0].startswith("COMMIT"):
                steps.done()
            return cursor

    return Watched


def _watch_server(steps: Steps) -> None:
    """Count what is committed on a PostgreSQL server: the end of a transaction in which something was written."""
    wrote: WeakKeyDictionary[psycopg.Connection[Any], list[str]] = WeakKeyDictionary()
    execute = psycopg.Cursor.execute
    many = psycopg.Cursor.executemany
    copy = psycopg.Cursor.copy
    commit = psycopg.Connection.commit
    rollback = psycopg.Connection.rollback

    def noted(call: Callable[..., Any]) -> Callable[..., Any]:
        def run(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
            words = query.decode() if isinstance(query, bytes) else str(query)
            if not words.lstrip().upper().startswith(READING):
                names = wrote.setdefault(cursor.connection, [])
                names += FILE.findall(f"{words} {arguments}")
            return call(cursor, query, *arguments, **options)

        return run

    def committed(connection: Any) -> None:
        if connection in wrote:
            steps.more = _naming(wrote.pop(connection))
            steps.step(ON_SERVER)
        commit(connection)
        steps.done()

    def undone(connection: Any) -> None:
        wrote.pop(connection, None)
        rollback(connection)

    changed: Any = psycopg.Cursor
    changed.execute, changed.executemany, changed.copy = noted(execute), noted(many), noted(copy)
    changed = psycopg.Connection
    changed.commit, changed.rollback = committed, undone


def _named(before: list[str], statement: str, *, goes_on: bool, writes: bool) -> list[str]:
    """Return which files a transaction names after a statement."""
    return (before if goes_on else []) + (FILE.findall(statement) if writes else [])


def _naming(names: list[str]) -> str:
    return f"naming {' '.join(sorted({*names}))}" if names else ""


def _limit(connection: sqlite3.Connection, name: str, pages: int) -> None:
    """Let the workspace's database grow by so many pages and no more; by any number where it is negative."""
    if pages >= 0 and "findable.db" in name:
        has = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {has + pages}")


def _file_class(steps: Steps) -> type[io.FileIO]:
    class Told(io.FileIO):
        """A file whose every write is a step; on a disk that fills up, half of it is still written."""

        def write(self, data: Any) -> int:
            try:
                steps.step(f"write {self.name}")
            except OSError:
                super().write(bytes(data)[: len(data) // 2])
                raise
            written = super().write(data)
            steps.done()
            return written

    return Told


def _opening(steps: Steps, usual: Callable[..., Any]) -> Callable[..., Any]:
    """Return `io.open`, with files of ours that are written in bytes as ones whose every write is a step."""
    raw = _file_class(steps)

    def opened(file: Any, mode: str = "r", buffering: int = -1, *rest: Any, **options: Any) -> Any:
        if "b" in mode and set(mode) & set("wax+") and steps.is_ours(str(file)):
            found: Any = _buffered(raw(file, mode.replace("b", "")), mode, buffering)
        else:
            found = usual(file, mode, buffering, *rest, **options)
        steps.done()
        return found

    return opened


def _buffered(raw: io.FileIO, mode: str, buffering: int) -> io.RawIOBase | io.BufferedIOBase:
    if buffering == 0:
        return raw
    size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
    return io.BufferedRandom(raw, size) if "+" in mode else io.BufferedWriter(raw, size)


def _told_afterwards(steps: Steps, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of `os` that tells when it is over; that it begins is audited."""

    def told(*arguments: Any, **options: Any) -> Any:
        found = call(*arguments, **options)
        steps.done()
        return found

    return told


def _synced(steps: Steps, call: Callable[[Any], None]) -> Any:
    def synced(file: Any) -> None:
        path = _path_of(file if isinstance(file, int) else file.fileno())
        if steps.is_ours(path):
            steps.step(f"fsync {path}")
        call(file)
        steps.done()

    return synced


def _on_network(steps: Steps, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a socket method as a step; what a process says to itself is none.

    What is received in a row is one step: in how many pieces it comes is chance.
    """

    def counted(connection: socket.socket, *arguments: Any) -> Any:
        if connection.family not in {socket.AF_INET, socket.AF_INET6}:
            return call(connection, *arguments)
        if not (name.startswith("recv") and steps.last.startswith("recv")):
            steps.step(f"{name} {_first_line(name, arguments[0])}".strip())
        try:
            return call(connection, *arguments)
        finally:
            steps.done()

    return counted


def _first_line(name: str, said: Any) -> str:
    """Return the beginning of what is sent; nothing of what is received, which is not there yet."""
    if name.startswith("recv"):
        return ""
    data = b"".join(said) if name == "sendmsg" else said
    return bytes(data[:LONGEST]).split(b"\r\n")[0].decode("latin-1")


def _writes(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & WRITING)


def _changes_something(name: str, path: str) -> bool:
    """Return whether there is anything to do: a folder to make that is not there, a file to remove that is."""
    if name == "os.mkdir":
        return not os.path.lexists(path)
    return name not in {"os.remove", "os.rmdir"} or os.path.lexists(path)


def _path(arguments: tuple[Any, ...], place: int, handle: int) -> str:
    """Return an audited path, whole also where it was given below an open folder."""
    path = os.fsdecode(arguments[place]) if not isinstance(arguments[place], int) else ""
    folder = arguments[handle] if handle < len(arguments) else -1
    return f"{_path_of(folder)}/{path}" if isinstance(folder, int) and folder >= 0 else path


def _path_of(handle: int) -> str:
    return str(Path(f"/proc/self/fd/{handle}").readlink())
