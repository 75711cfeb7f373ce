"""Detect every durable step of a process without its help.

Hooks that no code can bypass detect the beginning of a step: audit hooks, SQLite's trace,
PostgreSQL's driver, and the sockets. Wrappers around the calls detect the end of a step. A call
without a wrapper counts as finished when the next step begins. The product has no code for this.
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

from tests.acceptance.steps import FULL, MAX_LINE_BYTES, ON_SERVER, Steps

WRITING: Final = os.O_WRONLY | os.O_RDWR
# Index of an argument that no call has.
NO_ARGUMENT: Final = 9
# Audited calls with pairs of argument indexes: a path, and the handle of the folder of that path.
CHANGES: Final[Mapping[str, tuple[tuple[int, int], ...]]] = {
    "os.mkdir": ((0, 2),),
    "os.rename": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
    "os.link": ((0, 2), (1, 3)),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.truncate": ((0, NO_ARGUMENT),),
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
    "--",
)
# Text that looks like the name of a file.
FILE_NAME: Final = re.compile(r"\b[\w-]+\.(?:jsonl?|index|csv|npy|sqlite)\b")


def watch(steps: Steps) -> None:
    """Count every later step of this process."""
    for name in MESSAGES:
        method = getattr(socket.socket, name)
        setattr(socket.socket, name, _wrap_socket_method(steps, name, method))
    for name in CALLS:
        setattr(os, name, _wrap_os_call(steps, getattr(os, name)))
    os.fsync = _wrap_sync(steps, os.fsync)
    os.fdatasync = _wrap_sync(steps, os.fdatasync)
    # pathlib opens files with this function.
    io.open = _wrap_open(steps, io.open)

    connect_sqlite = sqlite3.connect
    connection_class = _make_connection_class(steps)

    def connect_watched(*arguments: Any, **options: Any) -> Any:
        return connect_sqlite(*arguments, **({"factory": connection_class} | options))

    sqlite3.connect = connect_watched
    sqlite3.dbapi2.connect = connect_watched
    _watch_server(steps)
    sys.addaudithook(_make_audit_hook(steps))


def _make_audit_hook(steps: Steps) -> Callable[[str, tuple[Any, ...]], None]:
    """Return an audit hook that counts changes below the workspace's folder."""

    def count_change(name: str, arguments: tuple[Any, ...]) -> None:
        if name in CHANGES:
            paths = [_read_path(arguments, *indexes) for indexes in CHANGES[name]]
            if any(map(steps.is_in_workspace, paths)) and _has_effect(name, paths[0]):
                steps.step(" ".join((name, *paths)))
        elif name == "open":
            path, _, flags = arguments
            if _is_writing(flags) and steps.is_in_workspace(str(path)):
                steps.step(f"open {path}")

    return count_change


def _make_connection_class(steps: Steps) -> type[sqlite3.Connection]:
    class WatchedConnection(sqlite3.Connection):
        """A connection that counts its commits; SQLite reports each statement before it runs."""

        def __init__(self, database: Any, *arguments: Any, **options: Any) -> None:
            super().__init__(database, *arguments, **options)
            self._step = f"commit {Path(str(database)).name}"
            self._has_writes = False
            # File names in the statements of the open transaction.
            self._file_names: list[str] = []
            if steps.folder in str(database):
                _limit_size(self, str(database), steps.fate.free_pages)
                self.set_trace_callback(self._count_commit)

        def _count_commit(self, statement: str) -> None:
            """Count a commit with changes, including a statement outside a transaction."""
            words = statement.lstrip().upper()
            self._has_writes = self._has_writes and self.in_transaction
            is_write = _is_write(words)
            earlier_names = self._file_names if self.in_transaction else []
            new_names = FILE_NAME.findall(statement) if is_write else []
            self._file_names = earlier_names + new_names

            # On a full disk `commit` counts the step.
            is_commit = words.startswith("COMMIT") and steps.fate.event != FULL
            is_single_write = is_write and not self.in_transaction
            if (is_commit and self._has_writes) or is_single_write:
                steps.suffix = _describe_files(self._file_names)
                steps.step(self._step)
            self._has_writes = self._has_writes or is_write

        def commit(self) -> None:
            """Commit, and report the end; on a full disk raise SQLite's error.

            A trace cannot raise the error.
            """
            if steps.fate.event == FULL and self._has_writes and self.in_transaction:
                try:
                    steps.step(self._step)
                except OSError as error:
                    raise sqlite3.OperationalError("database or disk is full") from error
            super().commit()
            steps.finish_step()

        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            cursor = super().execute(*arguments)
            if arguments[0].startswith("COMMIT"):
                steps.finish_step()
            return cursor

    return WatchedConnection


def _is_write(words: str) -> bool:
    """Return whether an SQLite statement in upper case changes the file."""
    sets_journal_mode = words.startswith("PRAGMA JOURNAL_MODE =")
    return sets_journal_mode or not words.startswith((*READING, "COMMIT"))


def _watch_server(steps: Steps) -> None:
    """Count the commits on a PostgreSQL server: the ends of transactions with changes."""
    # File names in the open transaction of each connection with changes.
    file_names: WeakKeyDictionary[psycopg.Connection[Any], list[str]] = WeakKeyDictionary()
    commit = psycopg.Connection.commit
    rollback = psycopg.Connection.rollback

    def wrap_execute(call: Callable[..., Any]) -> Callable[..., Any]:
        def execute_watched(cursor: Any, query: Any, *arguments: Any, **options: Any) -> Any:
            words = query.decode() if isinstance(query, bytes) else str(query)
            if not words.lstrip().upper().startswith(READING):
                names = file_names.setdefault(cursor.connection, [])
                names += FILE_NAME.findall(f"{words} {arguments}")
            return call(cursor, query, *arguments, **options)

        return execute_watched

    def commit_watched(connection: Any) -> None:
        if connection in file_names:
            steps.suffix = _describe_files(file_names.pop(connection))
            steps.step(ON_SERVER)
        commit(connection)
        steps.finish_step()

    def rollback_watched(connection: Any) -> None:
        file_names.pop(connection, None)
        rollback(connection)

    cursor_class: Any = psycopg.Cursor
    cursor_class.execute = wrap_execute(psycopg.Cursor.execute)
    cursor_class.executemany = wrap_execute(psycopg.Cursor.executemany)
    cursor_class.copy = wrap_execute(psycopg.Cursor.copy)
    connection_class: Any = psycopg.Connection
    connection_class.commit = commit_watched
    connection_class.rollback = rollback_watched


def _describe_files(names: list[str]) -> str:
    return f"naming {' '.join(sorted({*names}))}" if names else ""


def _limit_size(connection: sqlite3.Connection, name: str, pages: int) -> None:
    """Limit the growth of the workspace's database to a number of pages.

    A negative number is no limit.
    """
    if pages >= 0 and "askrows.db" in name:
        page_count = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {page_count + pages}")


def _make_file_class(steps: Steps) -> type[io.FileIO]:
    class WatchedFile(io.FileIO):
        """A file that counts every write. A disk that fills up still stores half of the write."""

        def write(self, data: Any) -> int:
            try:
                steps.step(f"write {self.name}")
            except OSError:
                super().write(bytes(data)[: len(data) // 2])
                raise
            byte_count = super().write(data)
            steps.finish_step()
            return byte_count

    return WatchedFile


def _wrap_open(steps: Steps, open_file: Callable[..., Any]) -> Callable[..., Any]:
    """Return `io.open` that counts every write to a binary file of the workspace."""
    file_class = _make_file_class(steps)

    def open_watched(
        file: Any, mode: str = "r", buffering: int = -1, *arguments: Any, **options: Any
    ) -> Any:
        if "b" in mode and set(mode) & set("wax+") and steps.is_in_workspace(str(file)):
            raw_file = file_class(file, mode.replace("b", ""))
            opened_file: Any = _add_buffer(raw_file, mode, buffering)
        else:
            opened_file = open_file(file, mode, buffering, *arguments, **options)
        steps.finish_step()
        return opened_file

    return open_watched


def _add_buffer(raw_file: io.FileIO, mode: str, buffering: int) -> io.RawIOBase | io.BufferedIOBase:
    if buffering == 0:
        return raw_file
    size = buffering if buffering > 1 else io.DEFAULT_BUFFER_SIZE
    if "+" in mode:
        return io.BufferedRandom(raw_file, size)
    return io.BufferedWriter(raw_file, size)


def _wrap_os_call(steps: Steps, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of `os` that reports its end; an audit hook detects its beginning."""

    def call_watched(*arguments: Any, **options: Any) -> Any:
        returned_value = call(*arguments, **options)
        steps.finish_step()
        return returned_value

    return call_watched


def _wrap_sync(steps: Steps, call: Callable[[Any], None]) -> Any:
    def sync_watched(file: Any) -> None:
        path = _path_of_handle(file if isinstance(file, int) else file.fileno())
        if steps.is_in_workspace(path):
            steps.step(f"fsync {path}")
        call(file)
        steps.finish_step()

    return sync_watched


def _wrap_socket_method(steps: Steps, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return a socket method that counts a step, except between parts of the same process.

    Several receives in a row are one step, because the number of pieces is random.
    """

    def send_watched(connection: socket.socket, *arguments: Any) -> Any:
        if connection.family not in {socket.AF_INET, socket.AF_INET6}:
            return call(connection, *arguments)

        is_next_piece = name.startswith("recv") and steps.last_step.startswith("recv")
        if not is_next_piece:
            steps.step(f"{name} {_first_line(name, arguments[0])}".strip())
        try:
            return call(connection, *arguments)
        finally:
            steps.finish_step()

    return send_watched


def _first_line(name: str, argument: Any) -> str:
    """Return the beginning of a sent message; empty for a message that is not received yet."""
    if name.startswith("recv"):
        return ""
    message = b"".join(argument) if name == "sendmsg" else argument
    return bytes(message[:MAX_LINE_BYTES]).split(b"\r\n")[0].decode("latin-1")


def _is_writing(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & WRITING)


def _has_effect(name: str, path: str) -> bool:
    """Return whether a call changes anything: it creates a missing folder or removes a file."""
    if name == "os.mkdir":
        return not os.path.lexists(path)
    return name not in {"os.remove", "os.rmdir"} or os.path.lexists(path)


def _read_path(arguments: tuple[Any, ...], path_index: int, handle_index: int) -> str:
    """Return an audited path; a path relative to the handle of a folder becomes absolute."""
    path_argument = arguments[path_index]
    path = os.fsdecode(path_argument) if not isinstance(path_argument, int) else ""
    folder = arguments[handle_index] if handle_index < len(arguments) else -1
    if isinstance(folder, int) and folder >= 0:
        return f"{_path_of_handle(folder)}/{path}"
    return path


def _path_of_handle(handle: int) -> str:
    return str(Path(f"/proc/self/fd/{handle}").readlink())
