"""Run a query of a user's own on a connection on which the database itself forbids to write, and end it in time.

The text is never looked at: what it may do is the database's decision. A transaction of ours, which may write, is
another connection.
"""

import contextlib
import operator
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Engine

from pipeline.core.errors import InputError
from pipeline.store.postgresql import first_line
from pipeline.store.sqlite import read_only, resting

MOST_BYTES = 64 << 20  # of one value, or row, of SQLite
PAGE = 1_000  # rows in memory
BUSY_S = 10.0  # how long a file of another program is waited for while that writes
_STEPS = 10_000  # of SQLite's machine between two looks at the clock, a millisecond or so
_NOT_ITS_FAULT = {"BUSY", "LOCKED", "IOERR", "CORRUPT", "FULL", "CANTOPEN", "NOTADB"}  # SQLite's names
_OTHERS = ("08", "57P", "53", "XX")  # SQLSTATEs that say something of the server
_BROKEN_OFF = "57014"


class SelectedRows(NamedTuple):
    """What a query gives: the names of its columns, and its rows, once."""

    names: list[str]
    rows: Iterator[Sequence[Any]]


def _refusal(error: BaseException, *, timeout_s: float, is_late: bool) -> InputError:
    if is_late:
        said = f"the query gave no row for {timeout_s:g} s and was broken off; nothing was written"
        return InputError(said, hint="make it quicker, such as by an index")
    words = getattr(getattr(error, "diag", None), "message_primary", None) or first_line(error)
    is_name = "no such" in words or "does not exist" in words
    hint = "check its tables and columns, and which database it asks" if is_name else "a query may only read"
    return InputError(f"the database refuses the query: {words}; nothing was written", hint=hint)


def _rows(cursor: Any, size: int, limits: Callable[[], AbstractContextManager[None]]) -> Iterator[Sequence[Any]]:
    rows: Sequence[Any] = [()]
    while rows:
        with limits():
            rows = cursor.fetchmany(size)
        yield from rows


@contextlib.contextmanager
def of_file(path: Path, query: str, *, timeout_s: float, is_ours: bool = True) -> Iterator[SelectedRows]:
    """Run a query on an SQLite file; where something is wrong with the file and not the query, `sqlite3.Error`.

    Beside one that is not ours no file is made, where its program has none open there.
    """
    busy_s, still, until = (timeout_s, None, 0.0) if is_ours else (BUSY_S, resting(path), 0.0)

    @contextlib.contextmanager
    def limits() -> Iterator[None]:
        nonlocal until
        until = time.monotonic() + timeout_s
        try:
            yield
        except (sqlite3.Error, sqlite3.Warning, ValueError) as error:
            name = getattr(error, "sqlite_errorname", "").removeprefix("SQLITE_")
            if name == "INTERRUPT" and time.monotonic() < until:  # Ctrl-C came while SQLite looked at the clock
                raise KeyboardInterrupt from None
            if name.partition("_")[0] in _NOT_ITS_FAULT:
                raise
            raise _refusal(error, timeout_s=timeout_s, is_late=name == "INTERRUPT") from None

    address = read_only(path, still=still)
    with contextlib.closing(
        sqlite3.connect(address, uri=True, isolation_level=None, timeout=busy_s, check_same_thread=False)
    ) as connection:
        # what is no UTF-8 is found where it is kept
        connection.text_factory = operator.methodcaller("decode", "utf-8", "surrogateescape")
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
        connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        connection.execute("PRAGMA query_only = ON")
        connection.set_progress_handler(lambda: time.monotonic() >= until, _STEPS)
        with limits():
            cursor = connection.execute(query)
        yield SelectedRows([one[0] for one in cursor.description or ()], _rows(cursor, 1, limits))
    if still is not None and resting(path) != still:
        said = f"{path} was used by another program while it was read; nothing was written"
        raise InputError(said, hint="try again")


@contextlib.contextmanager
def of_server(engine: Engine, query: str, *, timeout_s: float) -> Iterator[SelectedRows]:
    """Run a query on a server, on a connection of its own; what is not the query's fault is a `psycopg.Error`."""
    import psycopg

    fairy = engine.raw_connection()
    driver: Any = fairy.driver_connection
    fairy.detach()  # what the query sets for its session is nothing to others

    @contextlib.contextmanager
    def limits() -> Iterator[None]:
        until = time.monotonic() + timeout_s
        try:
            # each time, for the query may have lifted it
            driver.execute(f"SET LOCAL statement_timeout = {max(1, round(timeout_s * 1000))}")
            yield
        except (psycopg.Error, ValueError) as error:
            state = str(getattr(error, "sqlstate", None) or "")
            is_late = state == _BROKEN_OFF and time.monotonic() >= until
            is_lost = isinstance(error, psycopg.OperationalError) and not state
            if not is_late and (is_lost or state.startswith(_OTHERS)):
                raise
            raise _refusal(error, timeout_s=timeout_s, is_late=is_late) from None

    with contextlib.closing(fairy):
        driver.read_only = True
        # all rows are wanted, not the first ones soon
        driver.execute("SET LOCAL cursor_tuple_fraction = 1")
        with contextlib.closing(driver.cursor(name="findable_items")) as cursor:
            with limits():
                cursor.execute(query.replace("\0", "\\0"))  # behind a null character the server would see nothing
            yield SelectedRows([one.name for one in cursor.description or ()], _rows(cursor, PAGE, limits))
            driver.rollback()
