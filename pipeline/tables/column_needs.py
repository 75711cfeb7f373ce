"""Check which values a column can store, and make ids for new rows.

- `ColumnNeed` lists kinds of values and the PostgreSQL types that store them unchanged.
- `IdColumnFacts` are the ids that a column can store.
"""

import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from sqlalchemy import (
    NUMERIC,
    BigInteger,
    Column,
    Connection,
    Integer,
    SmallInteger,
    String,
    Table,
    Uuid,
    func,
    select,
)

from pipeline.tables.reflection import (
    SQLITE_DEFINITION_QUERY,
    is_sqlite,
)

# An integer as a database prints it: no plus sign and no leading zeros.
_INTEGER_PATTERN = re.compile(r"0|-?[1-9][0-9]{0,18}")
_UUID_PATTERN = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TEXT_TYPES = ("TEXT", "VARCHAR")
_INTEGER_TYPES = ("SMALLINT", "INTEGER", "BIGINT")
_REAL_TYPES = ("REAL", "DOUBLE_PRECISION")


class ColumnNeed(Enum):
    """Values that a column must be able to store.

    Each member has a description for messages and the PostgreSQL types that fit. All other types
    are refused: domains, enums, arrays, and for names types that pad texts with blanks. SQLite
    columns of any type fit, except for ids.
    """

    ID = "text, whole numbers or UUIDs", (*_TEXT_TYPES, *_INTEGER_TYPES, "UUID")
    NAME = "text that is not padded with blanks, such as VARCHAR", _TEXT_TYPES
    TEXT = "text", (*_TEXT_TYPES, "CHAR")
    NUMBER = "numbers or text", ("NUMERIC", *_REAL_TYPES, *_INTEGER_TYPES, *_TEXT_TYPES)
    FRACTION = "floating-point numbers", _REAL_TYPES
    REAL = "double precision", ("DOUBLE_PRECISION",)
    INTEGER = "whole numbers", _INTEGER_TYPES
    JSON = "JSON or text", ("JSON", "JSONB", *_TEXT_TYPES)
    TIME = "times or text", ("TIMESTAMP", *_TEXT_TYPES)
    DATE = "dates or text", ("DATE", *_TEXT_TYPES)
    BOOLEAN = "true and false", ("BOOLEAN",)

    def find_misfit(self, tx: Connection, column: Column[Any]) -> str | None:
        """Return None if a reflected column can store the values of this need, else a phrase.

        A need is a kind of values that a column must store, such as ids or texts. The phrase names
        the values that the column must store, for messages. A computed column is never suitable. On
        SQLite any other column is suitable, except that ids need a text or number column. On
        PostgreSQL the column's type must be in the list of this need. Only the kind of the database
        is taken from `tx`: no statement is run.
        """
        description, server_types = self.value
        if column.computed is not None:
            return "values that can be written, not computed values"

        if is_sqlite(tx):
            is_id_type = isinstance(column.type, String | Integer | NUMERIC)
            is_suitable = is_id_type or self is not ColumnNeed.ID
        else:
            is_suitable = column.type.__visit_name__ in server_types
        return None if is_suitable else str(description)


@dataclass(frozen=True)
class IdColumnFacts:
    """Ids that an id column can store."""

    # "text", "whole numbers" or "UUIDs".
    kind: str = "text"
    # Largest number, if the ids are numbers.
    max_number: int = 2**63 - 1
    # Most characters of a text, or None if unlimited.
    max_chars: int | None = None
    # The database refuses to compare the column with other kinds of ids. True on PostgreSQL. An
    # SQLite column may store texts among numbers.
    is_typed: bool = False

    def to_row_id(self, value: str) -> str | None:
        """Return an id as the column would return it, or None if the column cannot store it.

        - A column of UUIDs returns a UUID in its standard spelling. It cannot store other texts.
        - A column of whole numbers cannot store a text that is not a whole number, a number beyond
          its range, or a number with a sign `+` or leading zeros. Other ids are unchanged.
        - A column of texts cannot store more than `max_chars` characters. Other ids are unchanged.
        """
        if self.kind == "whole numbers":
            if not _INTEGER_PATTERN.fullmatch(value):
                return None
            is_in_range = -self.max_number - 1 <= int(value) <= self.max_number
            return value if is_in_range else None

        if self.kind == "UUIDs":
            if not _UUID_PATTERN.fullmatch(value):
                return None
            return str(uuid.UUID(value))

        if self.max_chars is not None and len(value) > self.max_chars:
            return None
        return value

    def to_native_ids(self, ids: Iterable[str]) -> list[str]:
        """Return the ids that the column can be compared with, in their order.

        The others are left out, because PostgreSQL fails if an id does not fit the column's type.
        """
        return [row_id for row_id in ids if not self.is_typed or self.to_row_id(row_id) is not None]


def describe_id_column(tx: Connection, id_column: Column[Any] | None) -> IdColumnFacts:
    """Return which ids a reflected column can store; any text if the column is None.

    The ids are UUIDs, whole numbers or texts, by the column's type. The range of whole numbers
    follows from the type, too; it is 64 bits on SQLite. A limit on the length of texts applies on
    PostgreSQL only.
    """
    is_typed = not is_sqlite(tx)
    if id_column is None:
        return IdColumnFacts(is_typed=is_typed)

    column_type = id_column.type
    if isinstance(column_type, Uuid):
        return IdColumnFacts("UUIDs", is_typed=is_typed)

    if isinstance(column_type, Integer):
        # SQLite stores whole numbers of any declared type in 64 bits.
        bits = 63
        if is_typed and isinstance(column_type, SmallInteger):
            bits = 15
        elif is_typed and not isinstance(column_type, BigInteger):
            bits = 31
        return IdColumnFacts("whole numbers", 2**bits - 1, is_typed=is_typed)

    max_chars = getattr(column_type, "length", None) if is_typed else None
    return IdColumnFacts(max_chars=max_chars, is_typed=is_typed)


def make_new_ids(
    tx: Connection,
    id_column: Column[Any],
    count: int,
    *,
    find_highest_id: Callable[[], int] = lambda: 0,
) -> Sequence[int | str] | None:
    """Return ids for new rows of a table, or None if the database generates ids itself.

    The first rule that applies decides; nothing is written:

    1. A column of texts or UUIDs gets random UUIDs as text.
    2. A column of whole numbers with a default or AUTOINCREMENT gets None.
    3. An SQLite column of whole numbers that contains texts gets random UUIDs as text.
    4. Other columns (all of whole numbers) get ascending numbers above the largest number in the
       column, and above the result of `find_highest_id`.

    Args:
        tx: The caller's transaction.
        id_column: The reflected id column of the table.
        count: Number of ids.
        find_highest_id: Returns the highest number that a deleted row has had, so that it is not
            used again. Called only for rule 4. The default does not look for deleted rows.
    """
    has_number_ids = describe_id_column(tx, id_column).kind == "whole numbers"
    max_id = None
    if has_number_ids:
        if id_column.server_default is not None or _has_autoincrement(tx, id_column.table):
            return None
        max_id = tx.execute(select(func.max(id_column))).scalar()

    # An SQLite column of whole numbers can contain texts, which sort last.
    if not has_number_ids or isinstance(max_id, str):
        return [str(uuid.uuid4()) for _ in range(count)]

    first_id = max(int(max_id or 0), find_highest_id()) + 1
    return range(first_id, first_id + count)


def _has_autoincrement(tx: Connection, table: Table) -> bool:
    """Return whether an SQLite table is declared with AUTOINCREMENT; False on a server."""
    if not is_sqlite(tx):
        return False
    definition = tx.execute(SQLITE_DEFINITION_QUERY, {"table": table.name}).first()
    return definition is not None and "AUTOINCREMENT" in str(definition.sql).upper()
