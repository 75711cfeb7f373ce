"""Store, read and hash the values of a task's rows."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Subquery, select

from pipeline.store.schema import rows as rows_table
from pipeline.tables.cells import MAX_INTEGER, to_compact_json

# Columns of `make_rows_subquery`.
KEY_COLUMN = "findable_key"
HASH_COLUMN = "findable_hash"
VALUES_COLUMN = "findable_values"
UNUSABLE_COLUMN = "findable_unusable"
IMAGE_STATE_COLUMN = "findable_seen"
_COLUMN_BY_NAME = {
    KEY_COLUMN: rows_table.c.item_id,
    "findable_row": rows_table.c.n,
    VALUES_COLUMN: rows_table.c.row,
    HASH_COLUMN: rows_table.c.input_hash,
    "findable_empty": rows_table.c.is_empty,
    "findable_gone_at": rows_table.c.gone_at,
    "findable_changed_at": rows_table.c.changed_at,
    UNUSABLE_COLUMN: rows_table.c.unusable,
    IMAGE_STATE_COLUMN: rows_table.c.seen,
}


def make_rows_subquery(task: str) -> Subquery:
    """Return a subquery of the stored rows of a task, with their values as JSON."""
    columns = (column.label(name) for name, column in _COLUMN_BY_NAME.items())
    return select(*columns).where(rows_table.c.task == task).subquery("items")


def parse_stored_values(row: str) -> dict[str, Any]:
    """Parse the JSON of a stored row; return its values by column, without columns of None."""
    values: dict[str, Any] = orjson.loads(row)
    return values


def hash_input(values: Mapping[str, Any], asked_columns: Sequence[str]) -> str:
    """Return the SHA-256 of the values of the columns that are asked about, as hex."""
    asked_values = {name: values.get(name) for name in asked_columns}
    return hashlib.sha256(orjson.dumps(asked_values, option=orjson.OPT_SORT_KEYS)).hexdigest()


def to_stored_value(value: Any, kind: str) -> Any:
    """Return a plain value as a column of a kind stores it.

    Values of a JSON column, lists and objects become JSON. Whole numbers beyond 64 bits become
    text.
    """
    if kind == "json" or isinstance(value, list | dict):
        return to_compact_json(value)
    if isinstance(value, int) and not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        return str(value)
    return value


def has_only_blanks(values: Mapping[str, Any], columns: Sequence[str]) -> bool:
    """Return whether a row has only None and blank texts in these columns; False for no columns."""
    if not columns:
        return False
    return all(is_blank_cell(values.get(name)) for name in columns)


def is_blank_cell(value: Any) -> bool:
    """Return whether a cell is None, empty or a text of blanks only."""
    return value is None or (isinstance(value, str) and not value.strip())
