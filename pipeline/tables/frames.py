"""Rows in memory as Python's libraries hold them: lists of mappings, data frames, Arrow tables.

pandas and pyarrow are extras; neither is imported to read what another library made, where that tells its rows itself.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pipeline.core.errors import ConfigurationError, InputError

Row = Mapping[str, Any]
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
