"""Check which values a column can store, and make ids for new rows.

- `ColumnNeed` lists kinds of values and the PostgreSQL types that store them unchanged.
- `IdColumnFacts` are the ids that a column can store.
"""

import re
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from sqlalchemy import (
    NUMERIC,
    BigInteger,
    Connection,
    Integer,
    String,
    Uuid,
    cast,
    column,
    func,
    select,
)
from sqlalchemy import table as table_of
from sqlalchemy.engine.interfaces import ReflectedColumn

from pipeline.tables.reflection import generates_ids, is_sqlite

# An integer as a database prints it: no plus sign and no leading zeros.
_INTEGER_PATTERN = re.compile(r"0|-?[1-9][0-9]{0,18}")
_UUID_PATTERN = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_TEXT_TYPES = ("TEXT", "VARCHAR")
_INTEGER_TYPES = ("INTEGER", "BIGINT")
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
    NUMBER = "numbers or text", ("NUMERIC", "SMALLINT", *_INTEGER_TYPES, *_REAL_TYPES, *_TEXT_TYPES)
    FRACTION = "floating-point numbers", _REAL_TYPES
    INTEGER = "whole numbers", ("SMALLINT", *_INTEGER_TYPES)
    JSON = "JSON or text", ("JSON", "JSONB", *_TEXT_TYPES)
    TIME = "times or text", ("TIMESTAMP", *_TEXT_TYPES)

    def accepts(self, tx: Connection, reflected: ReflectedColumn) -> bool:
        """Return whether a column can store these values; a computed column cannot.

        Only the kind of the database is taken from `tx`: no statement is run.
        """
        if "computed" in reflected:
            return False
        if not is_sqlite(tx):
            return reflected["type"].__visit_name__ in self.value[1]
        return self is not ColumnNeed.ID or isinstance(
            reflected["type"], String | Integer | NUMERIC
        )


@dataclass(frozen=True)
class IdColumnFacts:
    """Ids that an id column can store."""

    # "text", "whole numbers" or "UUIDs".
    kind: str = "text"
    # Largest number, if the ids are numbers.
    max_number: int = 2**63 - 1
    # The database refuses to compare the column with other kinds of ids. True on PostgreSQL. An
    # SQLite column may store texts among numbers.
    is_typed: bool = False

    def to_row_id(self, value: str) -> str | None:
        """Return an id as the column would return it, or None if the column cannot store it.

        - A column of UUIDs returns a UUID in its standard spelling. It cannot store other texts.
        - A column of whole numbers cannot store a text that is not a whole number, a number beyond
          its range, or a number with a sign `+` or leading zeros. Other ids are unchanged.
        """
        if self.kind == "whole numbers":
            if not _INTEGER_PATTERN.fullmatch(value):
                return None
            if not -self.max_number - 1 <= int(value) <= self.max_number:
                return None
        if self.kind == "UUIDs":
            if not _UUID_PATTERN.fullmatch(value):
                return None
            return str(uuid.UUID(value))
        return value

    def to_native_ids(self, ids: Iterable[str]) -> list[str]:
        """Return the ids that the column can be compared with, in their order.

        The others are left out, because PostgreSQL fails if an id does not fit the column's type.
        """
        return [row_id for row_id in ids if not self.is_typed or self.to_row_id(row_id) is not None]


def describe_id_column(tx: Connection, id_column: ReflectedColumn | None) -> IdColumnFacts:
    """Return which ids a reflected column can store; any text if the column is None.

    The ids are UUIDs, whole numbers or texts, by the column's type. The range of whole numbers
    follows from the type, too; it is 64 bits on SQLite.
    """
    is_typed = not is_sqlite(tx)
    if id_column is None:
        return IdColumnFacts(is_typed=is_typed)

    id_type = id_column["type"]
    if isinstance(id_type, Uuid):
        return IdColumnFacts("UUIDs", is_typed=is_typed)
    if not isinstance(id_type, Integer):
        return IdColumnFacts(is_typed=is_typed)
    # SQLite stores whole numbers of any declared type in 64 bits.
    if isinstance(id_type, BigInteger) or not is_typed:
        return IdColumnFacts("whole numbers", is_typed=is_typed)
    return IdColumnFacts("whole numbers", 2**31 - 1, is_typed=is_typed)


def make_new_ids(
    tx: Connection,
    table: str,
    id_column: ReflectedColumn,
    count: int,
    *,
    find_highest_id: Callable[[], int] = lambda: 0,
) -> Sequence[int | str] | None:
    """Return ids for new rows of a table, or None if the database generates ids itself.

    Texts and UUIDs are random UUIDs. Whole numbers ascend above the largest number in the column,
    and above the result of `find_highest_id`.

    Args:
        tx: The caller's transaction.
        table: Name of the table.
        id_column: The reflected id column of the table.
        count: Number of ids.
        find_highest_id: Returns the highest number that a deleted row has had, so that it is not
            used again. The default does not look for deleted rows.
    """
    if describe_id_column(tx, id_column).kind != "whole numbers":
        return [str(uuid.uuid4()) for _ in range(count)]
    if generates_ids(tx, table, id_column):
        return None

    # An SQLite column of whole numbers can contain texts.
    ids = cast(column("id"), BigInteger)
    max_id = tx.execute(select(func.max(ids)).select_from(table_of(table))).scalar()
    first_id = max(max_id or 0, find_highest_id()) + 1
    return range(first_id, first_id + count)
