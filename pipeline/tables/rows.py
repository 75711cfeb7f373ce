"""Find, add, write and delete rows of a table that another program may have made."""

import contextlib
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, and_, cast, exc, func, or_, select

from pipeline.core.errors import RefusedRowError
from pipeline.store.database import describe_error, pages
from pipeline.tables.cells import JSON_SPACE, NO_LIST
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


def filled(values: Mapping[str, Any], blanks: Mapping[str, Any]) -> dict[str, Any]:
    """Return values with what stands for nothing where a column takes no NULL."""
    return {name: blanks.get(name) if value is None else value for name, value in values.items()}


def holds_no_texts(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a cell is NULL, or says that there is no list or an empty one."""
    # equalities and not IN, which cannot stand in an UPDATE of many rows; what holds a string is not nothing, seen
    # first because it is quick
    says_nothing = or_(*(_squeezed(column) == empty for empty in sorted(NO_LIST)))
    return or_(column.is_(None), and_(~cast(column, Text).like('%"%'), says_nothing))


def looks_like_no_list(column: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that a cell does not begin and end as a list; one that does may be none all the same."""
    begins_and_ends = cast(column, Text).like("[%]")  # as nearly all do: seen before anything is trimmed
    return and_(~begins_and_ends, ~holds_no_texts(column), ~func.trim(cast(column, Text), JSON_SPACE).like("[%]"))


def _squeezed(column: ColumnElement[Any]) -> ColumnElement[str]:
    """Return a column's text without JSON's white space."""
    squeezed: ColumnElement[str] = cast(column, Text)
    for char in JSON_SPACE:
        squeezed = func.replace(squeezed, char, "")
    return squeezed
