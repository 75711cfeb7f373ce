"""Copy a whole database from an SQLite file into PostgreSQL, row by row at flat memory, each hashed on either side.

SQLite lets any value stand in any column. What does not fit its column is refused, not converted, and so is a column
that is not ours: the move ends.
"""

import hashlib
import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Float,
    Integer,
    Select,
    Table,
    Text,
    cast,
    distinct,
    func,
    select,
)

from pipeline.core.errors import ConfigurationError
from pipeline.store.times import IsoTime, UtcTime, time_of

TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}")  # as SQLAlchemy writes one to SQLite, in UTC
LIKE_TIME = "YYYY-MM-DD HH24:MI:SS.US"  # the same in PostgreSQL's words
EXACT = 2**53  # whole numbers up to here are floats without loss
INTEGER, BIGINT = 2**31, 2**63  # PostgreSQL's types hold numbers from minus this to one less than it
WHOLE_HASH = 2**256
FETCH = 2000  # rows that the server sends at a time
FOUR_DIGITS = 1000  # the first year that both databases write alike


class CopyJson(Text):
    """JSON: text in SQLite, and in PostgreSQL a document, which does not keep the spelling."""


class CopyText(Text):
    """Text in SQLite, and in PostgreSQL a type of its own that gives it back as it was sent: a date, a UUID."""


@dataclass
class Digest:
    """What a table holds, in any order: the number of rows, and the sum of a hash of each."""

    rows: int = 0
    total: int = 0

    def add(self, row: tuple[Any, ...]) -> None:
        """Count one row in."""
        self.rows += 1
        hashed = hashlib.sha256(repr(row).encode()).digest()
        self.total = (self.total + int.from_bytes(hashed, "big")) % WHOLE_HASH


class CopySource:
    """An SQLite file that no process writes to meanwhile."""

    def __init__(self, tx: Connection) -> None:
        """Read within a transaction that keeps all others from writing."""
        self._tx = tx
        self._driver: Any = tx.connection.driver_connection

    def check(self, table: Table) -> None:
        """See that a table has no columns but ours, and nothing twice where PostgreSQL would not take it.

        Raises:
            ConfigurationError: it cannot be copied as it is; nothing was copied.
        """
        names = {column.name for column in table.c}
        there = self._all("SELECT name FROM pragma_table_info(?)", table.name)
        foreign = [name for (name,) in there if name.lower() not in names]
        if foreign:
            raise _unfit(f"{table.name} has columns of another program, which would be lost: {', '.join(foreign)}")
        for column in (one for one in table.c if one.unique):
            more = self._tx.execute(select(func.count() - func.count(distinct(column))).select_from(table)).scalar()
            if more:
                raise _unfit(f"{table.name} has {more:,} rows whose {column.name} is missing or not theirs alone")

    def count(self, table: Table) -> int:
        """Return how many rows a table has."""
        return int(self._tx.execute(select(func.count()).select_from(table)).scalar_one())

    def rows(self, table: Table) -> Iterator[tuple[Any, ...]]:
        """Yield every row as PostgreSQL takes it, in the order of its columns; times are text in UTC.

        Raises:
            ConfigurationError: a value does not fit its column.
        """
        columns = list(table.c)
        keys = [at for at, column in enumerate(columns) if column.primary_key]
        convert = [_converter(column) for column in columns]
        usual, self._driver.text_factory = self._driver.text_factory, str  # bytes that are no text are an error here
        cursor = self._driver.cursor()
        try:
            for row in cursor.execute(_sql(self._tx, select(*columns))):
                try:
                    yield tuple(one(cell) for one, cell in zip(convert, row, strict=True))
                except _UnfitCellError as error:
                    key = ", ".join(repr(row[at]) for at in keys)
                    raise _unfit(f"{table.name} {key}: {error}") from error
        except sqlite3.OperationalError as error:
            if "decode" not in str(error):  # the message itself holds a person's data
                raise
            raise _unfit(f"{table.name} has text that is no UTF-8") from None
        finally:
            cursor.close()
            self._driver.text_factory = usual

    def newest(self, table: Table) -> int:
        """Return the highest number that the table ever gave a row; 0 where it counts none."""
        counts = table.autoincrement_column
        if counts is None:
            return 0
        known = [self._tx.execute(select(func.max(counts))).scalar() or 0]
        if self._all("SELECT 1 FROM sqlite_master WHERE name = 'sqlite_sequence'"):
            given = "SELECT seq FROM sqlite_sequence WHERE lower(name) = lower(?)"
            known += [number for (number,) in self._all(given, table.name)]
        return int(max(known))

    def left_behind(self, tables: Iterable[Table]) -> list[str]:
        """Return what stays in the file: tables, views and triggers of other programs, but no view of ours."""
        ours = {table.name.lower() for table in tables} | {"findable_version"}
        query = """SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view', 'trigger')
                   AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND NOT (type = 'view' AND sql LIKE '%/* findable%')
                   ORDER BY type, name"""
        return [f"{kind} {name}" for kind, name in self._all(query) if name.lower() not in ours]

    def _all(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return every row of a small SELECT."""
        found: list[tuple[Any, ...]] = self._driver.execute(sql, values).fetchall()
        return found


def copy_rows(tx: Connection, table: Table, rows: Iterable[tuple[Any, ...]]) -> Digest:
    """Copy rows into an empty table of PostgreSQL, and return what was sent."""
    sent = Digest()
    spell, zone = _changing(table, CopyJson, spelled), _changing(table, UtcTime, "{}+00".format)
    names = ", ".join(f'"{column.name}"' for column in table.c)
    driver: Any = tx.connection.driver_connection
    with driver.cursor() as cursor, cursor.copy(f'COPY "{table.name}" ({names}) FROM STDIN') as copy:
        for row in rows:
            sent.add(spell(row))
            copy.write_row(zone(row))
    return sent


def digest_of(tx: Connection, table: Table) -> Digest:
    """Return what a table of PostgreSQL holds, read back at flat memory, to be held against what was sent."""
    found, spell = Digest(), _changing(table, CopyJson, spelled)
    driver: Any = tx.connection.driver_connection
    with driver.cursor("findable_read_back") as cursor:
        cursor.itersize = FETCH
        for row in cursor.execute(_sql(tx, select(*map(_as_sent, table.c)))):
            found.add(spell(row))
    return found


def _as_sent(column: Column[Any]) -> ColumnElement[Any]:
    """Return a column of PostgreSQL as SQL that gives back what was sent."""
    if isinstance(column.type, UtcTime):
        return func.to_char(func.timezone("UTC", column), LIKE_TIME)
    return cast(column, Text) if isinstance(column.type, CopyJson | CopyText) else column


def _changing(table: Table, kind: type, change: Callable[[Any], Any]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    """Return what changes the cells of a row that are of one type and not NULL."""
    places = {at for at, column in enumerate(table.c) if isinstance(column.type, kind)}
    if not places:
        return lambda row: row
    return lambda row: tuple(change(cell) if at in places and cell is not None else cell for at, cell in enumerate(row))


def count_from(tx: Connection, table: Table, newest: int) -> None:
    """Let a table of PostgreSQL give its next row a number above `newest`, and analyze it for the planner."""
    counts = table.autoincrement_column
    if counts is not None and newest:
        place = tx.exec_driver_sql("SELECT pg_get_serial_sequence(%s, %s)", (table.name, counts.name)).scalar()
        if place is None:
            raise AssertionError(f"{table.name} gives no numbers")
        tx.exec_driver_sql("SELECT setval(%s, %s)", (place, newest))
    tx.exec_driver_sql(f'ANALYZE "{table.name}"')


class _UnfitCellError(Exception):
    """A value does not fit its column."""


def _unfit(why: str) -> ConfigurationError:
    return ConfigurationError(f"{why}; nothing was moved", hint="mend it in the SQLite file, or stay with that")


def _sql(tx: Connection, query: Select[Any]) -> str:
    """Return a query as a database's SQL, for its driver, which is quicker and converts no value."""
    return str(query.compile(dialect=tx.dialect, compile_kwargs={"literal_binds": True}))


def _converter(column: Column[Any]) -> Callable[[Any], Any]:
    """Return what turns a cell of SQLite into one of PostgreSQL, or raises where it does not fit."""
    kinds: tuple[tuple[type, Callable[[Any], Any], str], ...] = (
        (IsoTime, _moment, "a time"),
        (UtcTime, _time, "a time"),
        (CopyJson, _json, "JSON that PostgreSQL takes"),
        (Boolean, lambda value: bool(value) if isinstance(value, int) and value in {0, 1} else None, "true or false"),
        (Float, _number, "a number"),
        (BigInteger, _whole(BIGINT), "a whole number"),
        (Integer, _whole(INTEGER), "a whole number below 2^31"),
        (Text, lambda value: value if isinstance(value, str) and "\0" not in value else None, "text without NUL"),
    )
    convert, wanted = next((one, what) for kind, one, what in kinds if isinstance(column.type, kind))

    def cell(value: Any) -> Any:
        """Turn one cell."""
        if value is None:
            if not column.nullable:
                raise _UnfitCellError(f"{column.name} is missing")
            return None
        found = convert(value)
        if found is None:
            raise _UnfitCellError(f"{column.name} is not {wanted}")
        return found

    return cell


def _time(value: Any) -> Any:
    return value if isinstance(value, str) and TIME.fullmatch(value) else None


def _moment(value: Any) -> Any:
    """Return a time in UTC, as `Digest` knows times; None where it is none."""
    moment = time_of(value) if isinstance(value, str) else None
    return f"{moment:%Y-%m-%d %H:%M:%S.%f}" if moment is not None and moment.year >= FOUR_DIGITS else None


def _json(value: Any) -> Any:
    """Return JSON text as it is; None where PostgreSQL would refuse it."""
    try:
        spelled(value)
    except (TypeError, ValueError, RecursionError):
        return None
    return value


def spelled(document: str) -> str:
    """Return a document of JSON in one spelling.

    Raises:
        TypeError, ValueError: it is no JSON text, or holds what PostgreSQL cannot: NaN, NUL, half a surrogate pair.
    """
    return repr(_plain(json.loads(document, parse_int=Decimal, parse_float=Decimal, parse_constant=_refused)))


def _refused(constant: str) -> Any:
    raise ValueError(constant)


def _plain(value: Any) -> Any:
    """Return a document with its keys in order, and its numbers normalized."""
    if isinstance(value, dict):
        return [(_plain(key), _plain(value[key])) for key in sorted(value)]
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, str) and b"\0" in value.encode():  # half a surrogate pair cannot be encoded
        raise ValueError("NUL")
    if not isinstance(value, Decimal):
        return (value,)
    sign, digits, exponent = value.as_tuple()
    text = "".join(map(str, digits)).lstrip("0")
    short = text.rstrip("0")
    return (sign, short, int(exponent) + len(text) - len(short)) if short else 0


def _number(value: Any) -> Any:
    if isinstance(value, int) and -EXACT <= value <= EXACT:
        return float(value)
    return value if isinstance(value, float) else None


def _whole(limit: int) -> Callable[[Any], Any]:
    """Return what takes whole numbers below a limit."""
    return lambda value: value if isinstance(value, int) and -limit <= value < limit else None
