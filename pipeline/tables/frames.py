"""Rows as Python's libraries hold them: lists of mappings, data frames and Arrow tables.

pandas and pyarrow are extras; neither is imported to read what another library made, where that tells its rows itself.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from pipeline.core.errors import ConfigurationError, InputError

Row = Mapping[str, Any]
_INDEX = "__index_level_"  # how pandas calls an index among the columns of Arrow


def rows_of(data: Any) -> list[Row]:
    """Return the rows of a list of mappings, an Arrow table, or a frame of pandas, polars or such.

    What is missing is None where pyarrow is installed; without it a frame of pandas tells NaN.
    """
    rows: Any = None
    if hasattr(data, "to_pylist"):  # of Arrow
        rows = data.to_pylist()
    elif hasattr(data, "to_dicts"):  # of polars
        rows = data.to_dicts()
    elif hasattr(data, "__arrow_c_stream__") and find_spec("pyarrow"):
        rows = pyarrow_for("an Arrow table").table(data).to_pylist()
    elif hasattr(data, "to_dict"):  # of pandas
        rows = data.to_dict("records")
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping):
        rows = list(data)
    if rows is None or not all(isinstance(row, Mapping) for row in rows):
        raise InputError(
            f"rows are a list of dicts, a data frame or an Arrow table, not {type(data).__name__}; nothing was taken",
            hint="of other things make a list: [{'id': 1, 'text': '…'}, …]",
        )
    return [{str(name): value for name, value in row.items() if not str(name).startswith(_INDEX)} for row in rows]


def pyarrow_for(what: str) -> Any:
    """Return pyarrow, which something needs."""
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ConfigurationError(
            f"{what} needs pyarrow, which is not installed; nothing was done",
            hint="make setup EXTRAS=parquet, or pip install -e '.[parquet]'; CSV and JSON lines do without",
        ) from error
    return pa


def data_frame(rows: Sequence[Row]) -> Any:
    """Return rows as a `pandas.DataFrame`."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ConfigurationError(
            "a data frame needs pandas, which is not installed", hint="pip install -e '.[pandas]'"
        ) from error
    return pd.DataFrame(list(rows))
