"""A database and its transactions: `read()` sees one snapshot, `write()` is the only writer while it lasts.

On SQLite a write begins with BEGIN IMMEDIATE, so that what it reads is what it changes; readers wait for no one (WAL).
"""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Select, create_engine, event, exc, make_url

from pipeline.errors import ConfigurationError, FindableError, InconsistentError, UnavailableError

__all__ = ["Connection", "Select", "Store"]

BUSY_S = 60.0  # how long a writer waits for another one, in seconds; our transactions last far less
STEP_MS = 100  # of that at a time: while SQLite waits, nothing else of this thread runs, an interrupt neither
CACHE_KIB = 16 * 1024
SWITCHED = "findable_switched_to_wal"  # in a connection's `info`, where it was the one that changed the journal


# tables that are not ours, whose rows have numbers that no column of theirs holds; VACUUM may give them others
_HIDDEN_NUMBERS = """
SELECT name FROM pragma_table_list AS t
WHERE schema = 'main' AND type = 'table' AND NOT wr AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
AND name NOT LIKE 'findable\\_%' ESCAPE '\\'
AND NOT EXISTS (SELECT 1 FROM pragma_table_info(t.name) WHERE pk = 1 AND upper(type) = 'INTEGER')
"""


class Store:
    """The database behind one workspace. Connections are opened when used and closed by `close`."""

    def __init__(self, url: str) -> None:
        """Take an SQLAlchemy URL; nothing is opened yet.

        Raises:
            ConfigurationError: no URL of a database that this version speaks to.
        """
        try:
            self.url = make_url(url)
        except exc.ArgumentError as error:
            raise ConfigurationError(
                f"FINDABLE_DATABASE_URL is no database URL: {error}", hint="for example sqlite:////path/to/people.db"
            ) from error
        if self.url.get_backend_name() != "sqlite" or not self.url.database or self.url.database == ":memory:":
            raise ConfigurationError(
                f"this version keeps its data in an SQLite file, not in {self.url.get_backend_name()}",
                hint="set FINDABLE_DATABASE_URL=sqlite:////path/to/people.db, or leave it unset",
            )
        self.path = Path(self.url.database.removeprefix("file:"))  # file:… is how SQLite takes options
        self._engine: Engine | None = None

    @property
    def exists(self) -> bool:
        """Return whether there is a database file yet."""
        return self.path.exists()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a snapshot to read from; what others write meanwhile is not seen in it."""
        with _translated(self.path), self._open().connect() as tx, tx.begin():
            yield tx

    @contextlib.contextmanager
    def write(self, *, patience_s: float | None = None) -> Iterator[Connection]:
        """Open a transaction that is committed at the end of the block and rolled back by an exception.

        Where another one writes it waits, a minute at the most unless `patience_s` says otherwise; an interrupt ends
        the wait.

        Raises:
            UnavailableError: the other one wrote for longer; nothing was changed.
        """
        patience = BUSY_S if patience_s is None else patience_s
        with (
            _translated(self.path, patience),
            self._open().connect().execution_options(findable_patience=patience) as tx,
            tx.begin(),
        ):
            yield tx

    def copy_to(self, target: Path) -> None:
        """Write a copy of the database as it stands at one moment, in one file, while others read and write.

        What stands at `target` is replaced. Not sealed: the caller syncs it.
        """
        with _translated(self.path), contextlib.closing(sqlite3.connect(target)) as copy:
            with contextlib.closing(self._open().raw_connection()) as source:
                source.driver_connection.backup(copy)  # type: ignore[union-attr]  # it is sqlite3's own
            copy.execute(
                "PRAGMA journal_mode = DELETE"
            )  # so that the copy is one file, also where it cannot be written

    def compact(self, *, patience_s: float = BUSY_S) -> bool:
        """Write the file anew without what was deleted, and empty the journal beside it; false where that may not be.

        It may not where another program's table counts its rows by SQLite's hidden numbers, which this would change;
        the journal is emptied all the same.

        Raises:
            UnavailableError: another program reads or writes for longer; what was deleted may still be in the files.
        """
        with _translated(self.path, patience_s), contextlib.closing(self._open().raw_connection()) as connection:
            cursor = connection.cursor()
            may = not cursor.execute(_HIDDEN_NUMBERS).fetchall()
            if may:
                cursor.execute("VACUUM")
            until = time.monotonic() + patience_s
            while cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() >= until:
                    raise sqlite3.OperationalError("database is locked")
                time.sleep(STEP_MS / 1000)
        return may

    def close(self) -> None:
        """Close every connection."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _open(self) -> Engine:
        if self._engine is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigurationError(
                    f"{self.path.parent} cannot hold a database: {error.strerror}; nothing was changed",
                    hint="set DATA= (or FINDABLE_DATABASE_URL) to a directory that can be written",
                ) from error
            engine = create_engine(self.url, connect_args={"timeout": BUSY_S, "check_same_thread": False})
            event.listen(engine, "connect", _prepare_connection)
            event.listen(engine, "begin", _begin)
            self._engine = engine
        return self._engine


def _prepare_connection(connection: Any, record: Any) -> None:
    """Take transactions into our own hands and make commits durable."""
    connection.text_factory = _text
    connection.isolation_level = None  # sqlite3 must not begin or commit by itself; DDL is part of our transactions
    cursor = connection.cursor()
    if cursor.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        with contextlib.suppress(Exception):  # a database on a read-only disk can still be read
            cursor.execute("PRAGMA journal_mode = WAL")
            record.info[SWITCHED] = True
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    cursor.close()


def _text(cell: bytes) -> str:
    """Read a text cell; another program may have written bytes that are no UTF-8, which must not stop a whole scan.

    Such a cell is never written back: the engine writes only what it made itself.
    """
    return cell.decode("utf-8", "replace")


def _begin(connection: Connection) -> None:
    """Begin as `read` or `write` asked for."""
    patience = connection.get_execution_options().get("findable_patience")
    if patience is None:
        connection.exec_driver_sql("BEGIN")
        return
    until = time.monotonic() + patience
    connection.exec_driver_sql(f"PRAGMA busy_timeout = {STEP_MS}")
    try:
        while not _has_begun(connection, last=time.monotonic() >= until):
            pass
    finally:
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {BUSY_S * 1000:.0f}")


def _has_begun(connection: Connection, *, last: bool) -> bool:
    """Try for a moment to become the only writer; false, or at the `last` time an error, where another one is it."""
    try:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    except exc.OperationalError as error:
        if last or "locked" not in str(error.orig):
            raise
        return False
    return True


@contextlib.contextmanager
def _translated(path: Path, patience_s: float = BUSY_S) -> Iterator[None]:
    """Turn what the database says into errors that a person can act on; the transaction is rolled back by then."""
    try:
        yield
    except exc.DBAPIError as error:
        raise _our_error(path, str(error.orig), patience_s) from error
    except sqlite3.Error as error:  # while a connection is prepared, before SQLAlchemy has it
        raise _our_error(path, str(error), patience_s) from error


def _our_error(path: Path, said: str, patience_s: float) -> FindableError:
    """Return our error for SQLite's words."""
    if "malformed" in said or "not a database" in said:
        return InconsistentError(
            f"{path} is damaged or no database: {said}", hint="restore it from a copy; nothing was changed"
        )
    if "locked" in said or "busy" in said:
        return UnavailableError(
            f"another program has held {path} for more than {patience_s:g} s; nothing was changed", hint="try again"
        )
    if "unable to open" in said or "readonly" in said or "full" in said or "disk I/O" in said:
        return ConfigurationError(f"{path}: {said}; nothing was changed", hint="check the disk and its permissions")
    return InconsistentError(f"{path}: {said}; nothing was changed", hint="run `make doctor`")
