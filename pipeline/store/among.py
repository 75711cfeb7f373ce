"""Conditions on a page of ids."""

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Text, bindparam, func, literal_column, select

NUL = r"\u0000"  # where SQLite's JSON would end a text


def among(tx: Connection, column: ColumnElement[Any], values: Sequence[int | str]) -> ColumnElement[bool]:
    """Return the condition that a column holds one of these numbers and texts, as `column.in_(values)` would.

    SQLite gets them as one JSON array: a thousand parameters take SQLAlchemy longer to write down than SQLite to find
    the rows.
    """
    listed = json.dumps(values, ensure_ascii=False) if tx.dialect.name == "sqlite" else NUL
    if NUL in listed:
        return column.in_(values)
    array = func.json_each(bindparam(None, listed, Text, unique=True))
    # without the sign a value would not be converted to what the column holds
    value: ColumnElement[Any] = literal_column("+value")
    return column.in_(select(value).select_from(array))
