"""Rows that Python code gave to a task, as a source of rows."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.tables.cells import (
    drop_binary_columns,
    note_binary_columns,
    to_compact_json,
    to_plain_row,
)
from pipeline.tables.row_findings import SourceRow
from pipeline.tables.source import find_column_kinds

# `items` of a declaration whose rows are in memory.
MEMORY_ROWS = "<rows given in Python>"


class MemorySource:
    """Rows in memory as a source of rows, with the interface of `tables.source.FileSource`."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Convert rows to plain values, and read their columns and hash.

        Binary columns are left out and noted in `notes`.

        Raises:
            InputError: The columns are not possible in a table.
        """
        rows, binary_columns = drop_binary_columns(rows)
        self.notes = note_binary_columns(binary_columns)
        self._rows = [to_plain_row(row) for row in rows]
        self.columns = find_column_kinds(self._rows, {}, source=MEMORY_ROWS)
        rows_json = to_compact_json(self._rows)
        self.sha256 = hashlib.sha256(rows_json.encode("utf-8", "surrogatepass")).hexdigest()

    def __iter__(self) -> Iterator[SourceRow]:
        """Yield each row, numbered from 1."""
        return (SourceRow(number, row) for number, row in enumerate(self._rows, start=1))
