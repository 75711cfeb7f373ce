"""Read a sheet of an .xlsx file, and write an .xlsx file.

The value of a cell with a formula is the value that the spreadsheet program computed last. The
value of merged cells is read in each of them. A part is a file within the zip archive of an .xlsx
file, such as a sheet. A known column is a name that the caller recognizes as a column of its task;
it proves that a row is the header.
"""

import re
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET
from xml.parsers.expat import ExpatError
from zipfile import BadZipFile, ZipFile

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.files import iterate_pieces
from pipeline.core.text import join_first
from pipeline.tables.cells import to_plain_value
from pipeline.tables.headers import (
    MAX_SAMPLED_RECORDS,
    MAX_SHOWN_LINES,
    Record,
    find_header_fault,
    make_column_names,
    make_header_error,
)
from pipeline.tables.row_findings import make_excerpt
from pipeline.tables.sheet_size import SheetSize

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

# The first bytes of an .xlsx file.
XLSX_SIGNATURE = b"PK\x03\x04"
# The first bytes of a workbook with a password, and of an old .xls file.
LOCKED_SIGNATURE = b"\xd0\xcf\x11\xe0"
# Limit of an unpacked part with names, links or styles, which the library keeps in memory.
MAX_PART_BYTES = 8 << 20
# Limit of an unpacked part with a sheet, shared texts or media; it takes minutes to unpack.
MAX_SHEET_BYTES = 2 << 30
# Limits of the file format; the header is a row, too.
MAX_ROWS = 1_048_576
MAX_COLUMNS = 16_384
MAX_CELL_CHARS = 32_767
# The largest whole number that a sheet stores exactly.
MAX_EXACT_NUMBER = 2**53
_NUMBER_FORMAT = re.compile(rb'<numFmt numFmtId="([0-9]+)" formatCode="([^"]*)"')
# `[$-409]` is a language, not money.
_MONEY_OR_PERCENT_SIGN = re.compile(r"%|\$(?!-)|€|£|¥".encode())
# The built-in number formats for percent and money.
_BUILT_IN_MONEY_FORMATS = frozenset(
    b"%d" % number for number in (5, 6, 7, 8, 9, 10, *range(41, 45))
)
# A style without the id of a number format matches, too, because styles are counted.
_CELL_STYLE = re.compile(rb'<xf\b(?:[^>]*?numFmtId="([0-9]+)")?')
_STYLES_PART = "xl/styles.xml"


@dataclass(frozen=True)
class SheetRows:
    """The rows of a sheet below its header, without blank rows; each iteration reads them anew.

    An iteration yields the number of each row, from 1, and its cells as plain JSON values. Rows are
    converted one by one, because all of them need ten times the memory of the sheet.
    """

    sheet: "CalamineSheet"
    # Merged areas as (top, left), (bottom, right), by the indexes of rows and columns.
    merged: Sequence[Any] = ()
    # The index of the first row below the header.
    first_index: int = 0

    def iter_raw_rows(self) -> Iterator[list[Any]]:
        """Yield all rows of the sheet with the library's values; merged cells are not filled."""
        # The library leaves out blank columns before the first cell, but not blank rows.
        start = self.sheet.start
        margin = [""] * (start[1] if start else 0)
        for row in self.sheet.iter_rows():
            yield margin + row

    def __iter__(self) -> Iterator[tuple[int, list[Any]]]:
        """Yield the number and the cells of each row below the header; blank rows are left out.

        A merged value is in each of its cells. Rows above `first_index` are read for merged areas
        only.
        """
        # The areas below the current row, the next area last, and the areas in the current row with
        # their values.
        later_areas = sorted(self.merged, reverse=True)
        open_areas: list[tuple[Any, Any]] = []
        for index, row in enumerate(self.iter_raw_rows()):
            open_areas = [(area, value) for area, value in open_areas if area[1][0] >= index]
            while later_areas and later_areas[-1][0][0] == index:
                area = later_areas.pop()
                open_areas.append((area, row[area[0][1]]))
            for ((_, first_column), (_, last_column)), value in open_areas:
                row[first_column : last_column + 1] = [value] * len(
                    row[first_column : last_column + 1],
                )

            cells = [_plain_cell(cell) for cell in row]
            if index >= self.first_index and any(cell is not None for cell in cells):
                yield index + 1, cells


# The names of a sheet's columns, its rows, and notes.
Sheet = tuple[list[str], SheetRows, list[str]]


def read_sheet(
    path: Path,
    wanted_sheet: str,
    *,
    header: int | None = None,
    is_known_column: Callable[[str], bool] | None = None,
) -> Sheet:
    """Return the names of the columns of a sheet, its rows, and notes for the user.

    The whole file is checked and loaded. The names are made up (`column_1`) if there is no header;
    a column without a name has the empty name.

    Args:
        path: The workbook.
        wanted_sheet: The name of the sheet; empty for the first visible sheet.
        header: The row of the header, from 1; 0 if there is no header; None if it is the first row
            that is not blank.
        is_known_column: Returns whether a name is a known column. A first row with a known name is
            accepted as the header.

    Raises:
        InputError: The file is not a workbook, the sheet or its header does not exist, the first
            row is certainly not a header, or the sheet needs too much memory.
    """
    from python_calamine import CalamineError

    try:
        with ZipFile(path) as archive:
            sheet_name, visible_names, rows, size = _open_sheet(path, archive, wanted_sheet)
    except (
        CalamineError,
        BadZipFile,
        ExpatError,
        LookupError,
        StopIteration,
        ValueError,
    ) as error:
        raise _make_read_error(
            path,
            f"cannot be read as .xlsx: {make_excerpt(str(error))}",
            "save it again, or save it as CSV",
        ) from None

    notes = list[str]()
    if not wanted_sheet and len(visible_names) > 1:
        listed_names = ", ".join(map(repr, visible_names))
        notes.append(f"only the sheet {sheet_name!r} is read; the file has {listed_names}")

    first_rows = _read_first_rows(rows, header)
    header_index = _find_header(
        path,
        first_rows,
        sheet_name,
        rows.merged,
        header=header,
        is_known_column=is_known_column,
    )
    notes += _describe_misread_cells(rows, size)

    header_cells = first_rows[header_index]
    if header == 0:
        names = make_column_names(len(header_cells))
        rows = replace(rows, first_index=header_index)
    else:
        names = _format_cells(header_cells)
        rows = replace(rows, first_index=header_index + 1)

    return names, rows, notes


def _describe_misread_cells(rows: SheetRows, size: SheetSize) -> list[str]:
    """Return a note for each kind of cells that are not read as a spreadsheet shows them.

    The kinds are merged cells, numbers that are shown as percent or money, and cells with errors or
    formulas without a value. The list is empty if there are no such cells.
    """
    notes = list[str]()
    if rows.merged:
        notes.append(f"merged areas: {len(rows.merged):,}; each cell has the value of its area")
    if size.percent_or_money_places:
        notes.append(
            "read as plain numbers (0.075, not 7.5 %), but displayed as percent or money: "
            f"{join_first(size.percent_or_money_places)}",
        )
    if size.blank_places:
        notes.append(
            "read as blank, because they contain errors, or formulas without a result: "
            f"{join_first(size.blank_places)}",
        )
    return notes


def _open_sheet(
    path: Path,
    archive: ZipFile,
    wanted_sheet: str,
) -> tuple[str, list[str], SheetRows, SheetSize]:
    """Check the sizes of the parts, and load a sheet into memory.

    The shared texts and the sheet are parsed to count the memory before the sheet is loaded.

    Returns:
        The name of the sheet, the names of all visible sheets, its rows, and the counted size.

    Raises:
        InputError: The sheet does not exist, or a part or the counted memory is too large.
    """
    from python_calamine import SheetVisibleEnum, load_workbook

    for part in archive.infolist():
        # These parts are read into memory as a whole.
        is_read_whole = part.filename.lower().endswith(("styles.xml", "workbook.xml", ".rels"))
        if part.file_size > (MAX_PART_BYTES if is_read_whole else MAX_SHEET_BYTES):
            raise _make_read_error(
                path,
                f"has {part.file_size:,} bytes in {make_excerpt(part.filename)!r}",
                "save it again, or save it as CSV",
            )

    size = SheetSize(path, _find_percent_or_money_styles(archive))
    for part_name in archive.namelist():
        if part_name.lower().endswith("sharedstrings.xml"):
            size.add_part(archive, part_name)

    with load_workbook(str(path)) as book:
        visible_names = [
            sheet.name
            for sheet in book.sheets_metadata
            if sheet.visible == SheetVisibleEnum.Visible
        ]
        if wanted_sheet and wanted_sheet not in book.sheet_names:
            raise _make_read_error(
                path,
                f"has no sheet {wanted_sheet!r}",
                f"the sheets are {', '.join(map(repr, book.sheet_names))}",
            )

        first_name = next(iter(visible_names), book.sheet_names[0])
        sheet_name = wanted_sheet or first_name
        size.add_part(archive, _find_sheet_part(archive, sheet_name))
        sheet = book.get_sheet_by_name(sheet_name)
        rows = SheetRows(sheet, sheet.merged_cell_ranges or ())
        return sheet_name, visible_names, rows, size


def _read_first_rows(rows: SheetRows, header: int | None) -> list[list[Any]]:
    """Return the rows by which the header is found, from the top of the sheet.

    These are all rows above the first filled row, then up to MAX_SAMPLED_RECORDS rows, and at least
    all rows up to the header's row number.

    Args:
        rows: The rows of the sheet.
        header: The row of the header, from 1; 0 or None if it is not known.
    """
    first_rows = list[list[Any]]()
    counted_rows = 0
    for row in rows.iter_raw_rows():
        first_rows.append(row)
        counted_rows += bool(counted_rows) or not _is_blank(row)
        if counted_rows >= MAX_SAMPLED_RECORDS and len(first_rows) >= (header or 0):
            break
    return first_rows


def _find_header(
    path: Path,
    rows: list[list[Any]],
    sheet_name: str,
    merged: Sequence[Any],
    *,
    header: int | None,
    is_known_column: Callable[[str], bool] | None,
) -> int:
    """Return the index in `rows`, from 0, of the header, or of the first row of data without it.

    Args:
        path: The workbook.
        rows: The first rows of the sheet.
        sheet_name: The name of the sheet.
        merged: The merged areas of the sheet.
        header: The number of the header's row, from 1. 0 means that there is no header, None that
            its row is not known. The result is the first filled row in both cases.
        is_known_column: Returns whether a name is a known column, see `_check_header`.

    Raises:
        InputError: The sheet or the header's row is blank, the header has merged cells, or the
            first row is certainly not a header. The last is checked only if `header` is None, and
            merged cells only if `header` is not 0.
    """
    filled_indexes = (index for index, row in enumerate(rows) if not _is_blank(row))
    first_index = next(filled_indexes, None)
    if first_index is None:
        raise _make_read_error(
            path,
            f"has an empty sheet {sheet_name!r}",
            f"set {OptionHint('sheet')}, or sheet= in a task's file, to another sheet",
        )

    if header is None:
        _check_header(path, rows, first_index, is_known_column)

    header_index = header - 1 if header else first_index
    if header_index >= len(rows) or _is_blank(rows[header_index]):
        raise _make_read_error(
            path,
            f"has an empty row {header} in its sheet {sheet_name!r}, "
            f"which {OptionHint('header')} names",
            f"set {OptionHint('header')} to the row with the column names",
        )

    is_merged = any(top <= header_index <= bottom for (top, _), (bottom, _) in merged)
    if header != 0 and is_merged:
        raise _make_read_error(
            path,
            f"has merged cells in its header, row {header_index + 1} of the sheet {sheet_name!r}",
            f"give each column its own name there, or set {OptionHint('header')} to another row",
        )
    return header_index


def _is_blank(row: Sequence[Any]) -> bool:
    return all(_plain_cell(cell) is None for cell in row)


def _format_cells(row: Sequence[Any]) -> list[str]:
    """Return the cells of a row as texts, each on one line; a blank cell is the empty text."""
    texts = list[str]()
    for cell in row:
        value = _plain_cell(cell)
        text = "" if value is None else str(value)
        texts.append(" ".join(text.split()))
    return texts


def _check_header(
    path: Path,
    rows: list[list[Any]],
    first_index: int,
    is_known_column: Callable[[str], bool] | None,
) -> None:
    """Raise InputError if the first filled row is a title, a comment or a row of values.

    Only certain cases are refused, see `headers`. None is refused if `is_known_column` knows a name
    of the row. The error shows the first lines of the sheet.

    Args:
        path: The workbook.
        rows: The first rows of the sheet.
        first_index: The index of the first row that is not blank.
        is_known_column: Returns whether a name is a known column; a row with a known name is
            accepted.
    """
    if is_known_column is not None and any(map(is_known_column, _format_cells(rows[first_index]))):
        return

    sampled_rows = rows[first_index : first_index + MAX_SAMPLED_RECORDS]
    records = list[Record]()
    for row_number, row in enumerate(sampled_rows, start=first_index + 1):
        texts = _format_cells(row)
        if any(texts):
            records.append(Record(row_number, texts))

    fault = find_header_fault(records)
    if fault is not None:
        lines = [" | ".join(_format_cells(row)).strip(" |") for row in rows[:MAX_SHOWN_LINES]]
        raise make_header_error(path, fault, lines)


def _plain_cell(cell: Any) -> Any:
    """Convert a cell of the library to a plain value; a blank text is None, 3.0 is 3."""
    if isinstance(cell, str):
        return cell if cell.strip() else None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) <= MAX_EXACT_NUMBER:
        return int(cell)
    return to_plain_value(cell)


def _find_sheet_part(archive: ZipFile, sheet_name: str) -> str:
    """Return the name of the part with the cells of a sheet, such as `xl/worksheets/a.xml`.

    Raises:
        StopIteration, KeyError, ParseError: The workbook does not name such a part.
    """
    sheets = ET.fromstring(archive.read("xl/workbook.xml"))  # noqa: S314 - bounded
    links = ET.fromstring(archive.read("xl/_rels/workbook.xml.rels"))  # noqa: S314
    sheet = next(
        sheet for sheet in sheets.findall("{*}sheets/{*}sheet") if sheet.get("name") == sheet_name
    )
    link_id = next(value for key, value in sheet.items() if key.endswith("}id"))
    target = next(link.get("Target", "") for link in links if link.get("Id") == link_id)
    return f"xl/{target.removeprefix('/').removeprefix('xl/')}"


def _find_percent_or_money_styles(archive: ZipFile) -> Collection[str]:
    """Return the indexes, as texts, of cell styles that show numbers as percent or money.

    These have a built-in format of percent or money, or a format with such a sign. Reads the part
    with the styles; the result is empty if the workbook has none.
    """
    if _STYLES_PART not in archive.namelist():
        return ()

    styles_xml = archive.read(_STYLES_PART)
    percent_or_money_formats = set(_BUILT_IN_MONEY_FORMATS)
    for format_id, code in _NUMBER_FORMAT.findall(styles_xml):
        if _MONEY_OR_PERCENT_SIGN.search(code):
            percent_or_money_formats.add(format_id)

    _, _, cell_styles_xml = styles_xml.partition(b"<cellXfs")
    format_ids = _CELL_STYLE.findall(cell_styles_xml.partition(b"</cellXfs>")[0])
    return {
        str(index)
        for index, format_id in enumerate(format_ids)
        if format_id in percent_or_money_formats
    }


def _make_read_error(path: Path, reason: str, hint: str) -> InputError:
    return InputError(f"{path} {reason}; nothing was read", hint=hint)


def encode_xlsx(
    rows: Iterable[Mapping[str, Any]],
    kinds: Mapping[str, str],
    text_of: Any,
) -> Iterator[bytes]:
    """Write rows to a temporary .xlsx file, and then yield its bytes in chunks.

    Nothing is yielded before all rows were written. Finite numbers up to 2^53, booleans and dates
    keep their types. All other values, also times, are written as texts, never as a formula or a
    link. The file has a header and is deleted at the end.

    Args:
        rows: The rows by column.
        kinds: The kinds of the columns, in the order of the sheet.
        text_of: Called with a value and its column's kind; returns the text of the value.

    Raises:
        InputError: A sheet has no room for the rows, columns or texts, or the disk is full.
    """
    from xlsxwriter import Workbook
    from xlsxwriter.exceptions import XlsxWriterException

    if len(kinds) > MAX_COLUMNS:
        raise _capacity_error(f"{len(kinds):,} columns, but a sheet can have {MAX_COLUMNS:,}")

    options = {"constant_memory": True, "default_date_format": "yyyy-mm-dd"}
    with tempfile.TemporaryFile() as file:
        try:
            with Workbook(file, options) as book:
                _write_rows(book.add_worksheet(), rows, kinds, text_of)
        except XlsxWriterException as error:
            raise InputError(
                f"the file cannot be made in {tempfile.gettempdir()}: {error}",
                hint="free disk space there",
            ) from error

        yield from iterate_pieces(file)


def _write_rows(
    sheet: Any,
    rows: Iterable[Mapping[str, Any]],
    kinds: Mapping[str, str],
    text_of: Any,
) -> None:
    """Write the names of the columns to the first row of a sheet, and the rows below it.

    Args:
        kinds: Kind of each column by name, in the order of the columns.
        text_of: Called with a value and its column's kind; returns the text of the value.

    Raises:
        InputError: The sheet has no room for the rows, or a text is too long for a cell.
    """
    for column_index, name in enumerate(kinds):
        sheet.write_string(0, column_index, name)

    for row_index, row in enumerate(rows, start=1):
        if row_index == MAX_ROWS:
            raise _capacity_error(f"more than {MAX_ROWS - 1:,} rows, the limit of a sheet")
        for column_index, (name, kind) in enumerate(kinds.items()):
            value = row[name]
            _write_cell(sheet, row_index, column_index, value, text_of(value, kind))


def _write_cell(sheet: Any, row_index: int, column_index: int, value: Any, text: Any) -> None:
    """Write a boolean, number or date as such, and any other value as its text.

    A time, and a number above 2^53, is written as its text. An empty text writes nothing.

    Args:
        sheet: The sheet of xlsxwriter.
        row_index: The row, from 0.
        column_index: The column, from 0.
        value: The value.
        text: Its text, written if the type of the value cannot be kept.

    Raises:
        InputError: The text is too long for a cell.
    """
    if isinstance(value, bool):
        sheet.write_boolean(row_index, column_index, value)
    elif isinstance(value, int | float) and abs(value) <= MAX_EXACT_NUMBER:
        sheet.write_number(row_index, column_index, value)
    elif isinstance(value, date) and not isinstance(value, datetime):
        sheet.write_datetime(row_index, column_index, value)
    else:
        cell_text = str(text)
        is_too_long = bool(cell_text) and sheet.write_string(row_index, column_index, cell_text)
        if is_too_long:
            raise _capacity_error(
                f"{len(cell_text):,} characters in a cell of row {row_index + 1}, "
                f"more than the limit of {MAX_CELL_CHARS:,}",
            )


def _capacity_error(excess: str) -> InputError:
    return InputError(
        f"there are {excess}; nothing was written",
        hint="write .csv or .jsonl, which have no such limit",
    )
