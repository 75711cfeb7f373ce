"""Open a database and its transactions: `read()` sees one snapshot, `write()` is the only writer while it lasts.

The same for an SQLite file (`sqlite`) and a PostgreSQL server (`postgresql`): what a write reads is what it changes,
for no other write of this workspace is under way; readers do not wait. `streamed` reads at flat memory, `run_many` and
`insert_rows` give the driver plain tuples, for building parameters row by row takes longer than writing them.
"""

import contextlib
import functools
import json
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import (
    ARRAY,
    BigInteger,
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
    TypeDecorator,
    Update,
    bindparam,
    cast,
    exc,
    func,
    insert,
    literal,
    literal_column,
    make_url,
    select,
)

from pipeline.core.errors import ConfigurationError, interrupts_kept
from pipeline.core.redact import PASSWORDS
from pipeline.store.last_write import LastWrite, last_write_to
from pipeline.store.sqlite import SqliteFile
from pipeline.store.table_base import METADATA

if TYPE_CHECKING:
    from pipeline.store import select_only
    from pipeline.store.postgresql import PostgresqlServer

__all__ = ["Connection", "LastWrite", "Select", "Store"]

NUL = r"\u0000"  # where SQLite's JSON would end a text
PAGE = 500  # ids in one statement
PARAMETERS = 500  # in one statement; older SQLite takes 999
OPENED = "findable_opened"  # in a connection's execution options: where its results are kept until it ends
BUSY_S = 60.0  # how long a writer waits for another one, in seconds; our transactions last far less
_NULL_HANDLER = logging.NullHandler()
T = TypeVar("T")


def pages(values: Sequence[T], size: int = PAGE) -> Iterator[Sequence[T]]:
    """Yield values in slices of at most `size`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


def next_value(tx: Connection, column: Column[int]) -> int:
    """Return one more than the highest number in a column, 1 where there is none; the caller keeps others away."""
    return (tx.execute(select(func.max(column))).scalar() or 0) + 1


def among(tx: Connection, column: ColumnElement[Any], values: Sequence[int | str]) -> ColumnElement[bool]:
    """Return the condition that a column holds one of these numbers and texts, as `column.in_(values)` would.

    SQLite gets them as one JSON array, a server numbers as one array, for a thousand parameters take SQLAlchemy long to
    write down: in a SELECT of its own, or the array would be read anew for each row of a small table.
    """
    if tx.dialect.name == "postgresql" and {*map(type, values)} == {int}:
        text, numbers = f"{{{','.join(map(str, values))}}}", ARRAY(BigInteger)
        read = select(cast(bindparam(None, text, Text, unique=True), numbers)).scalar_subquery()
        return column == func.any(cast(read, numbers))
    listed = json.dumps(values, ensure_ascii=False) if tx.dialect.name == "sqlite" else NUL
    if NUL in listed:
        return column.in_(values)
    array = func.json_each(bindparam(None, listed, Text, unique=True))
    value: ColumnElement[Any] = literal_column("+value")  # without the sign it would not become what the column holds
    return column.in_(select(value).select_from(array))


def streamed(tx: Connection, query: Select[Any], *, page: int) -> CursorResult[Any]:
    """Run a SELECT whose rows are fetched `page` at a time; it is closed with its transaction at the latest.

    On a server the cursor is the transaction's own, and cannot be closed after it.
    """
    result = tx.execute(query.execution_options(yield_per=page))
    opened: list[CursorResult[Any]] = tx.get_execution_options().get(OPENED, [])
    opened[:] = [*(one for one in opened if not one.closed), result]  # thousands may come and go in one transaction
    return result


def describe_error(error: exc.DBAPIError) -> str:
    """Return what a database says of a refused statement, without the rows that it quotes."""
    from pipeline.store.postgresql import first_line

    return first_line(error.orig or error)


class Store:
    """The database behind one workspace. Connections are opened when used and closed by `close`."""

    def __init__(self, url: str) -> None:
        """Take an SQLAlchemy URL; nothing is opened yet.

        Raises:
            ConfigurationError: no URL of a database that this version speaks to.
        """
        try:
            whole = make_url(url)
        except (exc.ArgumentError, ValueError) as error:  # the second of a port that is no number
            raise ConfigurationError(
                "FINDABLE_DATABASE_URL is no database URL",
                hint="for example sqlite:////path/to/people.db or postgresql+psycopg://user@host/database",
            ) from error
        self._kind: SqliteFile | PostgresqlServer
        if whole.get_backend_name() in {"postgresql", "postgres"}:
            from pipeline.store import postgresql

            self._kind = postgresql.PostgresqlServer(whole)
        else:
            self._kind = SqliteFile(whole)
        # the URL as it may be written down: with no password, neither before the host nor among the options
        self.address = whole._replace(password=None).difference_update_query(PASSWORDS).render_as_string()
        self.path = self._kind.path  # the file that is the database; None where a server keeps it
        self.shown = self._kind.shown  # what a person knows the database by; never with a password in it
        self._engine: Engine | None = None

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Open a snapshot to read from; what others write meanwhile is not seen in it."""
        with (
            self._translated(BUSY_S),
            self._open().connect().execution_options(**self._kind.for_reading) as tx,
            tx.begin(),
            _closing_results(tx),
        ):
            yield tx

    @contextlib.contextmanager
    def read_unchanged(self) -> Iterator[Connection | None]:
        """Open a snapshot of a database that may be another program's: nothing is made, switched or written.

        None where an SQLite file is not there.
        """
        if not isinstance(self._kind, SqliteFile):  # where a read changes nothing by itself
            with self.read() as tx:
                yield tx
            return
        with self._translated(BUSY_S):
            engine = self._kind.open_unchanged()
            if engine is None:
                yield None
                return
            try:
                with engine.connect().execution_options(**self._kind.for_reading) as tx, tx.begin():
                    yield tx
            finally:
                engine.dispose()

    @contextlib.contextmanager
    def selected(self, query: str, *, timeout_s: float) -> "Iterator[select_only.SelectedRows]":
        """Run a query of a user's own, once, on a connection on which the database forbids to write.

        Raises:
            InputError: the database refuses it, or it gave no row for `timeout_s` seconds.
        """
        from pipeline.store import select_only

        with self._translated(BUSY_S):
            ask = functools.partial(select_only.of_server, self._open())
            if self.path is not None:
                ask = functools.partial(select_only.of_file, self.path)
            with ask(query, timeout_s=timeout_s) as found:
                yield found

    @contextlib.contextmanager
    def write(self, *, patience_s: float | None = None) -> Iterator[Connection]:
        """Open a transaction that is committed at the end of the block and rolled back by an exception.

        While another one writes it waits, a minute at the most unless `patience_s` says otherwise.

        Raises:
            UnavailableError: the other one wrote for longer, and nothing was changed; or the server went away.
        """
        with self._alone(BUSY_S if patience_s is None else patience_s) as tx:
            yield tx

    @contextlib.contextmanager
    def part(self, tx: Connection) -> Iterator[None]:
        """Do a part of a transaction that fails alone: an exception rolls back the block, no more; see `has_ended`."""
        with self._translated(BUSY_S), tx.begin_nested():
            yield

    def has_ended(self, tx: Connection) -> bool:
        """Return whether a file's transaction was rolled back whole when a part of it failed, as on a full disk."""
        return self.path is not None and not getattr(tx.connection.driver_connection, "in_transaction", True)

    @contextlib.contextmanager
    def copied_to(self, target: Path) -> Iterator[Connection]:
        """Write a copy of an SQLite file as it stands at one moment, while others read and write, and read in it."""
        if not isinstance(self._kind, SqliteFile):
            raise TypeError(f"{self.shown} is no file")
        with self._translated(BUSY_S), self._kind.copied_to(self._open(), target) as tx:
            yield tx

    def compact(self, *, besides: Collection[str] = (), patience_s: float = BUSY_S) -> bool:
        """Free the room of deleted rows, in the engine's tables and `besides` in those of the subjects.

        An SQLite file is written anew, and the journal beside it is emptied; false where that may not be. A server
        clears the tables up; which bytes of its disk it writes over, and when, is its own affair.

        Raises:
            UnavailableError: another program reads or writes for longer; what was deleted may still be in the files.
        """
        with self._translated(patience_s):
            return self._kind.compact(self._open(), besides=besides, patience_s=patience_s)

    def last_write(self) -> LastWrite:
        """Return what tells, where it is the same again, that no process has written to the database since."""
        return LastWrite() if self.path is None else last_write_to(self.path)

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
            self._engine = self._kind.open(busy_s=BUSY_S)
        return self._engine

    @contextlib.contextmanager
    def _alone(self, patience_s: float) -> Iterator[Connection]:
        """Open the only transaction that writes."""
        with (
            self._translated(patience_s),
            self._open().connect().execution_options(findable_patience=patience_s) as tx,
            tx.begin(),
            _closing_results(tx),
        ):
            yield tx

    @contextlib.contextmanager
    def _translated(self, patience_s: float) -> Iterator[None]:
        """Turn the database's errors into ours."""
        try:
            with interrupts_kept():
                yield
        except exc.DBAPIError as error:
            if error.orig is None:  # said by SQLAlchemy itself, of its own use
                raise
            raise self._kind.error(error.orig, patience_s) from error
        except exc.PendingRollbackError as error:  # the connection went away earlier in this transaction
            raise self._kind.error(ConnectionError("the connection was lost"), patience_s) from error
        except Exception as error:  # while a connection is prepared, before SQLAlchemy has it
            if not self._kind.says(error):
                raise
            raise self._kind.error(error, patience_s) from error


@contextlib.contextmanager
def _closing_results(tx: Connection) -> Iterator[None]:
    """Close the results that were not read to their end, before the transaction ends."""
    opened: list[CursorResult[Any]] = []
    tx.execution_options(**{OPENED: opened})
    try:
        yield
    finally:
        for result in opened:
            result.close()
        opened.clear()  # a result knows its connection


def insert_rows(
    tx: Connection,
    table: Table,
    names: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    same: Mapping[str, Any] = MappingProxyType({}),
) -> None:
    """Insert rows of values in the order of `names`, with the `same` in each; other columns get their defaults."""
    if not rows:
        return
    if tx.dialect.name == "sqlite":  # which takes a third longer for rows that bring with them what is the same
        statement = insert(table).values({name: _literal(tx, table.c[name], value) for name, value in same.items()})
        _insert_together(tx, statement, names, _as_stored(tx, table, names, rows))
        return
    names, rows = (*names, *same), [(*row, *same.values()) for row in rows]
    stored = _as_stored(tx, table, names, rows)
    if table.metadata is METADATA:
        from pipeline.store import postgresql

        postgresql.copy_in(tx, table, names, stored)  # of another program's table it would pass over rules
    else:
        run_many(tx, insert(table), names, stored)


def _literal(tx: Connection, column: Column[Any], value: Any) -> ColumnElement[Any]:
    """Return a value of a column as it stands in a statement."""
    compiled = literal(value, column.type).compile(dialect=tx.dialect, compile_kwargs={"literal_binds": True})
    return literal_column(str(compiled))


def _insert_together(tx: Connection, statement: Insert, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows into an SQLite file, many by each statement, of which one takes a fifth of the time of a row."""
    compiled: Any = statement.compile(dialect=tx.dialect, column_keys=list(names))
    placed: list[tuple[Any, ...]] = _placed(compiled, names, rows)
    values = compiled.string.partition(") VALUES ")[2]
    size = PARAMETERS // max(1, len(placed[0])) or 1
    alone = len(placed) % size
    together = [tuple(chain.from_iterable(some)) for some in pages(placed[alone:], size)]
    for sql, some in ((compiled.string, placed[:alone]), (compiled.string + f", {values}" * (size - 1), together)):
        if some:
            tx.exec_driver_sql(sql, some)


def run_many(
    tx: Connection, statement: Insert | Update | Delete, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> int:
    """Run a statement once for each row, and return how many rows of the database it met in all.

    `names` are its bound parameters in the order of a row's values, which are what the driver takes: text, numbers,
    bytes, None.
    """
    if not rows:
        return 0
    compiled: Any = statement.compile(dialect=tx.dialect, column_keys=list(names))
    return tx.exec_driver_sql(compiled.string, _placed(compiled, names, rows)).rowcount


def _placed(compiled: Any, names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """Return the rows as the driver takes them, with the parameters that the statement brought itself."""
    own = {name: value for name, value in compiled.params.items() if name not in names}
    if not compiled.positional:
        return [{**own, **dict(zip(names, row, strict=True))} for row in rows]
    wanted = list(compiled.positiontup or ())
    if wanted == list(names):
        return list(map(tuple, rows))
    place = {name: at for at, name in enumerate((*names, *own))}
    order, values = [place[name] for name in wanted], tuple(own.values())
    return [tuple(map((*row, *values).__getitem__, order)) for row in rows]


def _as_stored(
    tx: Connection, table: Table, names: Sequence[str], rows: Sequence[Sequence[Any]]
) -> Sequence[Sequence[Any]]:
    """Return rows with the values of our own types as the database keeps them; the driver knows all others."""
    for at, name in enumerate(names):
        kind = table.c[name].type
        own = isinstance(kind, TypeDecorator)
        process = kind.dialect_impl(tx.dialect).bind_processor(tx.dialect) if own else None
        if process is not None:
            known = {value: process(value) for value in {row[at] for row in rows}}  # a chunk is of one moment
            rows = [(*row[:at], known[row[at]], *row[at + 1 :]) for row in rows]
    return rows
