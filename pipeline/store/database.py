"""Open a database and its transactions: `read()` sees one snapshot, `write()` is the only writer while it lasts.

The same for an SQLite file (`sqlite`) and a PostgreSQL server (`postgresql`): what a write reads is what it changes,
for no other write of this workspace is under way; readers do not wait. `streamed` reads at flat memory.
"""

import contextlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial, wraps
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import (
    JSON,
    URL,
    Column,
    ColumnElement,
    Connection,
    CursorResult,
    Delete,
    Engine,
    Insert,
    Select,
    Table,
    Text,
    Update,
    bindparam,
    cast,
    exc,
    func,
    literal,
    make_url,
    select,
    update,
)
from sqlalchemy.dialects import sqlite

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.redact import PASSWORDS
from pipeline.store.postgresql import PostgresqlServer, Session, first_line, interrupts_kept
from pipeline.store.sqlite import BUSY_S, SqliteFile, resting

if TYPE_CHECKING:
    from pipeline.store.locks import Locks

__all__ = ["Connection", "Select", "Store"]

PAGE = 500  # ids in one statement
FETCHED = {True: 1_000, False: 20}  # rows of a user's query that a server, or a file, gives at once
_OPENED = "findable_opened"  # in a connection's execution options: where its results are kept until it ends
_NULL_HANDLER = logging.NullHandler()
T = TypeVar("T")
P = ParamSpec("P")
_SNAPSHOT_RESULTS = WeakKeyDictionary[Connection, dict[Any, Any]]()


def cached_in_snapshot(
    look: Callable[Concatenate[Connection, P], T],
) -> Callable[Concatenate[Connection, P], T]:
    """Wrap a look at the database so that it is made once in each `Store.read`, which sees nothing new meanwhile.

    In any other transaction each call looks anew. All further arguments must be hashable; what is returned must not be
    changed.
    """

    @wraps(look)
    def look_once(tx: Connection, /, *args: P.args, **kwargs: P.kwargs) -> T:
        if not tx.get_execution_options().get("findable_reads"):
            return look(tx, *args, **kwargs)

        results = _SNAPSHOT_RESULTS.setdefault(tx, {})
        key = (look, args, *kwargs.items())
        if key not in results:
            results[key] = look(tx, *args, **kwargs)
        return results[key]  # type: ignore[no-any-return]

    return look_once


def pages(values: Iterable[T], size: int = PAGE) -> Iterator[list[T]]:
    """Yield values, as they come, in lists of at most `size`."""
    left = iter(values)
    return iter(lambda: list(islice(left, size)), [])


def among(
    tx: Connection, query: Select[Any], column: ColumnElement[Any], values: Sequence[Any]
) -> Iterator[Any]:
    """Yield the rows of a SELECT in which a column has one of some values, however many those are."""
    for some in pages(values):
        yield from tx.execute(query.where(column.in_(some))).all()


def is_one_of(
    tx: Connection, column: ColumnElement[str], values: Sequence[str]
) -> ColumnElement[bool]:
    """Return the condition that a text is one of many values, which go to the database as one JSON list."""
    given = literal(json.dumps(list(values)), Text)
    if tx.dialect.name == "sqlite":
        return column.in_(select(func.json_each(given).table_valued("value").c.value))
    return column.in_(
        select(func.json_array_elements_text(cast(given, JSON)).column_valued("value"))
    )


def change_among(
    tx: Connection, change: Update | Delete, column: ColumnElement[Any], values: Sequence[Any]
) -> int:
    """Run an UPDATE or DELETE where a column has one of some values; return how many rows it met."""
    return sum(tx.execute(change.where(column.in_(some))).rowcount for some in pages(values))


def next_value(tx: Connection, column: Column[int]) -> int:
    """Return one more than the highest number in a column, 1 where there is none; the caller keeps others away."""
    return (tx.execute(select(func.max(column))).scalar() or 0) + 1


def streamed(tx: Connection, query: Select[Any], *, page: int) -> CursorResult[Any]:
    """Run a SELECT whose rows are fetched `page` at a time; it is closed with its transaction at the latest."""
    result = tx.execute(query.execution_options(yield_per=page))
    opened: list[CursorResult[Any]] = tx.get_execution_options().get(_OPENED, [])
    opened[:] = [
        *(one for one in opened if not one.closed),
        result,
    ]  # thousands may come and go in one transaction
    return result


def describe_error(error: exc.DBAPIError) -> str:
    """Return what a database says of a refused statement, without the rows that it quotes."""
    return first_line(error.orig or error)


class SelectedRows(NamedTuple):
    """What a query gives: the names of its columns, and its rows, once."""

    names: list[str]
    rows: Iterator[Sequence[Any]]


class Store:
    """The database behind one workspace. Connections are opened when used and closed by `close`."""

    def __init__(self, url: str | Path, *, is_ours: bool = True) -> None:
        """Take an SQLAlchemy URL, or refuse it; nothing is opened yet. Of one that is not ours rows are selected."""
        try:
            # a path is of a file of ours that is opened for each transaction, so that nobody has to close it
            whole = (
                URL.create("sqlite", database=str(url)) if isinstance(url, Path) else make_url(url)
            )
        except (exc.ArgumentError, ValueError) as error:  # the second of a port that is no number
            raise ConfigurationError(
                "FINDABLE_DATABASE_URL is no database URL",
                hint="for example sqlite:////path/to/people.db or postgresql+psycopg://user@host/database",
            ) from error
        is_server = whole.get_backend_name() in {"postgresql", "postgres"}
        self._kind = (
            PostgresqlServer(whole)
            if is_server
            else SqliteFile(whole, is_kept=isinstance(url, str))
        )
        # the URL as it may be written down: with no password, neither before the host nor among the options
        self.address = (
            whole._replace(password=None).difference_update_query(PASSWORDS).render_as_string()
        )
        self.path = self._kind.path  # the file that is the database; None where a server keeps it
        self.shown = (
            self._kind.shown
        )  # what a person knows the database by; never with a password in it
        self._is_ours = is_ours
        self._engine: Engine | None = None
        self.locks: Locks | None = None  # of the workspace that is open in it

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a snapshot to read from; what others write meanwhile is not seen in it."""
        with (
            self._translated(),
            self._open().connect().execution_options(findable_reads=True) as tx,
            tx.begin(),
            _closing_results(tx),
        ):
            yield tx

    @contextlib.contextmanager
    def read_unchanged(self) -> Iterator[Connection | None]:
        """Open a snapshot of what may be another program's, and write nothing; None where a file is not there."""
        if not isinstance(self._kind, SqliteFile):  # where a read changes nothing by itself
            with self.read() as tx:
                yield tx
            return
        with self._translated():
            if not self._kind.path.is_file():
                yield None
                return
            engine = self._kind.open_unchanged(resting(self._kind.path))
            try:
                with engine.connect().execution_options(findable_reads=True) as tx, tx.begin():
                    yield tx
            finally:
                engine.dispose()

    @contextlib.contextmanager
    def selected(self, query: str, *, timeout_s: float) -> Iterator[SelectedRows]:
        """Run a user's own query where the database forbids to write; it gives a row each `timeout_s` or is refused.

        The text is never looked at: what it may do is the database's decision. Beside a file that is not ours none is
        made, where its program has none open there.
        """
        kind = self._kind
        still = None
        if isinstance(kind, SqliteFile):
            still = None if self._is_ours else resting(kind.path)
            engine = kind.open_unchanged(still)
        else:
            engine = self._open()  # behind a null character it would see nothing
            query = query.replace("\0", "\\0")
        with self._translated(), engine.connect().execution_options(findable_reads=True) as tx:
            tx.detach()  # what the query sets for its session is nothing to others
            if not isinstance(kind, SqliteFile):
                kind.read_any_time(tx)

            how = {"no_parameters": True, "stream_results": True}
            limited = partial(self._limited, tx, timeout_s)
            result = limited(lambda: tx.exec_driver_sql(query, execution_options=how))
            size = FETCHED[self.path is None]

            def rows() -> Iterator[Sequence[Any]]:
                while result.returns_rows and (some := limited(lambda: result.fetchmany(size))):
                    yield from some

            columns = getattr(result.cursor, "description", None) or ()
            yield SelectedRows([one[0] for one in columns], rows())
            result.close()
        if still is not None and self.path is not None and resting(self.path) != still:
            said = f"{self.path} was used by another program while it was read; nothing was written"
            raise InputError(said, hint="try again")

    def _limited(self, tx: Connection, timeout_s: float, step: Callable[[], T]) -> T:
        """Run a step of a user's query within its time, and refuse the query where the fault is its own."""
        try:
            with within(tx, timeout_s):
                return step()
        except SlowError:
            said = (
                f"the query gave no row for {timeout_s:g} s and was broken off; nothing was written"
            )
            raise InputError(said, hint="make it quicker, such as by an index") from None
        except (exc.DBAPIError, sqlite3.Warning, ValueError) as error:
            found = getattr(error, "orig", None) or error
            if not self._kind.is_of_query(found):
                raise
            words = getattr(getattr(found, "diag", None), "message_primary", None) or first_line(
                found
            )
            is_name = "no such" in words or "does not exist" in words
            hint = (
                "check its tables and columns, and which database it asks"
                if is_name
                else "a query may only read"
            )
            raise InputError(
                f"the database refuses the query: {words}; nothing was written", hint=hint
            ) from None

    @contextlib.contextmanager
    def held(self) -> Iterator[Connection]:
        """Keep one connection for a block: for a temporary table, which `write(on=…)` then reads, or for a copy."""
        with self._translated(), self._open().connect() as connection:
            yield connection

    @contextlib.contextmanager
    def write(
        self, *, patience_s: float | None = None, on: Connection | None = None
    ) -> Iterator[Connection]:
        """Open a transaction, `on` a held connection; while another one writes it waits `patience_s`, else a minute."""
        patience_s = BUSY_S if patience_s is None else patience_s
        with (
            self._translated(patience_s),
            self._open().connect() if on is None else contextlib.nullcontext(on) as tx,
            tx.execution_options(findable_patience=patience_s).begin(),
            _closing_results(tx),
        ):
            yield tx

    def clock(self, tx: Connection) -> Callable[[], datetime]:
        """Return what tells the time: of a server its own, so that hosts whose clocks differ agree."""
        if self.path is not None:
            return lambda: datetime.now(UTC)
        told: datetime = tx.execute(select(func.clock_timestamp())).scalar_one()
        began = time.monotonic()
        return lambda: told + timedelta(seconds=time.monotonic() - began)

    def session(self, name: str) -> Session:
        """Return a session of a server beside the pool, under a name that others see."""
        if isinstance(self._kind, SqliteFile):
            raise TypeError(f"{self.shown} is no server")
        with self._translated():
            return Session(self._kind, self._open(), name)

    def compact(self, *, besides: Collection[str]) -> bool:
        """Free the room of deleted rows, a server of our tables and those `besides`; false where that may not be."""
        with self._translated():
            return self._kind.compact(self._open(), besides=besides)

    def close(self) -> None:
        """Close every connection."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def _open(self) -> Engine:
        if self._engine is None:
            # or Python prints what they log of interrupted connections and refused statements
            for name in ("sqlalchemy", "psycopg"):
                logging.getLogger(name).addHandler(_NULL_HANDLER)
            self._engine = self._kind.open()
        return self._engine

    @contextlib.contextmanager
    def _translated(self, patience_s: float = BUSY_S) -> Iterator[None]:
        try:
            with interrupts_kept():
                yield
        except exc.DBAPIError as error:
            if error.orig is None:  # said by SQLAlchemy itself, of its own use
                raise
            raise self._kind.error(error.orig, patience_s) from error
        except (
            exc.PendingRollbackError
        ) as error:  # the connection went away earlier in this transaction
            raise self._kind.error(
                ConnectionError("the connection was lost"), patience_s
            ) from error
        except Exception as error:  # while a connection is prepared, before SQLAlchemy has it
            if not self._kind.says(error):
                raise
            raise self._kind.error(error, patience_s) from error


class SlowError(Exception):
    """A statement took longer than it may, and was broken off."""


@contextlib.contextmanager
def within(tx: Connection, seconds: float | None) -> Iterator[None]:
    """Break off a statement of a block that only reads after so many seconds (SlowError); None is no limit."""
    if seconds is None:
        yield
        return
    until = time.monotonic() + seconds
    file: Any = tx.connection.dbapi_connection if tx.dialect.name == "sqlite" else None
    if file is not None:
        file.set_progress_handler(lambda: time.monotonic() > until, 1_000)
    try:
        with tx.begin_nested() if file is None else contextlib.nullcontext():
            if file is None:
                tx.exec_driver_sql(f"SET LOCAL statement_timeout = {max(1, round(seconds * 1000))}")
            yield
            if file is None:
                tx.exec_driver_sql("SET LOCAL statement_timeout = 0")
    except exc.DBAPIError as error:
        if time.monotonic() >= until:
            raise SlowError from error
        if file is not None and "interrupted" in str(
            error.orig
        ):  # Ctrl-C came while SQLite looked at the clock
            raise KeyboardInterrupt from None
        raise
    finally:
        if file is not None:
            file.set_progress_handler(None, 0)


@contextlib.contextmanager
def _closing_results(tx: Connection) -> Iterator[None]:
    opened: list[CursorResult[Any]] = []
    tx.execution_options(**{_OPENED: opened})
    try:
        yield
    finally:
        for result in opened:
            result.close()
        opened.clear()  # a result knows its connection


def run_many(
    tx: Connection, statement: Insert | Update | Delete, rows: Sequence[Mapping[str, Any]]
) -> int:
    """Run a statement once for each row of its parameters, and return how many rows of the database it met in all."""
    return (
        tx.execute(statement, rows).rowcount if rows else 0
    )  # without any, it would be run once, with none


def insert_new(tx: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert those of some rows whose key is not there yet, and return how many those are."""
    return run_many(tx, insert_into(table, tx.dialect.name).on_conflict_do_nothing(), rows)


def insert_into(table: Table, dialect: str) -> Any:
    """Return the INSERT of a dialect, which may say what becomes of rows whose key is there."""
    if dialect == "sqlite":
        return sqlite.insert(table)

    # Loaded only where there is a server: a command at an SQLite file would spend a tenth of its time on it.
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(table)


def update_rows(
    tx: Connection,
    table: Table,
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *conditions: ColumnElement[bool],
) -> int:
    """Write columns of rows by their `id`, the last value of each, where all conditions hold; return a count."""
    places = [*(f"new_{name}" for name in names), "row"]
    values: dict[str, Any] = {name: bindparam(f"new_{name}") for name in names}
    written = update(table).where(table.c.id == bindparam("row"), *conditions).values(values)
    return run_many(tx, written, [dict(zip(places, row, strict=True)) for row in rows])
