"""Convert cells of any database, file or library to text, numbers, lists and plain values.

The kinds of columns are text, integer, real, boolean and json; fields of answers also have the
kinds decimal, date and time. A plain value is a value that JSON can express: None, a truth value,
number, text, list or dict. pyarrow, an optional extra, reads data frames and Arrow tables.
"""

import contextlib
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, time
from decimal import Decimal
from enum import Enum
from typing import TYPE_CHECKING, Any

import orjson

from askrows.pipeline.core.column_placeholders import find_column_by_exact_or_folded_name
from askrows.pipeline.core.command_hint import format_install_command
from askrows.pipeline.core.errors import ConfigurationError, InputError
from askrows.pipeline.core.quotes import FieldPath, is_quotation, iterate_leaf_values_with_paths
from askrows.pipeline.core.text import INVALID_TEXT, make_names_unique, shorten
from askrows.pipeline.store.schema import to_utc_time

if TYPE_CHECKING:
    from pydantic import BaseModel

JSON_WHITE_SPACE = " \t\r\n"
# Cells that mean an empty list, without JSON's white space.
EMPTY_LIST_TEXTS = frozenset({"", "[]", "null"})
# The largest integer of a database column.
MAX_INTEGER = 2**63 - 1
_KIND_BY_CLASS = {
    type(None): None,
    str: "text",
    bool: "boolean",
    int: "integer",
    float: "real",
    list: "json",
    dict: "json",
}
# Classes of values that are bytes or may contain them.
_CLASSES_WITH_BYTES = frozenset({bytes, bytearray, memoryview, list, dict})
# Classes of values that are plain; a float may be NaN or infinite.
_PLAIN_CLASSES = frozenset({str, int, bool, type(None)})
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_SORTING_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)
# Characters of a name in a message.
_MAX_NAME_CHARS = 80
# A type of dates, times or durations in the text of an Arrow type, such as `list<timestamp[ns]>`.
_TEMPORAL_TYPE = re.compile(r"\[(?:day|s|ms|us|ns)\b")
_ZERO_FRACTION = re.compile(r"\.0+(?!\d)")
_ZONE_WITHOUT_COLON = re.compile(r"([+-]\d\d)(\d\d)$")
# The beginning of the name that pandas gives to an index among the columns of Arrow.
_INDEX_COLUMN_PREFIX = "__index_level_"


def cell_to_text(cell: Any) -> str:
    """Return a cell as text: NULL is the empty text, bytes are read as UTF-8."""
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "replace")
    return "" if cell is None else str(cell)


def to_stripped_text(cell: Any) -> str:
    """Return a cell's text without surrounding white space; NULL is the empty text."""
    return cell_to_text(cell).strip()


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text as hex."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def to_prompt_text(value: Any) -> str:
    """Return a cell as a prompt contains it: NULL is empty, a boolean is `true` or `false`."""
    if isinstance(value, bool):
        return str(value).lower()
    return cell_to_text(value)


def iterate_nested_texts(value: Any) -> Iterator[str]:
    """Yield all texts, numbers and booleans in a value as texts, at any depth.

    None and empty texts, lists and objects are left out. A boolean is `true` or `false`. A
    quotation, which is a text stored with its place in the row, gives its text only.
    """
    for _, leaf in iterate_leaf_values_with_paths(value):
        if is_quotation(leaf):
            yield str(leaf["quote"])
        elif leaf not in (None, "", [], {}):
            yield to_prompt_text(leaf)


def iterate_nested_names_and_values(document: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield (member name, value) for each name and each plain value in a document, at any depth.

    The first is the name of the member of the document that contains the name or value. The second
    is the value, a nested name, a list index, or the name of the member itself.
    """
    for name, member in document.items():
        for path, leaf in iterate_leaf_values_with_paths(member, (name,)):
            leaf_values = leaf.values() if isinstance(leaf, Mapping) else [leaf]
            for value in (*path, *leaf_values):
                yield name, value


def find_text_by_similar_name(cells: Mapping[str, Any], name: str) -> str:
    """Return the text of the cell whose column has a name or a similar name; "" without it.

    The texts of a list are separated by commas.
    """
    column = find_column_by_exact_or_folded_name(name, cells)
    return "" if column is None else ", ".join(iterate_nested_texts(cells[column])).strip()


def parse_cell_if_json(cell: Any) -> Any:
    """Parse a JSON cell of either database; return a cell that is not JSON text unchanged."""
    try:
        return json.loads(cell) if isinstance(cell, str | bytes) else cell
    except ValueError:
        return cell


def parse_strict_json(text: str) -> object:
    """Return the value of a JSON text. Whole numbers of any length are read exactly.

    Raises:
        ValueError: The text is not JSON, contains NaN, Infinity, invalid UTF-8 or a lone surrogate,
            is nested too deeply, or has an object with the same member twice. The message gives the
            reason.
    """
    try:
        # This parser refuses lone surrogates and NaN, but rounds long numbers.
        orjson.loads(text)
        return _EXACT_DECODER.decode(text)
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None
    except json.JSONDecodeError as error:
        reason = error.msg
        if text.startswith(("NaN", "Infinity"), error.pos):
            reason = "NaN and Infinity are not numbers of JSON (write null)"
        raise ValueError(f"not JSON: {reason}, at character {error.pos + 1}") from None


def _make_object_of_unique_members(members: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object; raise ValueError if a member occurs twice."""
    value = dict[str, Any]()
    for name, member in members:
        if name in value:
            raise ValueError(f"the member {shorten(name, _MAX_NAME_CHARS)!r} occurs twice")
        value[name] = member
    return value


# Reads whole numbers of any length, and refuses an object with the same member twice.
_EXACT_DECODER = json.JSONDecoder(object_pairs_hook=_make_object_of_unique_members)


def encode_row_as_json(row: Mapping[str, Any]) -> bytes:
    """Return a row of plain values as JSON.

    The result is ASCII if a text has a lone surrogate, or a whole number more than 64 bits.
    """
    try:
        return orjson.dumps(row)
    except TypeError:
        return json.dumps(row).encode()


def parse_finite_number(cell: Any) -> float | None:
    """Return the finite number in a cell, also in text, as float, else None. True counts as 1."""
    try:
        number = float(cell)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def parse_json_text_list(cell: Any) -> list[str] | None:
    """Parse the JSON list in a cell to a list of texts.

    For example, the cell `["a", 2]` gives "a" and "2": elements that are no texts become JSON.

    Args:
        cell: A text, bytes or NULL, as a database stores a list.

    Returns:
        The texts; an empty list if the cell is blank, `null` or NULL; None if it is not a JSON
        list.
    """
    text = cell_to_text(cell)
    try:
        elements = orjson.loads(text.strip(JSON_WHITE_SPACE) or "null")
    except orjson.JSONDecodeError:
        return None

    if elements is None:
        return []
    if not isinstance(elements, list):
        return None
    return [
        element if isinstance(element, str) else orjson.dumps(element).decode()
        for element in elements
    ]


def to_compact_json(value: Any, *, sort: bool = False) -> str:
    """Return a value as JSON without white space.

    Args:
        value: A plain value.
        sort: Sort the names in objects, so that equal objects give equal texts.
    """
    encoder = _SORTING_ENCODER if sort else _ENCODER
    return encoder.encode(value)


def to_text_or_json(value: Any) -> str:
    """Return a text unchanged, and any other value as JSON."""
    if isinstance(value, str):
        return value
    return to_compact_json(value)


def to_plain_row(row: Mapping[Any, Any]) -> dict[str, Any]:
    """Convert a row's values to plain JSON values, by column."""
    return {
        str(name): value if value.__class__ in _PLAIN_CLASSES else to_plain_value(value)
        for name, value in row.items()
    }


def to_plain_value(value: Any) -> Any:
    """Convert a value of a database driver or a library to a plain JSON value.

    - None, truth values, texts, whole numbers and finite floats stay as they are.
    - Members of mappings, lists and tuples are converted, too. Tuples become lists, and the keys of
      mappings become texts.
    - Dates and times become ISO text.
    - Members of an Enum become their values.
    - Decimal numbers, UUIDs, infinity and other objects become text.
    - Bytes are read as UTF-8. Bytes that are not text, or contain NUL, become None.
    - NaN becomes None, because pandas writes an empty cell as NaN.
    """
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, Mapping):
        return to_plain_row(value)
    if isinstance(value, list | tuple):
        return [to_plain_value(element) for element in value]
    return _to_plain_scalar(value)


def _to_plain_scalar(value: Any) -> Any:
    """Convert a number, bytes, a date, a member of an Enum or another object to a plain JSON value.

    See `to_plain_value`. Decimal numbers are written without an exponent.
    """
    if isinstance(value, float) and not math.isinf(value):
        return None if math.isnan(value) else value
    if isinstance(value, bytes | bytearray | memoryview):
        text = bytes(value).decode("utf-8", "surrogateescape")
        return None if INVALID_TEXT.search(text) else text
    if isinstance(value, Decimal) and value.is_finite():
        return format(value, "f")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Enum):
        return to_plain_value(value.value)
    return str(value)


def find_value_kind(value: Any) -> str | None:
    """Return the kind of column that stores a plain value; None for None.

    The kind is "text", "integer", "real", "boolean", or "json" for lists and objects. Whole numbers
    beyond 64 bits need a text column.
    """
    kind = _KIND_BY_CLASS.get(type(value), "text")
    if kind == "integer" and not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        return "text"
    return kind


def merge_kinds(first_kind: str | None, second_kind: str | None) -> str | None:
    """Return the kind of column that can store values of both kinds.

    Two equal kinds give this kind. None means a column without values so far, and gives the other
    kind. Integer and real give real, and all other pairs give text.
    """
    if first_kind is None or second_kind is None or first_kind == second_kind:
        return first_kind or second_kind
    return "real" if {first_kind, second_kind} == {"integer", "real"} else "text"


def to_plain_row_with_notes(row: Mapping[Any, Any], notes: list[str]) -> dict[str, Any]:
    """Convert a row's values to plain values, by column; see `to_plain_value`.

    A note is added, once, for each column with bytes that are not text, at any depth.
    """
    if not _CLASSES_WITH_BYTES.isdisjoint(map(type, row.values())):
        for name, value in row.items():
            note = f"column {name!r}: bytes that are not text are read as blank"
            if note not in notes and any(
                map(_is_undecodable, iterate_leaf_values_with_paths(value))
            ):
                notes.append(note)
    return to_plain_row(row)


def _is_undecodable(leaf: tuple[FieldPath, Any]) -> bool:
    is_bytes = isinstance(leaf[1], bytes | bytearray | memoryview)
    return is_bytes and to_plain_value(leaf[1]) is None


def list_memory_rows(rows_or_table: Any) -> list[Mapping[str, Any]]:
    """Return the rows of an iterable of mappings, an Arrow table, or a data frame, as dicts.

    The data frame is from pandas or polars. An index of pandas is left out, and names become texts.
    A missing value of a data frame or Arrow table is None. Values in mappings are not changed.

    Raises:
        ConfigurationError: pyarrow, which tables need, is not installed.
        InputError: The object is of another type, or a row is not a mapping.
    """
    rows: Any = None
    if hasattr(rows_or_table, "to_dicts"):  # polars
        rows = rows_or_table.to_dicts()
    elif hasattr(rows_or_table, "__arrow_c_stream__"):  # Arrow and pandas
        rows = list_arrow_rows(import_pyarrow("a data frame").table(rows_or_table))
    elif isinstance(rows_or_table, Iterable) and not isinstance(
        rows_or_table, str | bytes | Mapping
    ):
        rows = list(rows_or_table)

    if rows is None or not all(isinstance(row, Mapping) for row in rows):
        raise InputError(
            "rows must be a list of dicts, a data frame or an Arrow table, "
            f"not {type(rows_or_table).__name__}; nothing was read",
            hint="pass a list of dicts: [{'id': 1, 'text': '…'}, …]",
        )
    return [_without_index_columns(row) for row in rows]


def _without_index_columns(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(name): value
        for name, value in row.items()
        if not str(name).startswith(_INDEX_COLUMN_PREFIX)
    }


def list_arrow_rows(batch: Any) -> list[dict[str, Any]]:
    """Return the rows of an Arrow table or record batch, with the values of Python.

    A date, time or duration that Python cannot represent is a text, see `_convert_arrow_scalar`.
    Repeated names are numbered, see `make_names_unique`.
    """
    names = make_names_unique(batch.schema.names)
    columns = [
        map(_convert_arrow_scalar, column)
        if _TEMPORAL_TYPE.search(str(column.type))
        else column.to_pylist()
        for column in batch.columns
    ]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _convert_arrow_scalar(scalar: Any) -> Any:
    """Return the value of Python for an Arrow scalar; None for null.

    - A date or time that Python cannot represent, because of its year or its nanoseconds, is ISO
      text with all digits.
    - A duration that Python cannot represent, or a time that Arrow cannot write, is a text of
      number and unit, such as `5 ns`.
    - Lists, maps and objects are converted member by member. A map is a list of pairs.
    """
    pa = import_pyarrow("an Arrow table")
    if pa.types.is_dictionary(scalar.type):
        scalar = scalar.value
    if not scalar.is_valid:
        return None

    kind = scalar.type
    if pa.types.is_struct(kind):
        return {name: _convert_arrow_scalar(scalar[name]) for name in kind.names}
    if pa.types.is_nested(kind):
        elements = [_convert_arrow_scalar(element) for element in scalar.values]
        if pa.types.is_map(kind):
            elements = [list(pair.values()) for pair in elements]
        return elements

    # pandas, if it is installed, would cut off nanoseconds.
    has_nanoseconds = getattr(kind, "unit", "") == "ns" and scalar.value % 1000
    if not has_nanoseconds:
        with contextlib.suppress(ValueError, OverflowError):
            return scalar.as_py()

    text = str(scalar.cast(pa.string()))
    if pa.types.is_duration(kind) or text.startswith("<"):
        return f"{scalar.value} {kind.unit}"
    text = text.replace(" ", "T").replace("Z", "+0000")
    text = _ZERO_FRACTION.sub("", text)
    return _ZONE_WITHOUT_COLON.sub(r"\1:\2", text)


def import_pyarrow(purpose: str) -> Any:
    """Import and return pyarrow.

    Args:
        purpose: The object that needs pyarrow, as the error message names it.

    Raises:
        ConfigurationError: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise ConfigurationError(
            f"{purpose} needs pyarrow, which is not installed; nothing was done",
            hint=(
                f"`{format_install_command('parquet')}` installs it; "
                "CSV and JSON lines do not need it"
            ),
        ) from error
    return pa


# ---- values of answers


def to_column_value(kind: str, value: Any) -> Any:
    """Convert the JSON value of a field to a column value that both database drivers accept.

    A text column accepts every value; lists, objects, numbers and truth values become JSON text.

    Returns:
        None if the value is None or cannot be converted to the column's kind. An example is a whole
        number of more than 64 bits for an integer column.
    """
    if value is None:
        return None
    try:
        return _CELL_CONVERTERS[kind](value)
    except (TypeError, ValueError, OverflowError):
        return None


def _to_integer(value: Any) -> int | None:
    """Return a whole number of at most 64 bits as int, else None. 3.0 is whole, and True is 1."""
    is_integral = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not is_integral or not -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
        return None
    return int(value)


def _to_decimal_text(value: Any) -> str | None:
    """Return a finite number, or a text with a finite number, as text; None for others."""
    return None if parse_finite_number(value) is None else str(value)


def _to_boolean(value: Any) -> bool | None:
    """Return a truth value unchanged, or None for others."""
    return value if isinstance(value, bool) else None


def _to_date_text(value: str) -> str:
    """Return a date as text such as `2024-05-01`.

    Raises:
        ValueError: The text is no date.
    """
    return date.fromisoformat(value).isoformat()


def _to_time_text(value: Any) -> str | None:
    """Return a time as UTC text, such as `2024-05-01 10:00:00.000000+00:00`, or None for others.

    Both databases sort such texts by time.
    """
    time = to_utc_time(value)
    if time is None:
        return None
    return time.isoformat(" ", "microseconds")


_CELL_CONVERTERS: Mapping[str, Callable[[Any], Any]] = {
    "text": to_text_or_json,
    "integer": _to_integer,
    "real": parse_finite_number,
    "decimal": _to_decimal_text,
    "boolean": _to_boolean,
    "date": _to_date_text,
    "time": _to_time_text,
    "json": to_compact_json,
}


def find_unstorable_reason(answer: "BaseModel") -> str:
    """Return why an answer cannot be stored unchanged; "" if SQLite and PostgreSQL both can.

    The reason is the first text with a lone surrogate or NUL, or the first number of more than 64
    bits or that is infinite or NaN. Nested names and values are checked, too. An answer that cannot
    be turned into JSON also gets a reason; no error is raised.
    """
    try:
        for _, value in iterate_nested_names_and_values(answer.model_dump(mode="json")):
            reason = find_unstorable_scalar_reason(value)
            if reason:
                return reason
    except (ValueError, RecursionError):
        return "it is not valid JSON"
    return ""


def find_unstorable_scalar_reason(value: Any) -> str:
    """Return why a text or number cannot be stored in both databases; "" if it can.

    All other values give "": members of lists and objects are not checked here.
    """
    if isinstance(value, str) and INVALID_TEXT.search(value):
        return "a text with NUL or half a character"

    is_long = isinstance(value, int) and not -MAX_INTEGER - 1 <= value <= MAX_INTEGER
    is_infinite = isinstance(value, float) and not math.isfinite(value)
    if is_long or is_infinite:
        return "a number that is NaN, infinite or of more than 64 bits"
    return ""
