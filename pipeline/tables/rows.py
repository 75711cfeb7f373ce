"""Find and write rows of a table that another program may have made."""

import contextlib
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, Text, and_, cast, exc, func, literal, or_, select

from pipeline.core.errors import RefusedRowError
from pipeline.store.database import describe_error, pages
from pipeline.store.tables import answers as given
from pipeline.tables.reflect import is_sqlite

WHITE = "".join(chr(n) for n in range(0x3001) if chr(n).isspace())  # what str.strip() takes away, for SQL's trim
MISMATCH = "foreign key mismatch"  # SQLite's words where a table refers to no key
AT_ONCE = 2500  # rows of one SELECT, as many as one transaction writes
RAISED = "P0"  # how the SQLSTATE begins of what a trigger raises
GENERATED = "428C9"  # SQLSTATE: the column takes no value but those that the database gives it


def rows_among(
    tx: Connection,
    key: ColumnElement[Any],
    values: Sequence[Any],
    columns: Iterable[ColumnElement[Any]],
    *conditions: ColumnElement[bool],
    locked: bool = False,
) -> Iterator[Sequence[Any]]:
    """Yield some columns of the rows whose key is one of any number of values, of which all conditions hold.

    Rows that are `locked` are changed by no other transaction until this one ends.
    """
    for some in pages(values, AT_ONCE):
        query = select(*columns).where(key.in_(some), *conditions)
        yield from tx.execute(query.with_for_update() if locked else query).all()


def values_in_pages(
    tx: Connection, column: ColumnElement[Any], *conditions: ColumnElement[bool], size: int, after: Any = None
) -> Iterator[list[Any]]:
    """Yield the values of a column that an index has in order, each once, so many at a time; those behind `after`."""
    query = select(column).where(column.is_not(None), *conditions).distinct().order_by(column).limit(size)
    while values := list(tx.execute(query if after is None else query.where(column > after)).scalars()):
        yield values
        after = values[-1]


def has_words(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a cell holds more than white space."""
    return and_(column.is_not(None), func.trim(cast(column, Text), WHITE) != "")


def holds(tx: Connection, columns: Iterable[ColumnElement[Any]], words: str, *conditions: ColumnElement[bool]) -> bool:
    """Return whether a text stands in some columns of a row of which all conditions hold; reads all of them."""
    place = func.instr if is_sqlite(tx) else func.strpos
    held = or_(*(place(cast(column, Text), words) > 0 for column in columns))
    return tx.execute(select(literal(1)).where(held, *conditions).limit(1)).first() is not None


def stands_in(tx: Connection, tables: Iterable[Table], task: str, words: str) -> bool:
    """Return whether a text stands in any row of some tables, or in an answer that is kept of a task; reads all."""
    is_held = any(holds(tx, one.c, words) for one in tables)
    return is_held or holds(tx, [given.c.item_id, given.c.answer], words, given.c.task == task)


def mentions(tx: Connection, columns: Iterable[ColumnElement[Any]], word: str) -> ColumnElement[bool]:
    """Return the condition that a word stands in one of some columns, in any case."""
    place = func.instr if is_sqlite(tx) else func.strpos
    cases = (word, word.lower(), word.upper(), word.title())  # SQLite's lower() knows ASCII alone
    written = (_ascii_lower(unicodedata.normalize(way, one)) for one in cases for way in ("NFC", "NFD"))
    forms = dict.fromkeys(written)
    return or_(*(place(func.lower(cast(column, Text)), form) > 0 for column in columns for form in forms))


def _ascii_lower(text: str) -> str:
    return "".join(char.lower() if char.isascii() else char for char in text)


@contextlib.contextmanager
def refusals(table: str) -> Iterator[None]:
    """Turn a row that a table of another program refuses into an error that says what can be done.

    Raises:
        RefusedRowError: one is refused.
    """
    try:
        yield
    except exc.DBAPIError as error:
        if not is_refusal(error):
            raise
        raise RefusedRowError(
            f"the table {table} of this database refuses a row: {describe_error(error)}",
            hint="give its own columns defaults and room, its sequence a start past every id, or use another database",
        ) from error


def is_refusal(error: exc.DBAPIError) -> bool:
    """Return whether a rule of the table's owner stopped a statement: a constraint, a type, or a trigger."""
    state = str(getattr(error.orig, "sqlstate", ""))
    is_rule = isinstance(error, exc.IntegrityError | exc.DataError) or state.startswith(RAISED) or state == GENERATED
    return is_rule or MISMATCH in str(error.orig)
