"""Rows as Python's libraries hold them: lists of mappings, data frames, Arrow tables, and files of Parquet.

pandas and pyarrow are extras; neither is imported to read what another library made, where that tells its rows itself.
"""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.tables.findings import Finding, excerpt
from pipeline.tables.layout import Layout, TextRow, row_of

Row = Mapping[str, Any]
MAGIC = b"PAR1"  # the first bytes of a file of Parquet
BATCH, BATCH_BYTES = 1000, 16 * 2**20  # rows in memory, and about how much they may hold together
BUFFER = 2**20  # bytes of a column that are read ahead
INDEX = "__index_level_"  # how pandas calls an index among the columns of Arrow


def rows_of(data: Any) -> list[Row]:
    """Return the rows of a list of mappings, an Arrow table, or a frame of pandas, polars or such.

    What is missing is None where pyarrow is installed; without it a frame of pandas tells NaN.

    Raises:
        InputError: it is none of them.
    """
    rows = next((read(data) for has, read in _READERS.items() if hasattr(data, has)), None)
    if rows is None and isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping):
        rows = list(data)
    if rows is None or not all(isinstance(row, Mapping) for row in rows):
        raise InputError(
            f"rows are a list of dicts, a data frame or an Arrow table, not {type(data).__name__}; nothing was taken",
            hint="of other things make a list: [{'id': 1, 'text': '…'}, …]",
        )
    return [{str(name): value for name, value in row.items() if not str(name).startswith(INDEX)} for row in rows]


def _of_stream(data: Any) -> Sequence[Row] | None:
    """Return the rows of what gives a stream of Arrow; None where it takes pyarrow to read it, which is not there."""
    try:
        import pyarrow as pa
    except ImportError:
        return _of_frame(data)
    rows: list[Row] = pa.table(data).to_pylist()
    return rows


def _of_frame(data: Any) -> Sequence[Row] | None:
    """Return the rows of a frame of pandas, in which an empty cell is NaN."""
    if not hasattr(data, "to_dict"):
        return None
    rows: list[Row] = data.to_dict("records")
    return rows


_READERS: Mapping[str, Callable[[Any], Sequence[Row] | None]] = {
    "to_pylist": lambda data: data.to_pylist(),  # of Arrow
    "to_dicts": lambda data: data.to_dicts(),  # of polars
    "__arrow_c_stream__": _of_stream,
    "to_dict": _of_frame,
}


def arrow_table(rows: Sequence[Row]) -> Any:
    """Return rows as a `pyarrow.Table`.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    return pyarrow_for("an Arrow table").Table.from_pylist(list(rows))


def pyarrow_for(what: str) -> Any:
    """Return pyarrow, which something needs.

    Raises:
        ConfigurationError: it is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ConfigurationError(
            f"{what} needs pyarrow, which is not installed; nothing was done",
            hint="make setup EXTRAS=parquet, or pip install -e '.[parquet]'; CSV and JSON lines do without",
        ) from error
    return pa


def data_frame(rows: Sequence[Row]) -> Any:
    """Return rows as a `pandas.DataFrame`.

    Raises:
        ConfigurationError: pandas is not installed.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ConfigurationError(
            "a data frame needs pandas, which is not installed", hint="pip install -e '.[pandas]'"
        ) from error
    return pd.DataFrame(list(rows))


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
