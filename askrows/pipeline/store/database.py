"""Open a database and its transactions.

- `Store.read` opens a snapshot. `Store.write` is the only writer of the workspace while it is open,
  so a transaction changes exactly the rows that it read. Readers do not wait.
- SQLite files (`sqlite`) and PostgreSQL servers (`postgresql`) behave alike.
- A backend is the access to one kind of database: an SQLite file or a PostgreSQL server.
- `stream_rows` reads many rows with constant memory.
- `WorkTimer` measures how long the statements of a thread take.
"""

import contextlib
import logging
import sqlite3
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from itertools import islice
from pathlib import Path
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import (
    URL,
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Delete,
    Engine,
    FromClause,
    Insert,
    Select,
    Table,
    Update,
    bindparam,
    exc,
    func,
    make_url,
    select,
    update,
)
from sqlalchemy.dialects import sqlite

from askrows.pipeline.core.errors import ConfigurationError, InputError
from askrows.pipeline.core.redact import PASSWORD_OPTIONS
from askrows.pipeline.store.postgresql import (
    PostgresqlServer,
    Session,
    raise_hidden_interrupt,
    read_first_line,
    read_main_message,
)
from askrows.pipeline.store.sqlite import BUSY_S, SqliteFile, read_mtime_and_size_if_idle

__all__ = ["Connection", "Select", "Store"]

# The most ids in a statement.
PAGE_ROWS = 500
# Rows of a user's query that are fetched at once from a file, and from a server.
FILE_FETCH_ROWS = 20
SERVER_FETCH_ROWS = 1_000
# The execution option of a connection with its open results.
_OPEN_RESULTS_OPTION = "askrows_opened"
# SQLite calls its progress handler after this number of instructions, about every millisecond.
_PROGRESS_INSTRUCTIONS = 10_000
_NULL_HANDLER = logging.NullHandler()
T = TypeVar("T")
P = ParamSpec("P")
_SNAPSHOT_RESULTS = WeakKeyDictionary[Connection, dict[Any, Any]]()


# On a busy machine, work may take this many times as long as its limit. Our choice.
MAX_BUSY_FACTOR = 20


def cached_in_snapshot(
    read: Callable[Concatenate[Connection, P], T],
) -> Callable[Concatenate[Connection, P], T]:
    """Decorate a function so that equal calls in one `Store.read` read the database once.

    Rows do not change within a `Store.read`, so later calls with equal arguments return the first
    result. In other transactions each call reads.

    Args:
        read: Its arguments after the connection must be hashable. Callers must not change its
            results.
    """

    @wraps(read)
    def read_or_return_cached(tx: Connection, /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of an equal call in this read snapshot, else call `read` and keep it.

        In any other transaction `read` is always called, because the rows can change.
        """
        if not tx.get_execution_options().get("askrows_reads"):
            return read(tx, *args, **kwargs)

        results = _SNAPSHOT_RESULTS.setdefault(tx, {})
        key = (read, args, *kwargs.items())
        if key not in results:
            results[key] = read(tx, *args, **kwargs)
        return results[key]  # type: ignore[no-any-return]

    return read_or_return_cached


def is_sqlite(tx: Connection) -> bool:
    """Return whether the database is an SQLite file."""
    return tx.dialect.name == "sqlite"


def split_into_pages(values: Iterable[T], size: int = PAGE_ROWS) -> Iterator[list[T]]:
    """Yield the values in lists of at most `size`, in their order."""
    remaining = iter(values)
    while page := list(islice(remaining, size)):
        yield page


def read_matching_rows(
    tx: Connection,
    query: Select[Any],
    column: ColumnElement[Any],
    values: Sequence[Any] | None,
) -> Iterator[Any]:
    """Yield the rows of a SELECT whose column is in a list of any length.

    Runs a statement for each page of values; the rows are sorted within a page only.

    Args:
        values: The list. None means all rows of the SELECT, which are read with constant memory.
    """
    if values is None:
        for rows in stream_rows(tx, query, page=PAGE_ROWS).partitions():
            yield from rows
        return

    for page in split_into_pages(values):
        yield from tx.execute(query.where(column.in_(page))).all()


def count_rows(tx: Connection, source: FromClause, *conditions: ColumnElement[bool]) -> int:
    """Return how many rows of a table or subquery meet all conditions."""
    query = select(func.count()).select_from(source).where(*conditions)
    return tx.execute(query).scalar_one()


def has_row(tx: Connection, query: Select[Any]) -> bool:
    """Return whether a SELECT has at least one row. Reads no more than one row."""
    return tx.execute(query.limit(1)).first() is not None


def change_matching_rows(
    tx: Connection,
    change: Update | Delete,
    column: ColumnElement[Any],
    values: Sequence[Any],
) -> int:
    """Run an UPDATE or DELETE for rows whose column is in a list of any length.

    Returns:
        The number of changed rows.
    """
    return sum(
        tx.execute(change.where(column.in_(page))).rowcount for page in split_into_pages(values)
    )


def compute_next_value(tx: Connection, column: Column[int]) -> int:
    """Return the highest number in a column plus 1; 1 for an empty table.

    It is not reserved: the caller writes it in the same transaction.
    """
    return (tx.execute(select(func.max(column))).scalar() or 0) + 1


def stream_rows(tx: Connection, query: Select[Any], *, page: int) -> CursorResult[Any]:
    """Run a SELECT and fetch its rows `page` at a time.

    The result is closed at the end of its transaction at the latest.
    """
    result = tx.execute(query.execution_options(yield_per=page))
    open_results: list[CursorResult[Any]] = tx.get_execution_options().get(_OPEN_RESULTS_OPTION, [])
    # One transaction may open thousands of results, so closed results are removed.
    open_results[:] = [
        *(open_result for open_result in open_results if not open_result.closed),
        result,
    ]
    return result


def describe_error(error: exc.DBAPIError) -> str:
    """Return a database's message about a refused statement, without the rows that it quotes."""
    return read_first_line(error.orig or error)


class SelectedRows(NamedTuple):
    """The result of a user's query."""

    # The names of its columns.
    column_names: list[str]
    # An iterator, which can be read once.
    rows: Iterator[Sequence[Any]]


class Store:
    """The database of a workspace, or of another program.

    Connections are opened when they are needed; `close` closes them.
    """

    def __init__(
        self, url: str | Path, *, is_own_database: bool = True, writes: bool = True
    ) -> None:
        """Check a database's address; nothing is opened yet.

        Sets `address` (URL without passwords), `path` (None on a server) and `display_name` (for
        messages).

        Args:
            url: An SQLAlchemy URL, or the path of an SQLite file. The file of a path is opened for
                each transaction, so the store needs no `close`.
            is_own_database: False for another program's database, which is only used by
                `open_read_only_user_query`.
            writes: False for a command that only reads.

        Raises:
            ConfigurationError: The URL is invalid, or of another kind of database.
        """
        try:
            full_url = (
                URL.create("sqlite", database=str(url)) if isinstance(url, Path) else make_url(url)
            )
        except (exc.ArgumentError, ValueError) as error:
            # A port that is not a number is a ValueError.
            raise ConfigurationError(
                "ASKROWS_DATABASE_URL is not a database URL",
                hint="for example sqlite:////path/to/people.db"
                " or postgresql+psycopg://user@host/database",
            ) from error

        self._backend: PostgresqlServer | SqliteFile
        if full_url.get_backend_name() in {"postgresql", "postgres"}:
            self._backend = PostgresqlServer(full_url)
        else:
            self._backend = SqliteFile(
                full_url, keeps_connections=isinstance(url, str), writes=writes
            )
        # The URL without passwords: neither before the host nor among its options.
        self.address = (
            full_url._replace(password=None)
            .difference_update_query(PASSWORD_OPTIONS)
            .render_as_string()
        )
        # The database's file, or None on a server.
        self.path = self._backend.path
        # The name of the database in messages, without a password.
        self.display_name = self._backend.display_name
        self._is_own_database = is_own_database
        self._engine: Engine | None = None

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a read-only snapshot, in which later writes of others are not visible."""
        with (
            self._translate_errors(),
            self._open_engine().connect().execution_options(askrows_reads=True) as tx,
            tx.begin(),
            _close_results(tx),
        ):
            yield tx

    def query(
        self,
        read: Callable[Concatenate[Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Call a function that only reads, in a snapshot of its own, and return its result.

        Args:
            read: Gets the connection, then the other arguments.
        """
        with self.read() as tx:
            return read(tx, *args, **kwargs)

    @contextlib.contextmanager
    def open_foreign_snapshot_if_exists(self) -> Iterator[Connection | None]:
        """Open a snapshot of a database that may be another program's, without writing a file.

        Errors of the driver are raised as AskrowsErrors.

        Yields:
            A connection that only reads; None if the database is a file that does not exist.
        """
        # On a server a read changes nothing.
        if not isinstance(self._backend, SqliteFile):
            with self.read() as tx:
                yield tx
            return

        with self._translate_errors():
            if not self._backend.path.is_file():
                yield None
                return

            idle_state = read_mtime_and_size_if_idle(self._backend.path)
            engine = self._backend.make_read_only_engine(is_idle=idle_state is not None)
            try:
                with engine.connect().execution_options(askrows_reads=True) as tx, tx.begin():
                    yield tx
            finally:
                engine.dispose()

    @contextlib.contextmanager
    def open_read_only_user_query(self, query: str, *, timeout_s: float) -> Iterator[SelectedRows]:
        """Run a user's own query on a connection that cannot write.

        The text is not checked; the database decides what it may do. No file is created next to
        another program's file that is not in use.

        Args:
            timeout_s: The longest time for each step: the start, and each fetch of rows.

        Yields:
            The names of the columns, and an iterator that fetches the rows during the block. It is
            empty if the query returns no rows.

        Raises:
            InputError: The query is invalid, writes, or is too slow. Also at the end of the block,
                if another program changed or opened its file while it was read.
        """
        backend = self._backend
        idle_state = None
        if isinstance(backend, SqliteFile):
            idle_state = (
                None if self._is_own_database else read_mtime_and_size_if_idle(backend.path)
            )
            engine = backend.make_read_only_engine(is_idle=idle_state is not None)
        else:
            engine = self._open_engine()
            # A server would ignore the text after a null character.
            query = query.replace("\0", "\\0")

        with (
            self._translate_errors(),
            engine.connect().execution_options(askrows_reads=True) as tx,
        ):
            # Settings of the query's session must not reach other users of the connection.
            tx.detach()
            options = {"no_parameters": True, "stream_results": True}
            run_step = partial(self._run_query_step_within_time, tx, timeout_s)
            result = run_step(partial(tx.exec_driver_sql, query, execution_options=options))
            fetch_rows = SERVER_FETCH_ROWS if self.path is None else FILE_FETCH_ROWS

            def iterate_rows() -> Iterator[Sequence[Any]]:
                while result.returns_rows:
                    page = run_step(partial(result.fetchmany, fetch_rows))
                    if not page:
                        return
                    yield from page

            columns = getattr(result.cursor, "description", None) or ()
            yield SelectedRows([column[0] for column in columns], iterate_rows())
            result.close()

        if idle_state is None or self.path is None:
            return
        if read_mtime_and_size_if_idle(self.path) != idle_state:
            raise InputError(
                f"another program changed {self.path} while it was read; nothing was written",
                hint="run the same command again",
            )

    def _run_query_step_within_time(
        self, tx: Connection, timeout_s: float, step: Callable[[], T]
    ) -> T:
        """Run a step of a user's query within its time and return the step's result.

        Raises:
            InputError: The step took too long, or the query is at fault. The message has the first
                line of the database's reason. Other errors of the driver are raised unchanged.
        """
        try:
            with limit_statement_time(tx, timeout_s):
                return step()
        except SlowError:
            raise InputError(
                f"the query returned no row within {timeout_s:g} s and was stopped; "
                "nothing was written",
                hint="make the query faster, for example with an index",
            ) from None
        except (exc.DBAPIError, sqlite3.Warning, ValueError) as error:
            driver_error = getattr(error, "orig", None) or error
            if not self._backend.is_query_fault(driver_error):
                raise
            reason = read_main_message(driver_error)
            hint = "a query can only read"
            if "no such" in reason or "does not exist" in reason:
                hint = "check the tables, the columns and the database of the query"
            raise InputError(
                f"the database refused the query: {reason}; nothing was written", hint=hint
            ) from None

    @contextlib.contextmanager
    def open_connection(self) -> Iterator[Connection]:
        """Open a connection for the length of a block, without a transaction.

        Use it for a temporary table that `write(connection=…)` reads, or for a copy.
        """
        with self._translate_errors(), self._open_engine().connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(
        self,
        *,
        max_write_wait_s: float | None = None,
        connection: Connection | None = None,
    ) -> Iterator[Connection]:
        """Open the transaction of the only writer; commit it at the end, or roll it back.

        Args:
            max_write_wait_s: The longest wait for another writer; None means BUSY_S.
            connection: Use this connection of `open_connection` instead of a new connection.

        Raises:
            UnavailableError: Another program wrote for the whole time.
        """
        max_write_wait_s = BUSY_S if max_write_wait_s is None else max_write_wait_s
        with (
            self._translate_errors(max_write_wait_s),
            self._open_engine().connect()
            if connection is None
            else contextlib.nullcontext(connection) as tx,
            tx.execution_options(askrows_patience=max_write_wait_s).begin(),
            _close_results(tx),
        ):
            yield tx

    def make_clock(self, tx: Connection) -> Callable[[], datetime]:
        """Return a function that returns the time; on a server it follows the server's clock.

        So hosts whose clocks differ agree.
        """
        if self.path is not None:
            return partial(datetime.now, UTC)

        server_time: datetime = tx.execute(select(func.clock_timestamp())).scalar_one()
        started_s = time.monotonic()

        def read_time() -> datetime:
            return server_time + timedelta(seconds=time.monotonic() - started_s)

        return read_time

    def open_session(self, name: str) -> Session:
        """Open a session of a server outside of the pool, under a name that others see.

        Raises:
            TypeError: The database is a file.
        """
        if isinstance(self._backend, SqliteFile):
            raise TypeError(f"{self.display_name} is not a server")
        with self._translate_errors():
            return Session(self._backend, self._open_engine(), name)

    def vacuum_if_possible(self, *, extra_tables: Collection[str]) -> bool:
        """Free the space of deleted rows.

        Args:
            extra_tables: More tables, of other programs, that may be compacted.

        Returns:
            False if the file has other tables, which must not be compacted.
        """
        with self._translate_errors():
            return self._backend.vacuum_if_possible(self._open_engine(), extra_tables=extra_tables)

    def close(self) -> None:
        """Close every connection; a later transaction opens it again."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _open_engine(self) -> Engine:
        """Return the engine; the first call creates it, and silences the drivers' logs."""
        if self._engine is None:
            # If there is no handler, Python prints their log about interrupted connections and
            # refused statements.
            for name in ("sqlalchemy", "psycopg"):
                logging.getLogger(name).addHandler(_NULL_HANDLER)
            self._engine = self._backend.make_engine()
        return self._engine

    @contextlib.contextmanager
    def _translate_errors(self, max_write_wait_s: float = BUSY_S) -> Iterator[None]:
        """Raise the driver's errors in a `with` block as AskrowsErrors; let other errors pass.

        If a transaction is used after its connection was lost, the error says that the connection
        was lost. A KeyboardInterrupt that the driver turned into another error is raised again.

        Args:
            max_write_wait_s: The longest wait for another writer, for the message.
        """
        handled_before = sys.exception()
        try:
            yield
        except Exception as error:
            raise_hidden_interrupt(error, handled_before)
            driver_error: BaseException | None = None
            if isinstance(error, exc.DBAPIError):
                # SQLAlchemy's own error about a wrong use of it has no driver error.
                driver_error = error.orig
            elif isinstance(error, exc.PendingRollbackError):
                # The connection was lost earlier in this transaction.
                driver_error = ConnectionError("the connection was lost")
            elif self._backend.is_driver_error(error):
                # While a connection is prepared, SQLAlchemy does not wrap the driver's errors.
                driver_error = error
            if driver_error is None:
                raise
            raise self._backend.translate_error(driver_error, max_write_wait_s) from error


class SlowError(Exception):
    """A statement was cancelled because it took too long."""


@contextlib.contextmanager
def limit_statement_time(tx: Connection, seconds: float | None) -> Iterator[None]:
    """Cancel the statements of a block, which only reads, after a time.

    Args:
        seconds: The longest time; None means no limit. On SQLite it is for the whole block, and is
            measured as computing time (see `WorkTimer`). On PostgreSQL it is for each statement.

    Raises:
        SlowError: The time is over.
    """
    if seconds is None:
        yield
        return

    limit = _limit_sqlite_time if tx.dialect.name == "sqlite" else _limit_server_time
    with limit(tx, seconds):
        yield


@contextlib.contextmanager
def _limit_sqlite_time(tx: Connection, seconds: float) -> Iterator[None]:
    """Cancel SQLite's statements of a block after a time by its progress handler.

    The time is for the whole block, and is measured as computing time (see `WorkTimer`). The
    handler is removed at the end of the block.

    Raises:
        SlowError: A statement failed, for whatever reason, when the time was over. Before that, its
            errors are raised unchanged.
        KeyboardInterrupt: A person pressed Ctrl-C in a statement before the time was over.
    """
    # SQLite runs statements in this thread.
    timer = WorkTimer()
    connection: Any = tx.connection.dbapi_connection
    connection.set_progress_handler(lambda: timer.seconds > seconds, _PROGRESS_INSTRUCTIONS)
    try:
        yield
    except exc.DBAPIError as error:
        if timer.seconds >= seconds:
            raise SlowError from error
        # Ctrl-C in the progress handler interrupts the statement.
        if "interrupted" in str(error.orig):
            raise KeyboardInterrupt from None
        raise
    finally:
        connection.set_progress_handler(None, 0)


@contextlib.contextmanager
def _limit_server_time(tx: Connection, seconds: float) -> Iterator[None]:
    """Cancel each statement of a block on PostgreSQL after a time, by its statement timeout.

    The block runs in a savepoint, so the transaction can be used after an error.

    Raises:
        SlowError: A statement failed, for whatever reason, at least `seconds` after the block
            began. Earlier errors are raised unchanged.
    """
    deadline_s = time.monotonic() + seconds
    timeout_ms = max(1, round(seconds * 1000))
    try:
        with tx.begin_nested():
            tx.exec_driver_sql(f"SET LOCAL statement_timeout = {timeout_ms}")
            yield
            tx.exec_driver_sql("SET LOCAL statement_timeout = 0")
    except exc.DBAPIError as error:
        if time.monotonic() >= deadline_s:
            raise SlowError from error
        raise


@contextlib.contextmanager
def _close_results(tx: Connection) -> Iterator[None]:
    """Close the results of `stream_rows` that are open at the end of a transaction."""
    open_results: list[CursorResult[Any]] = []
    tx.execution_options(**{_OPEN_RESULTS_OPTION: open_results})
    try:
        yield
    finally:
        for result in open_results:
            result.close()
        # A result refers to its connection, which must be released.
        open_results.clear()


def run_for_each_row(
    tx: Connection,
    statement: Insert | Update | Delete,
    rows: Sequence[Mapping[str, Any]],
) -> int:
    """Run a statement once for each row of parameters; do nothing without rows.

    Returns:
        The number of database rows that changed in all.
    """
    # If there are no parameters, SQLAlchemy would run the statement once.
    return tx.execute(statement, rows).rowcount if rows else 0


def insert_rows_through_driver(
    tx: Connection, table: Table, rows: Sequence[dict[str, Any]]
) -> None:
    """Insert rows by the driver alone; SQLAlchemy would look at each value of each row.

    Args:
        rows: Values that the driver can store, by column; all rows have the same columns.
    """
    if not rows:
        return

    placeholder = ":{}" if tx.dialect.name == "sqlite" else "%({})s"
    columns = ", ".join(rows[0])
    values = ", ".join(map(placeholder.format, rows[0]))
    # These are names of our own tables.
    tx.exec_driver_sql(f"INSERT INTO {table.name} ({columns}) VALUES ({values})", rows)  # noqa: S608


def insert_missing_rows(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose key does not exist yet; return their number."""
    return run_for_each_row(tx, make_insert(table, tx.dialect.name).on_conflict_do_nothing(), rows)


def make_insert(table: Table, dialect: str) -> Any:
    """Return an INSERT of a dialect, which has the methods `on_conflict_do_…`."""
    if dialect == "sqlite":
        return sqlite.insert(table)

    # Imported here because it takes a tenth of the time of a command that uses an SQLite file.
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def update_rows_by_id(
    tx: Connection,
    table: Table,
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *conditions: ColumnElement[bool],
) -> int:
    """Set columns of rows that are found by their `id` and meet all conditions.

    Args:
        names: The columns to set.
        rows: The new values in the order of `names`, then the id.

    Returns:
        The number of changed rows.
    """
    parameters = [*(f"new_{name}" for name in names), "row"]
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    change = update(table).where(table.c.id == bindparam("row"), *conditions).values(values)
    return run_for_each_row(tx, change, [dict(zip(parameters, row, strict=True)) for row in rows])


class WorkTimer:
    """The time that work in this thread has taken since the timer was made.

    It is the thread's computing time, because other programs may use the processor meanwhile. It is
    at least a twentieth of the time that passes, because the work may wait for a disk.
    """

    def __init__(self) -> None:
        """Start now; the timer can be read only by this thread."""
        self._started_s = time.monotonic()
        self._thread_started_s = time.thread_time()

    @property
    def seconds(self) -> float:
        """Return the time that the work has taken until now."""
        passed_s = time.monotonic() - self._started_s
        computing_s = time.thread_time() - self._thread_started_s
        return max(computing_s, passed_s / MAX_BUSY_FACTOR)
