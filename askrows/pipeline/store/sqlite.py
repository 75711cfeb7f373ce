"""Open a database in an SQLite file.

A write begins with BEGIN IMMEDIATE, so it changes exactly the rows that it read. Readers do not
wait, because the file is in write-ahead (WAL) mode.
"""

import contextlib
import operator
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event, exc, text

from askrows.pipeline.core.command_hint import CommandHint, OptionHint
from askrows.pipeline.core.errors import (
    AskrowsError,
    ConfigurationError,
    InconsistentError,
    UnavailableError,
)
from askrows.pipeline.core.files import PRIVATE_MODE
from askrows.pipeline.core.text import plural
from askrows.pipeline.store.text_hash import SQLITE_FUNCTION, hash_for_sqlite

# The longest wait of a writer for another writer, in seconds. Our transactions are far shorter.
BUSY_S = 60.0
NO_SAVEPOINT_MESSAGE = "no such savepoint"
# The longest value or row of a file that is only read.
MAX_VALUE_BYTES = 64 << 20
# The last of these first bytes of a file is 2 in write-ahead mode.
WAL_HEADER_BYTES = 19
# The pause between two tries to empty the write-ahead log. While SQLite itself waits, nothing else
# of the thread runs, and Ctrl-C has no effect.
CHECKPOINT_PAUSE_MS = 100
# The longest wait of a writer inside SQLite, for the same reason. SQLite tries ever more rarely,
# and the turn of another writer is over in 40 ms.
WRITER_BUSY_TIMEOUT_MS = 10
CACHE_KIB = 16 * 1024
# Our own choice: the write-ahead log is copied into the file after this number of pages. SQLite's
# own default of 1,000 would copy it after each chunk.
CHECKPOINT_PAGES = 4000
# Set in the `info` of the connection that switched the file to write-ahead mode.
WAL_SWITCH_KEY = "askrows_switched_to_wal"
# The number of changed rows at the begin of a transaction that writes, or None in one that reads,
# in the `info` of its connection.
CHANGES_KEY = "askrows_changes_at_begin"
# Whether the file has a workspace, and a new id of its content.
_SELECT_CHANGE_COLUMN = (
    "SELECT 1 FROM pragma_table_info('askrows_workspace') WHERE name = 'change_id'"
)
_REPLACE_CHANGE_ID = "UPDATE askrows_workspace SET change_id = hex(randomblob(16))"
# Kinds of SQLite errors that a query cannot cause.
_FILE_ERROR_KINDS = {"BUSY", "LOCKED", "IOERR", "CORRUPT", "FULL", "CANTOPEN", "NOTADB"}


class SqliteFile:
    """The store's access to an SQLite file."""

    def __init__(self, url: URL, *, keeps_connections: bool, writes: bool) -> None:
        """Check the URL of a file; nothing is opened yet.

        Args:
            keeps_connections: Keep connections open for later transactions, else open and close one
                for each transaction.
            writes: Switch the file to write-ahead mode when it is opened.

        Raises:
            ConfigurationError: The URL is of another database, without a file, or in memory.
        """
        if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
            raise ConfigurationError(
                f"the database must be an SQLite file or PostgreSQL, not {url.get_backend_name()}",
                hint="set ASKROWS_DATABASE_URL=sqlite:////path/to/people.db, or leave it unset",
            )
        self._url = url
        self._writes = writes
        self._pool = QueuePool if keeps_connections else NullPool
        # SQLite accepts options in the form file:…?…
        self.path = Path(url.database.removeprefix("file:"))
        self.display_name = str(self.path)

    def make_engine(self) -> Engine:
        """Create the file's private folder, and return a new engine; the file is not opened yet.

        Its connections wait up to BUSY_S seconds for other programs that write.

        Raises:
            ConfigurationError: The folder cannot be created.
        """
        try:
            self.path.parent.mkdir(PRIVATE_MODE, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"{self.path.parent} cannot be created: {error.strerror}; nothing was changed",
                hint=f"set {OptionHint('data')} (or ASKROWS_DATABASE_URL) to a writable directory",
            ) from error
        # Hidden parameters keep the content of rows out of tracebacks and logs.
        engine = create_engine(
            self._url,
            connect_args={"timeout": BUSY_S, "check_same_thread": False},
            poolclass=self._pool,
            hide_parameters=True,
        )
        event.listen(engine, "connect", _prepare_connection)
        if self._writes:
            event.listen(engine, "connect", _switch_to_wal)
        event.listen(engine, "begin", _begin_and_wait_for_writers)
        event.listen(engine, "commit", _replace_change_id)
        event.listen(engine, "invalidate", _roll_back_interrupted)
        return engine

    def make_read_only_engine(self, *, is_idle: bool) -> Engine:
        """Return an engine that only reads, and opens a new connection for each use.

        Nothing is opened yet. Queries cannot write or attach other files.

        Args:
            is_idle: No program has the file open (see `read_mtime_and_size_if_idle`). SQLite then
                assumes that nobody changes it, and creates no files next to it.
        """
        mode = "immutable=1" if is_idle else "mode=ro"
        address = f"file:{quote(str(self.path.absolute()))}?{mode}"

        def connect() -> sqlite3.Connection:
            """Open a connection that cannot write or attach other files."""
            connection = sqlite3.connect(
                address,
                uri=True,
                isolation_level=None,
                timeout=BUSY_S,
                check_same_thread=False,
            )
            # Surrogates keep bytes that are not UTF-8, so that they can be looked up.
            connection.text_factory = operator.methodcaller("decode", "utf-8", "surrogateescape")
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
            connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            connection.execute("PRAGMA query_only = ON")
            return connection

        return create_engine("sqlite://", creator=connect, poolclass=NullPool, hide_parameters=True)

    def vacuum_if_possible(self, engine: Engine, *, extra_tables: Collection[str]) -> bool:
        """Write the file again without deleted rows, and empty its write-ahead log.

        Args:
            extra_tables: More tables, of other programs, that may be compacted.

        Returns:
            False if the file has other tables, whose programs may use hidden row numbers. The file
            is not written again then, and only the log is emptied.

        Raises:
            sqlite3.OperationalError: The log was in use for BUSY_S seconds.
        """
        with contextlib.closing(engine.raw_connection()) as connection:
            cursor = connection.cursor()
            tables = cursor.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
            names = {row[0] for row in tables}
            has_other_tables = any(
                not name.startswith(("askrows_", "sqlite_"))
                for name in names.difference(extra_tables)
            )
            if not has_other_tables:
                cursor.execute("VACUUM")

            deadline_s = time.monotonic() + BUSY_S
            while cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() >= deadline_s:
                    raise sqlite3.OperationalError("database is locked")
                time.sleep(CHECKPOINT_PAUSE_MS / 1000)
        return not has_other_tables

    def is_driver_error(self, error: Exception) -> bool:
        """Return whether an error is SQLite's own."""
        return isinstance(error, sqlite3.Error)

    def is_query_fault(self, error: BaseException) -> bool:
        """Return whether a query caused an error, not the file."""
        name = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_")
        return name.partition("_")[0] not in _FILE_ERROR_KINDS

    def translate_error(self, driver_error: BaseException, max_write_wait_s: float) -> AskrowsError:
        """Return an AskrowsError for an error of SQLite.

        A missing savepoint is explained by the error that ended its transaction. A locked file is
        an UnavailableError. A missing file, a full or read-only disk and an unreadable file are a
        ConfigurationError. A damaged file and anything else are an InconsistentError.

        Args:
            max_write_wait_s: The longest wait for another writer, for the message.
        """
        if NO_SAVEPOINT_MESSAGE in str(driver_error):
            cause = _find_error_that_ended_transaction(driver_error)
            if isinstance(cause, AskrowsError):
                return cause
            driver_error = getattr(cause, "orig", None) or driver_error

        reason = str(driver_error)
        cannot_open = "unable to open" in reason
        if "malformed" in reason or "not a database" in reason:
            return InconsistentError(
                f"{self.path} is damaged or not a database: {reason}; nothing was changed",
                hint="restore it from a copy",
            )
        if "locked" in reason or "busy" in reason:
            return UnavailableError(
                f"another program has locked {self.path} for more than {max_write_wait_s:g} s;"
                " nothing was changed",
                hint="wait until the other program ends, then run the same command again",
            )
        if cannot_open and not self.path.exists():
            return ConfigurationError(
                f"{self.path} does not exist; nothing was changed",
                hint="check the path",
            )
        if cannot_open or any(word in reason for word in ("readonly", "full", "disk I/O")):
            hint = "check the disk and its permissions"
            folder = self.path.parent
            if not os.access(folder, os.W_OK):
                hint = (
                    "check the disk and its permissions: "
                    "the folder is read-only, and commands that only read write to it, too"
                )
            return ConfigurationError(
                f"{self.path}: {reason}; nothing was changed",
                hint=hint,
            )
        return InconsistentError(
            f"{self.path}: {reason}; nothing was changed",
            hint=f"run `{CommandHint('doctor')}`",
        )


def _find_error_that_ended_transaction(error: BaseException) -> BaseException | None:
    """Return the error that ended a transaction before its savepoints were missed."""
    cause = error.__context__
    # A nested savepoint is missed, too.
    while cause is not None and NO_SAVEPOINT_MESSAGE in str(cause):
        cause = cause.__context__
    return cause


def read_mtime_and_size_if_idle(path: Path) -> tuple[int, int] | None:
    """Return (modification time in ns, size) of a WAL-mode file that no program has open.

    Any change of the file changes the pair.

    Returns:
        None if a program has the file open, or it is in another mode or cannot be read.
    """
    with contextlib.suppress(OSError), path.open("rb") as file:
        is_wal_mode = file.read(WAL_HEADER_BYTES)[-1:] == b"\2"
        is_open = any(os.path.lexists(f"{path}{suffix}") for suffix in ("-wal", "-shm"))
        if is_wal_mode and not is_open:
            return path.stat().st_mtime_ns, path.stat().st_size
    return None


def _prepare_connection(
    connection: Any,
    record: Any,  # noqa: ARG001 - the event passes it
) -> None:
    """Set up a new connection.

    Sets the decoding of text, manual transactions, full sync, foreign keys, cache and checkpoints,
    and adds the function of `TextHash`.
    """
    connection.text_factory = _decode_text
    # The sqlite3 module must not begin or commit by itself: DDL is part of our transactions.
    connection.isolation_level = None
    connection.create_function(SQLITE_FUNCTION, 1, hash_for_sqlite, deterministic=True)
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    cursor.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
    cursor.close()


def _switch_to_wal(connection: Any, record: Any) -> None:
    """Switch the file of a new connection to write-ahead mode if possible.

    Args:
        record: The pool's record of the connection. WAL_SWITCH_KEY in it marks that the file was
            switched.
    """
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        # A database on a read-only disk can still be read.
        with contextlib.suppress(Exception):
            connection.execute("PRAGMA journal_mode = WAL")
            record.info[WAL_SWITCH_KEY] = True


def _roll_back_interrupted(
    connection: Any,
    record: Any,  # noqa: ARG001 - the event passes it
    error: BaseException | None,  # noqa: ARG001 - the event passes it
) -> None:
    """Roll back an interrupted connection, or SQLite keeps its lock while a cursor exists."""
    # The connection may be closed already.
    with contextlib.suppress(sqlite3.Error):
        connection.rollback()


def _decode_text(cell: bytes) -> str:
    """Decode a text; replace bytes that are not UTF-8, which must not stop a scan."""
    # The strict decoder is the fastest.
    try:
        return cell.decode()
    except UnicodeDecodeError:
        return cell.decode("utf-8", "replace")


def _begin_and_wait_for_writers(connection: Connection) -> None:
    """Begin a transaction; a writing transaction waits for other writers.

    A transaction with the option `askrows_patience` (seconds) writes. It tries BEGIN IMMEDIATE
    until that time is over. Any other transaction begins at once.

    Raises:
        OperationalError: Another program wrote for the whole time, or the file has another fault.
    """
    max_write_wait_s = connection.get_execution_options().get("askrows_patience")
    connection.info[CHANGES_KEY] = None
    if max_write_wait_s is None:
        connection.exec_driver_sql("BEGIN")
        return

    deadline_s = time.monotonic() + max_write_wait_s
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {WRITER_BUSY_TIMEOUT_MS}")
    try:
        while True:
            is_last_try = time.monotonic() >= deadline_s
            try:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            except exc.OperationalError as error:
                if is_last_try or "locked" not in str(error.orig):
                    raise
            else:
                connection.info[CHANGES_KEY] = _find_driver_connection(connection).total_changes
                return
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")


def _replace_change_id(connection: Connection) -> None:
    """Replace the workspace's change id, in the transaction that changed rows and commits now.

    Does nothing for a transaction that only reads or changed no row, or without a workspace.
    """
    file = _find_driver_connection(connection)
    if connection.info[CHANGES_KEY] in {None, file.total_changes}:
        return
    # Each write runs these statements, and SQLAlchemy would take ten times as long.
    if file.execute(_SELECT_CHANGE_COLUMN).fetchone():
        file.execute(_REPLACE_CHANGE_ID)


def _find_driver_connection(connection: Connection) -> sqlite3.Connection:
    """Return the connection of the sqlite3 module behind a connection."""
    return cast("sqlite3.Connection", connection.connection.driver_connection)


def list_damage_messages(tx: Connection) -> list[str]:
    """Check a whole SQLite file and return a message for each damage; [] if nothing is damaged.

    Up to 20 faults of the file come first, then a count for each table, by name, with rows of a
    batch that does not exist. The list is empty on a server, which checks itself.
    """
    if tx.dialect.name != "sqlite":
        return []

    messages = [str(row[0]) for row in tx.execute(text("PRAGMA integrity_check(20)"))]
    messages = [message for message in messages if message != "ok"]

    loose_counts = Counter(
        table
        for table, _, parent_table, *_ in tx.execute(text("PRAGMA foreign_key_check"))
        if parent_table == "askrows_batches"
    )
    messages += [
        plural(count, f"row of {table} names", f"rows of {table} name") + " a missing batch"
        for table, count in sorted(loose_counts.items())
    ]
    return messages
