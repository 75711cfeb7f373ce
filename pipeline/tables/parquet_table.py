"""Read the rows of Parquet files; the folders' names (`year=2024/`) are columns."""

import contextlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pipeline.core.errors import InputError
from pipeline.tables.cells import (
    contains_binary,
    import_pyarrow,
    list_arrow_rows,
    note_binary_columns,
    to_plain_row,
)
from pipeline.tables.input_file import InputFile
from pipeline.tables.row_findings import SourceRow, make_excerpt

# Rows in memory.
_BATCH_ROWS = 200
_BUFFER_BYTES = 1 << 20
# The value in the name of a folder whose rows have no value.
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"


class ParquetTable:
    """The table in a Parquet file, or in a folder of them.

    Attributes:
        names: The names of the columns; the columns of the folders' names come last. A name that
            is twice in a file is there twice, so that it is refused later.
    """

    def __init__(self, file: InputFile) -> None:
        """Read the names of the columns, and find the columns of bytes that are not text.

        A note names these columns, which are not read.

        Raises:
            InputError: A file is damaged.
            ConfigurationError: pyarrow is not installed.
        """
        self._file = file
        self._binary_names = set[str]()
        all_names = list[str]()
        for part in file.parts:
            with self._open(part) as (table, folder_values):
                part_names = table.schema_arrow.names
                all_names += [
                    name
                    for name in (*part_names, *folder_values)
                    if name not in all_names or part_names.count(name) > 1
                ]
                self._binary_names |= _find_binary_columns(table)

        file.notes += note_binary_columns(sorted(self._binary_names))
        self.names = [name for name in all_names if name not in self._binary_names]

    def read_rows(self) -> Iterator[SourceRow]:
        """Yield the rows of all Parquet files, with the columns of their folders' names.

        The rows are numbered from 1 across all files. Columns of bytes that are not text are left
        out. A column of a folder's name replaces a column of the same name in the file.
        """
        row_number = count(1)
        for part in self._file.parts:
            with self._open(part) as (table, folder_values):
                names = None
                if self._binary_names:
                    part_names = table.schema_arrow.names
                    names = [name for name in part_names if name not in self._binary_names]
                for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=names):
                    for values in list_arrow_rows(batch):
                        yield SourceRow(next(row_number), to_plain_row(values | folder_values))

    @contextlib.contextmanager
    def _open(self, part: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Open a Parquet file, and close it after the block.

        Yields:
            The file, and the columns that the names of its folders (`year=2024`) give.

        Raises:
            InputError: The file is damaged, also if the block finds this.
            ConfigurationError: pyarrow is not installed.
        """
        pa = import_pyarrow(f"{self._file.path} is a Parquet file, which")
        from pyarrow import parquet

        folder_values = dict[str, Any]()
        for folder in part.relative_to(self._file.path).parts[:-1]:
            if "=" in folder:
                name, _, text = unquote(folder).partition("=")
                folder_values[name] = _parse_partition_value(text)

        try:
            # Nanoseconds, the default of this old type of times, end in the year 2262.
            with parquet.ParquetFile(
                part,
                buffer_size=_BUFFER_BYTES,
                pre_buffer=False,
                coerce_int96_timestamp_unit="us",
            ) as table:
                yield table, folder_values
        except pa.ArrowException as error:
            message = f"cannot be read as Parquet; nothing was read: {make_excerpt(str(error))}"
            raise InputError(f"{part} {message}") from None


def _parse_partition_value(text: str) -> int | str | None:
    """Return the value in a folder's name: a whole number, None, or the text."""
    if text.isdecimal():
        return int(text)
    return None if text == _NULL_PARTITION else text


def _find_binary_columns(table: Any) -> set[str]:
    """Return the names of the columns of a Parquet file that contain bytes that are not text.

    Reads the columns of bytes, row by row, until each of them has such bytes or the file ends.
    """
    candidate_names = [field.name for field in table.schema_arrow if "binary" in str(field.type)]
    binary_names = set[str]()
    if not candidate_names:
        return binary_names

    for batch in table.iter_batches(batch_size=_BATCH_ROWS, columns=candidate_names):
        # A name that is twice in the file has two columns.
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if any(map(contains_binary, column.to_pylist())):
                binary_names.add(name)
        if len(binary_names) == len(set(candidate_names)):
            break
    return binary_names
