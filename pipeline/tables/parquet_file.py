"""Rows of a Parquet file, some thousand of them in memory at a time; by pyarrow, which is an extra."""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pipeline.core.errors import InputError
from pipeline.tables.findings import Finding, excerpt
from pipeline.tables.frames import pyarrow_for
from pipeline.tables.layout import Layout, TextRow, row_of

MAGIC = b"PAR1"  # the first bytes of such a file
BATCH, BATCH_BYTES = 1000, 16 * 2**20  # rows in memory, and about how much they may hold together
BUFFER = 2**20  # bytes of a column that are read ahead


def parquet_rows(
    path: Path, *, layout: Layout, ignored: dict[str, None], plain: Callable[[Any], Any] | None = None
) -> Iterator[TextRow | Finding]:
    """Yield the rows of a file, `plain` or as an import reads them; the line of one is its number, from 1.

    Raises:
        ConfigurationError: pyarrow is not installed.
        InputError: the file is damaged.
    """
    number = 0
    with _opened(path, lambda: number) as file:
        for batch in file.iter_batches(batch_size=_rows_at_once(file.metadata)):
            for values in batch.to_pylist():
                number += 1
                yield row_of((plain or _plain)(values), line=number, layout=layout, ignored=ignored)


def parquet_names(path: Path) -> list[str]:
    """Return the names of the columns of a file, those that are there twice, too; raises as `parquet_rows`."""
    with _opened(path, lambda: 0) as file:
        return list(file.schema_arrow.names)


def _rows_at_once(metadata: Any) -> int:
    """Return how many rows are read at a time, fewer where they are large, as images are."""
    size: int = sum(metadata.row_group(number).total_byte_size for number in range(metadata.num_row_groups))
    rows: int = metadata.num_rows
    return max(1, min(BATCH, BATCH_BYTES * rows // max(size, 1)))


@contextlib.contextmanager
def _opened(path: Path, read: Callable[[], int]) -> Iterator[Any]:
    """Open a file for the length of a block; `read` says how many rows were read by then."""
    pa = pyarrow_for(f"{path} is a Parquet file, which")
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path, buffer_size=BUFFER, pre_buffer=False) as file:
            yield file
    except pa.ArrowException as error:
        where = f" after row {read()}" if read() else "; nothing was imported"
        raise InputError(f"{path} cannot be read as Parquet{where}: {excerpt(str(error))}") from None


def _plain(value: Any) -> Any:
    """Return a value of a column as JSON has it; a time or a decimal number is its text."""
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and math.isnan(value):
        return None  # as pandas writes an empty cell
    is_plain = value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
    return value if is_plain else str(value)
