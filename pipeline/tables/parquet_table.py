"""Read the rows of Parquet files; the folders' names (`year=2024/`) are columns."""

import contextlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from pipeline.core.errors import InputError
from pipeline.tables.cells import (
    import_pyarrow,
    list_arrow_rows,
    note_binary,
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
        """Read the names of the columns.

        Raises:
            InputError: A file is damaged.
            ConfigurationError: pyarrow is not installed.
        """
        self._file = file
        self.names = list[str]()
        for part in file.parts:
            with self._open(part) as (table, folder_values):
                part_names = table.schema_arrow.names
                self.names += [
                    name
                    for name in (*part_names, *folder_values)
                    if name not in self.names or part_names.count(name) > 1
                ]

    def read_rows(self) -> Iterator[SourceRow]:
        """Yield the rows of all Parquet files, with the columns of their folders' names.

        The rows are numbered from 1 across all files. A column of a folder's name replaces a column
        of the same name in the file.
        """
        row_number = count(1)
        for part in self._file.parts:
            with self._open(part) as (table, folder_values):
                byte_names = [
                    field.name for field in table.schema_arrow if "binary" in str(field.type)
                ]
                for batch in table.iter_batches(batch_size=_BATCH_ROWS):
                    rows = list_arrow_rows(batch)
                    for name in byte_names:
                        note_binary(name, [values[name] for values in rows], self._file.notes)
                    for values in rows:
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
