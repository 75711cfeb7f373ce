"""Open a database in an SQLite file.

A write begins with BEGIN IMMEDIATE, so that what it reads is what it changes; readers do not wait (WAL).
"""

import contextlib
import operator
import os
import sqlite3
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event, exc

from pipeline.core.command_hint import CommandHint, OptionHint
from pipeline.core.errors import (
    ConfigurationError,
    FindableError,
    InconsistentError,
    UnavailableError,
)

BUSY_S = 60.0  # how long a writer waits for another one, in seconds; our transactions last far less
GONE = "no such savepoint"
MOST_BYTES = 64 << 20  # of one value, or row, of a file that is only read
HEADER = 19  # bytes of a file, the last of which says how it is written
STEP_MS = 100  # of a wait at a time: while SQLite waits, nothing else of this thread runs, an interrupt neither
LOOK_MS = 10  # the same of a writer: SQLite looks ever more seldom, and another writer's turn is over in 40 ms
CACHE_KIB = 16 * 1024
JOURNAL_PAGES = 4000  # ours: after which the journal is copied into the file; by SQLite's own 1,000 after each chunk
SWITCHED = "findable_switched_to_wal"  # in a connection's `info`, where it was the one that changed the journal


class SqliteFile:
    """What the store needs to know of an SQLite file."""

    def __init__(self, url: URL, *, is_kept: bool) -> None:
        """Take the URL of a file, which `is_kept` open; that of another database, or of one in memory, is an error."""
        if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
            raise ConfigurationError(
                f"data is kept in an SQLite file or in PostgreSQL, not in {url.get_backend_name()}",
                hint="set FINDABLE_DATABASE_URL=sqlite:////path/to/people.db, or leave it unset",
            )
        self._url = url
        self._pool = QueuePool if is_kept else NullPool
        self.path = Path(url.database.removeprefix("file:"))  # file:… is how SQLite takes options
        self.shown = str(self.path)

    def open(self) -> Engine:
        """Return an engine whose connections wait where another program writes; its folder is made."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"{self.path.parent} cannot hold a database: {error.strerror}; nothing was changed",
                hint=f"set {OptionHint('data')} (or FINDABLE_DATABASE_URL) to a directory that can be written",
            ) from error
        engine = create_engine(
            self._url,
            connect_args={"timeout": BUSY_S, "check_same_thread": False},
            poolclass=self._pool,
            hide_parameters=True,  # what people wrote is shown in no traceback and no log
        )
        event.listen(engine, "connect", _prepare_connection)
        event.listen(engine, "begin", _begin)
        event.listen(engine, "invalidate", _let_go)
        return engine

    def open_unchanged(self, still: object) -> Engine:
        """Return an engine that changes neither the file nor, where it is `still`, what lies beside it."""
        # beside one in write-ahead mode SQLite makes two files, unless it is told that nothing changes it
        how = "mode=ro" if still is None else "immutable=1"
        address = f"file:{quote(str(self.path.absolute()))}?{how}"

        def connect() -> sqlite3.Connection:
            made = sqlite3.connect(
                address, uri=True, isolation_level=None, timeout=BUSY_S, check_same_thread=False
            )
            # what is no UTF-8 is found where it is kept
            made.text_factory = operator.methodcaller("decode", "utf-8", "surrogateescape")
            made.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
            made.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            made.execute("PRAGMA query_only = ON")
            return made

        return create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)

    def compact(self, engine: Engine, *, besides: Collection[str]) -> bool:
        """Write the file anew without what was deleted, and empty the journal beside it.

        False, and the journal alone, where it has another program's tables, which may count on hidden row numbers.
        """
        with contextlib.closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            names = {
                row[0]
                for row in cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            }
            others = {
                one
                for one in names.difference(besides)
                if not one.startswith(("findable_", "sqlite_"))
            }
            if may := not others:
                cursor.execute("VACUUM")
            until = time.monotonic() + BUSY_S
            while cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() >= until:
                    raise sqlite3.OperationalError("database is locked")
                time.sleep(STEP_MS / 1000)
        return may

    def says(self, error: Exception) -> bool:
        """Return whether an error is SQLite's own."""
        return isinstance(error, sqlite3.Error)

    def is_of_query(self, error: BaseException) -> bool:
        """Return whether an error is the fault of what was asked, and not of the file."""
        name = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_")
        return name.partition("_")[0] not in {
            "BUSY",
            "LOCKED",
            "IOERR",
            "CORRUPT",
            "FULL",
            "CANTOPEN",
            "NOTADB",
        }

    def error(self, said: BaseException, patience_s: float) -> FindableError:
        """Return our error for SQLite's words."""
        if GONE in str(said):  # the transaction was over, for a reason that was said before
            before = said.__context__
            while before is not None and GONE in str(before):  # of a savepoint within another one
                before = before.__context__
            if isinstance(before, FindableError):
                return before
            said = getattr(before, "orig", None) or said
        words = str(said)
        if "malformed" in words or "not a database" in words:
            return InconsistentError(
                f"{self.path} is damaged or no database: {words}",
                hint="restore it from a copy; nothing was changed",
            )
        if "locked" in words or "busy" in words:
            return UnavailableError(
                f"another program has held {self.path} for more than {patience_s:g} s; nothing was changed",
                hint="try again",
            )
        if "unable to open" in words and not self.path.exists():
            return ConfigurationError(
                f"{self.path} is not there; nothing was changed", hint="check the path"
            )
        if (
            "unable to open" in words
            or "readonly" in words
            or "full" in words
            or "disk I/O" in words
        ):
            return ConfigurationError(
                f"{self.path}: {words}; nothing was changed",
                hint="check the disk and its permissions",
            )
        return InconsistentError(
            f"{self.path}: {words}; nothing was changed", hint=f"run `{CommandHint('doctor')}`"
        )


def resting(path: Path) -> tuple[int, int] | None:
    """Return what shows a change of a file that is in write-ahead mode, and in no other program's hands; else None."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        is_ahead = file.read(HEADER)[-1:] == b"\2"
        if is_ahead and not any(os.path.lexists(f"{path}{end}") for end in ("-wal", "-shm")):
            return path.stat().st_mtime_ns, path.stat().st_size
    return None


def _prepare_connection(connection: Any, record: Any) -> None:
    connection.text_factory = _text
    connection.isolation_level = (
        None  # sqlite3 must not begin or commit by itself; DDL is part of our transactions
    )
    cursor = connection.cursor()
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        with contextlib.suppress(Exception):  # a database on a read-only disk can still be read
            cursor.execute("PRAGMA journal_mode = WAL")
            record.info[SWITCHED] = True
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    cursor.execute(f"PRAGMA wal_autocheckpoint = {JOURNAL_PAGES}")
    cursor.close()


def _let_go(connection: Any, record: Any, error: BaseException | None) -> None:  # noqa: ARG001 - the shape of the event
    """Roll back what an interrupt struck: SQLite keeps a closed connection's lock while a cursor of it is alive."""
    with contextlib.suppress(sqlite3.Error):  # it may be closed already
        connection.rollback()


def _text(cell: bytes) -> str:
    """Return what a cell says, the quickest way; bytes that are no UTF-8 must not stop a scan."""
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell.decode("utf-8", "replace")


def _begin(connection: Connection) -> None:
    if (patience := connection.get_execution_options().get("findable_patience")) is None:
        connection.exec_driver_sql("BEGIN")
        return
    until = time.monotonic() + patience
    has_begun = False
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {LOOK_MS}")
    try:
        while not has_begun:
            is_last = time.monotonic() >= until
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
                has_begun = True
            except exc.OperationalError as error:  # another one writes
                if is_last or "locked" not in str(error.orig):
                    raise
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")
