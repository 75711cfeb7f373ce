"""Write rows as CSV, JSON lines, a JSON list, .xlsx or Parquet, in constant memory.

Pieces of CSV and JSON never split a row. Parquet needs pyarrow, an optional package. A Parquet file
is valid only if its last bytes were written. A quotation is a text of the row that an answer cites,
stored with its place in the row.
"""

import contextlib
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from io import BytesIO
from typing import Any

import jsonlines
import orjson

from askrows.pipeline.core import text
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.files import iterate_pieces
from askrows.pipeline.core.quotes import MAX_EXACT_FLOAT, is_stored_quotation
from askrows.pipeline.rows.cells import (
    import_pyarrow,
    parse_finite_number,
    to_prompt_text,
)
from askrows.pipeline.store.database import split_into_pages
from askrows.pipeline.store.schema import to_utc_time

# Kind of a column with lists of texts. All other kinds are those of answer fields.
TEXTS_KIND = "texts"

# The first year of the dates in a sheet.
MIN_SHEET_YEAR = 1901
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
# Characters of such a date.
DATE_CHARS = 10
_PARQUET_GROUP_ROWS = 10_000
# A tuple is checked faster than a union, and each cell is checked.
_NUMBER_TYPES = (int, float)


def encode_rows(
    rows: Iterable[Mapping[str, Any]],
    format_: str,
    neutralize: Callable[[str], str] = text.neutralize_formula,
    *,
    kinds: Mapping[str, str],
) -> Iterator[bytes]:
    """Return the bytes of a file with these rows, in pieces.

    No row is read before the first piece is requested. A piece of CSV, JSON or JSON lines never
    splits a row. Without rows, CSV, .xlsx and Parquet have only the column names, JSON is an empty
    list, and JSON lines are empty.

    Args:
        rows: The rows by column.
        format_: "csv", "json", "jsonl" or "xlsx". Any other text means Parquet: callers check it.
        neutralize: Changes each text of CSV, so that spreadsheets do not run it as a formula. Other
            formats do not need it, because they have types.
        kinds: Kinds of all columns, in their order.

    Raises:
        ConfigurationError: Parquet needs pyarrow, which is missing. Raised by the call itself.
        InputError: A sheet of .xlsx has no room for the rows, or the disk is full. Raised by the
            iteration.
    """
    if format_ == "jsonl":
        return _encode_json_lines(rows)
    if format_ == "json":
        return _encode_json_list(rows)
    if format_ == "csv":
        return _encode_csv(rows, kinds, neutralize)
    if format_ == "xlsx":
        return _encode_xlsx(rows, kinds)
    return _encode_parquet(rows, kinds, import_pyarrow("Parquet"))


def _encode_csv(
    rows: Iterable[Mapping[str, Any]],
    kinds: Mapping[str, str],
    neutralize: Callable[[str], str],
) -> Iterator[bytes]:
    """Yield the lines of a CSV file, the header first."""
    yield text.encode_csv_line(list(kinds), neutralize)
    for row in rows:
        cells = [to_spreadsheet_cell(row[name], kind) for name, kind in kinds.items()]
        yield text.encode_csv_line(cells, neutralize)


def to_spreadsheet_cell(value: Any, kind: str) -> str | float:
    """Return a value as a cell of CSV or .xlsx.

    A number stays a number, because it cannot be a formula. A quotation, which is stored as a text
    with its place in the row, becomes this text alone. Lists and objects become JSON. Times become
    ISO 8601 text, truth values `true` or `false`, and None the empty text.

    Args:
        value: A plain value or a time.
        kind: The kind of its column. A list of TEXTS_KIND is joined by "; " instead of written as
            JSON; all its members must be texts.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, _NUMBER_TYPES) and not isinstance(value, bool):
        return value
    if is_stored_quotation(value):
        return str(value["quote"])
    if kind == TEXTS_KIND and isinstance(value, list):
        return "; ".join(value)
    return _format_cell_text(value)


def _format_cell_text(value: Any) -> str:
    """Return a value as text: JSON for lists and objects, ISO 8601 for times."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if hasattr(value, "isoformat"):
        return str(value.isoformat())
    return to_prompt_text(value)


def _encode_json_lines(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield each row as a JSON object on a line."""
    for row in rows:
        line = BytesIO()
        jsonlines.Writer(line, dumps=orjson.dumps).write(row)
        yield line.getvalue()


def _encode_json_list(rows: Iterable[Mapping[str, Any]]) -> Iterator[bytes]:
    """Yield the bytes of a JSON list with one row a line."""
    yield b"["
    separator = b"\n"
    for row in rows:
        yield separator + orjson.dumps(row)
        separator = b",\n"
    yield b"\n]\n"


def _encode_xlsx(
    rows: Iterable[Mapping[str, Any]],
    kinds: Mapping[str, str],
) -> Iterator[bytes]:
    """Write rows to a temporary .xlsx file, and then yield its bytes in chunks.

    Nothing is yielded before all rows were written. Finite numbers up to 2^53 and booleans keep
    their types, and texts of dates from 1901 on become dates. All other values, also times, are
    written as texts, never as a formula or a link. The header stays in view and has filters. The
    file is deleted at the end.

    Args:
        rows: The rows by column.
        kinds: The kinds of the columns, in the order of the sheet.

    Raises:
        InputError: A sheet has no room for the rows, columns or texts, or the disk is full.
    """
    from xlsxwriter import Workbook
    from xlsxwriter.exceptions import XlsxWriterException

    options = {"constant_memory": True, "default_date_format": "yyyy-mm-dd"}
    with tempfile.TemporaryFile() as file:
        try:
            with Workbook(file, options) as book:
                sheet = book.add_worksheet()
                row_index = 0
                for column_index, name in enumerate(kinds):
                    _write_sheet_cell(sheet, 0, column_index, name, "text")
                for row_index, row in enumerate(rows, start=1):
                    for column_index, (name, kind) in enumerate(kinds.items()):
                        _write_sheet_cell(sheet, row_index, column_index, row[name], kind)
                sheet.freeze_panes(1, 0)
                sheet.autofilter(0, 0, row_index, len(kinds) - 1)
        except XlsxWriterException as error:
            raise InputError(
                f"the file cannot be made in {tempfile.gettempdir()}: {error}",
                hint="free disk space there",
            ) from error

        yield from iterate_pieces(file)


def _write_sheet_cell(sheet: Any, row_index: int, column_index: int, value: Any, kind: str) -> None:
    """Write a boolean, a number or the text of a date as such, and any other value as its text.

    A time, a date before 1901, and a number above 2^53 is written as its text. An empty text and
    None write nothing.

    Args:
        sheet: The sheet of xlsxwriter.
        row_index: The row, from 0.
        column_index: The column, from 0.
        value: The value.
        kind: The kind of its column.

    Raises:
        InputError: The sheet has no such row or column, or the text is too long for a cell.
    """
    # The library returns a code other than 0 if a limit of the format is exceeded.
    fault = 0
    if (day := _parse_sheet_date(value)) is not None:
        fault = sheet.write_datetime(row_index, column_index, day)
    elif isinstance(value, str):
        if value:
            fault = sheet.write_string(row_index, column_index, value)
    elif isinstance(value, bool):
        fault = sheet.write_boolean(row_index, column_index, value)
    elif isinstance(value, _NUMBER_TYPES) and abs(value) <= MAX_EXACT_FLOAT:
        fault = sheet.write_number(row_index, column_index, value)
    elif cell_text := to_spreadsheet_cell(value, kind):
        fault = sheet.write_string(row_index, column_index, str(cell_text))
    if fault:
        raise InputError(
            f"row {row_index + 1:,}, column {column_index + 1:,} does not fit into a sheet, which "
            "has at most 1,048,576 rows, 16,384 columns and 32,767 characters in a cell; nothing "
            "was written",
            hint="write .csv or .jsonl, which have no such limit",
        )


def _parse_sheet_date(value: Any) -> date | None:
    """Return the date of an ISO 8601 text from 1901 on; None for any other value.

    A sheet has no dates before 1901 that all programs read in the same way.
    """
    # Nearly all texts have another length, which is compared faster than a pattern.
    if not isinstance(value, str) or len(value) != DATE_CHARS or not _DATE.fullmatch(value):
        return None
    with contextlib.suppress(ValueError):
        day = date.fromisoformat(value)
        if day.year >= MIN_SHEET_YEAR:
            return day
    return None


def _encode_parquet(
    rows: Iterable[Mapping[str, Any]],
    kinds: Mapping[str, str],
    pa: Any,
) -> Iterator[bytes]:
    """Write a Parquet file to a temporary file, and then yield its bytes in chunks.

    Columns without a type of their own are text. The temporary file is deleted at the end.

    Args:
        rows: The rows by column.
        kinds: Kinds of all columns, in their order.
        pa: The module pyarrow.
    """
    from pyarrow.parquet import ParquetWriter

    types = {
        "integer": pa.int64(),
        "real": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.date32(),
        "time": pa.timestamp("us", tz="UTC"),
        TEXTS_KIND: pa.list_(pa.string()),
    }
    columns = [(name, types.get(kind, pa.string())) for name, kind in kinds.items()]
    schema = pa.schema(columns)
    typed_rows = (
        {name: _to_parquet_value(row[name], kind) for name, kind in kinds.items()} for row in rows
    )
    with tempfile.TemporaryFile() as file:
        with ParquetWriter(file, schema, compression="zstd") as writer:
            for group in split_into_pages(typed_rows, _PARQUET_GROUP_ROWS):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
        yield from iterate_pieces(file)


def _to_parquet_value(value: Any, kind: str) -> Any:
    """Return a value as a Parquet column of this kind accepts it.

    The kind decides, except that None stays None:

    - integer, boolean: the value as it is.
    - date: the date of the ISO 8601 text.
    - time: the time in UTC.
    - TEXTS_KIND, a column of lists of texts: the list with all members as texts. A value that is no
      list becomes a list of one text.
    - real: the number, or None if it is no finite number.
    - all other kinds: the value as text, lists and objects as JSON.
    """
    if value is None or kind in {"integer", "boolean"}:
        return value
    if kind == "date":
        return date.fromisoformat(value)
    if kind == "time":
        return to_utc_time(value)
    if kind == TEXTS_KIND:
        members = value if isinstance(value, list) else [value]
        return [
            member if isinstance(member, str) else _format_cell_text(member) for member in members
        ]
    if kind == "real":
        return parse_finite_number(value)
    return _format_cell_text(value)
