"""What a cell of a table holds, whichever program wrote it, as text, a number, a list, or plain JSON.

The kinds of columns are text, integer, real, boolean and json. pandas and pyarrow are extras; neither is imported to
read what another library made, where that tells its rows itself.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from importlib.util import find_spec
from typing import Any

import orjson

from pipeline.core.errors import ConfigurationError, InputError
from pipeline.core.text import UNSOUND

JSON_SPACE = " \t\r\n"
NO_LIST = frozenset({"", "[]", "null"})  # without JSON's white space; these say that there is none
LARGEST = 2**63 - 1
_NO_SPACE = dict.fromkeys(map(ord, JSON_SPACE))
_JSON = [
    json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=sort)
    for sort in (False, True)
]
_NO_FRACTION = re.compile(r"\.0+(?!\d)")
_ZONE = re.compile(r"([+-]\d\d)(\d\d)$")
_INDEX = "__index_level_"  # how pandas calls an index among the columns of Arrow


def cell_words(cell: Any) -> str:
    """Return a cell as text: NULL is the empty text, bytes are read as UTF-8."""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    return "" if cell is None else str(cell)


def text_of(cell: Any) -> str:
    """Return a cell's text without surrounding white space."""
    return str.strip(cell) if cell.__class__ is str else cell_words(cell).strip()


def text_hash(text: str) -> str:
    """Return the SHA-256 of a text as hex."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def value_text(value: Any) -> str:
    """Return a cell as it is put to a model: NULL is the empty text, a truth value a word in lower case."""
    return str(value).lower() if isinstance(value, bool) else cell_words(value)


def loaded(cell: Any) -> Any:
    """Return what a JSON cell holds, on either database; text that is not JSON is that text."""
    try:
        return json.loads(cell) if isinstance(cell, str | bytes) else cell
    except ValueError:
        return cell


def number_of(cell: Any) -> float | None:
    """Return a cell's number, or None where it holds none: a rate that is text counts only where it parses."""
    try:
        number = float(cell)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def list_of(cell: Any) -> list[str] | None:
    """Return the texts of the JSON list in a cell, the empty list for none, and None where it is no list."""
    text = cell_words(cell)
    if not text.startswith('["') and text.translate(_NO_SPACE) in NO_LIST:
        return []
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(found, list):
        return None
    return [one if isinstance(one, str) else orjson.dumps(one).decode() for one in found]


def compact_json(value: Any, *, sort: bool = False) -> str:
    """Return a value as JSON without blanks; where it is to be compared, with sorted names."""
    return _JSON[sort].encode(value)


def plain_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Return a row's values by column as JSON has them."""
    return {str(name): plain_value(value) for name, value in row.items()}


def plain_value(value: Any) -> Any:
    """Return a value of a driver or a library as JSON has it.

    A date or a time is ISO text; a decimal number, a UUID and whatever else is the text it is shown as; bytes are read
    as UTF-8, and those that are none become lone surrogates. What is not a number is None, as pandas writes an empty
    cell.
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, Mapping | list | tuple):
        return (
            plain_row(value) if isinstance(value, Mapping) else [plain_value(one) for one in value]
        )
    if isinstance(value, float) and not math.isinf(value):
        return None if math.isnan(value) else value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).decode("utf-8", "surrogateescape")
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    return value.isoformat() if isinstance(value, date | time) else str(value)


def kind_of_value(value: Any) -> str | None:
    """Return which kind of column a plain value asks for; None where it says nothing. Long whole numbers are text."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer" if -LARGEST - 1 <= value <= LARGEST else "text"
    return "real" if isinstance(value, float) else "text" if isinstance(value, str) else "json"


def common_kind(one: str | None, other: str | None) -> str | None:
    """Return the kind of column that holds values of both kinds."""
    if one is None or other is None or one == other:
        return one or other
    return (
        "real"
        if {one, other} == {"integer", "real"}
        else "json"
        if "json" in {one, other}
        else "text"
    )


def holds_bytes(value: Any) -> bool:
    """Return whether a value of a driver or a library is bytes that are no text, or has some in it."""
    if isinstance(value, bytes | bytearray | memoryview):
        return UNSOUND.search(plain_value(value)) is not None
    if isinstance(value, Mapping | list | tuple):
        return any(map(holds_bytes, value.values() if isinstance(value, Mapping) else value))
    return False


def bytes_note(names: Iterable[str]) -> str:
    """Return what to say of columns that are left out for their bytes; empty if there are none."""
    shown = ", ".join(map(repr, names))
    return f"left out, because they hold bytes and no text: {shown}" if shown else ""


def without_bytes(
    rows: Sequence[Mapping[str, Any]],
) -> tuple[Sequence[Mapping[str, Any]], list[str]]:
    """Return rows without the columns that hold bytes and no text, and the names of these."""
    names = dict.fromkeys(name for row in rows for name, value in row.items() if holds_bytes(value))
    found = [name for name in names if not any(isinstance(row.get(name), str) for row in rows)]
    return [
        {name: value for name, value in row.items() if name not in found} for row in rows
    ], found


def rows_of(data: Any) -> list[Mapping[str, Any]]:
    """Return the rows of a list of mappings, an Arrow table, or a frame of pandas, polars or such.

    What is missing is None where pyarrow is installed; without it a frame of pandas tells NaN.
    """
    rows: Any = None
    if hasattr(data, "to_dicts"):  # of polars
        rows = data.to_dicts()
    elif hasattr(data, "__arrow_c_stream__") and find_spec("pyarrow"):  # of Arrow and pandas
        rows = arrow_rows(pyarrow_for("an Arrow table").table(data))
    elif hasattr(data, "to_dict"):  # of pandas
        rows = data.to_dict("records")
    elif isinstance(data, Iterable) and not isinstance(data, str | bytes | Mapping):
        rows = list(data)
    if rows is None or not all(isinstance(row, Mapping) for row in rows):
        said = f"rows are a list of dicts, a data frame or an Arrow table, not {type(data).__name__}; nothing was taken"
        raise InputError(said, hint="of other things make a list: [{'id': 1, 'text': '…'}, …]")
    return [
        {str(name): value for name, value in row.items() if not str(name).startswith(_INDEX)}
        for row in rows
    ]


def arrow_rows(batch: Any) -> list[dict[str, Any]]:
    """Return the rows of an Arrow table or batch; a time that Python does not have is ISO text.

    Python's times have microseconds, and years from 1 to 9999.
    """
    try:
        rows: list[dict[str, Any]] = batch.to_pylist()
    except (ValueError, OverflowError):
        names = batch.schema.names
        columns = [[_arrow_value(cell) for cell in column] for column in batch.columns]
        rows = [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]
    return rows


def _arrow_value(cell: Any) -> Any:
    """Return the value of an Arrow scalar."""
    try:
        return cell.as_py()
    except (ValueError, OverflowError):
        pa = pyarrow_for("an Arrow table")
    kind = cell.type
    if pa.types.is_struct(kind):
        return {name: _arrow_value(cell[name]) for name in kind.names}
    if pa.types.is_map(kind):
        return [[_arrow_value(pair[0]), _arrow_value(pair[1])] for pair in cell.values]
    if pa.types.is_nested(kind):
        return [_arrow_value(one) for one in cell.values]
    if pa.types.is_dictionary(kind):
        return _arrow_value(cell.value)
    text = str(cell.cast(pa.string()))
    # Arrow writes no text for a time beyond some millennia.
    is_number = pa.types.is_duration(kind) or text.startswith("<")
    return (
        f"{cell.value} {kind.unit}"
        if is_number
        else _ZONE.sub(r"\1:\2", _NO_FRACTION.sub("", text.replace(" ", "T")))
    )


def pyarrow_for(what: str) -> Any:
    """Return pyarrow, which something needs."""
    try:
        import pyarrow as pa
    except ImportError as error:
        hint = "make setup EXTRAS=parquet, or pip install -e '.[parquet]'; CSV and JSON lines do without"
        raise ConfigurationError(
            f"{what} needs pyarrow, which is not installed; nothing was done", hint=hint
        ) from error
    return pa
