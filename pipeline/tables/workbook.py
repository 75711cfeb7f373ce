"""Read a sheet of an .xlsx file, and write an .xlsx file.

The value of a cell with a formula is the value that the spreadsheet program computed last. The
value of merged cells is read in the first of them. A part is a file within the zip archive of an
.xlsx file, such as a sheet.
"""

import tempfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any
from xml.etree import ElementTree as ET
from xml.parsers.expat import ExpatError
from zipfile import BadZipFile, ZipFile

from pipeline.core.errors import InputError
from pipeline.core.files import iterate_pieces
from pipeline.tables.cells import to_plain_value
from pipeline.tables.headers import HeadedTable, Record
from pipeline.tables.input_file import InputFile
from pipeline.tables.row_findings import make_excerpt
from pipeline.tables.sheet_size import SheetSize

# Limit of an unpacked part with names, links or styles, which the library keeps in memory.
MAX_PART_BYTES = 8 << 20
# Limit of an unpacked part with a sheet, shared texts or media: some six million cells.
MAX_SHEET_BYTES = 256 << 20
# The largest whole number that a sheet stores exactly.
MAX_EXACT_NUMBER = 2**53


class SheetTable(HeadedTable):
    """The table in a sheet of a workbook, which is kept in memory.

    The rows are converted one by one, because all of them need ten times the memory of the sheet.
    """

    def __init__(self, file: InputFile) -> None:
        """Check and load the whole file, and find the names of the columns.

        Raises:
            InputError: The file is not a workbook, the sheet or its header does not exist, the
                first row is certainly not a header, or the sheet needs too much memory.
        """
        from python_calamine import CalamineError

        super().__init__(file)
        try:
            with ZipFile(file.path) as archive:
                self._load_sheet(archive)
        except (
            CalamineError,
            BadZipFile,
            ET.ParseError,
            ExpatError,
            LookupError,
            StopIteration,
            ValueError,
        ) as error:
            raise file.make_error(
                f" cannot be read as .xlsx: {make_excerpt(str(error))}",
                hint="save it again, or save it as CSV",
            ) from None

        merged_count = len(self._sheet.merged_cell_ranges or ())
        if merged_count:
            file.notes.append(f"merged areas: {merged_count:,}; only the first cell has the value")
        self._set_names_by_header()

    def _load_sheet(self, archive: ZipFile) -> None:
        """Check the sizes of the parts, and load the sheet into memory.

        The shared texts and the sheet are parsed to count the memory before the sheet is loaded.

        Raises:
            InputError: The sheet does not exist, or a part or the counted memory is too large.
        """
        from python_calamine import SheetVisibleEnum, load_workbook

        size = SheetSize(self._file.path)
        for part in archive.infolist():
            # These parts are read into memory as a whole.
            is_read_whole = part.filename.lower().endswith(("styles.xml", "workbook.xml", ".rels"))
            if part.file_size > (MAX_PART_BYTES if is_read_whole else MAX_SHEET_BYTES):
                raise self._file.make_error(
                    f" has {part.file_size:,} bytes in {make_excerpt(part.filename)!r}",
                    hint="save it again, or save it as CSV",
                )
            if part.filename.lower().endswith("sharedstrings.xml"):
                size.add_part(archive, part.filename)

        # The library would believe the suffix of a path.
        with self._file.path.open("rb") as book_file, load_workbook(book_file) as book:
            visible_names = [
                sheet.name
                for sheet in book.sheets_metadata
                if sheet.visible == SheetVisibleEnum.Visible
            ]
            sheet_name = self._file.options.sheet or (visible_names or book.sheet_names)[0]
            if sheet_name not in book.sheet_names:
                raise self._file.make_error(
                    f" has no sheet {sheet_name!r}",
                    hint=f"the sheets are {', '.join(map(repr, book.sheet_names))}",
                )
            if not self._file.options.sheet and len(visible_names) > 1:
                listed_names = ", ".join(map(repr, visible_names))
                self._file.notes.append(
                    f"only the sheet {sheet_name!r} is read; the file has {listed_names}"
                )

            size.add_part(archive, _find_sheet_part(archive, sheet_name))
            if size.blank_count:
                self._file.notes.append(
                    f"cells with an error or an uncomputed formula: {size.blank_count:,}; they are "
                    "read as blank"
                )
            self._sheet = book.get_sheet_by_name(sheet_name)

    def _read_records(self) -> Iterator[Record]:
        """Yield the rows from the first line on with plain values; blank rows are left out."""
        # The library leaves out blank columns before the first cell, but not blank rows.
        for line_number, row in enumerate(self._sheet.iter_rows(), start=1):
            cells = [_to_plain_cell(cell) for cell in row]
            if line_number >= self._first_line and any(cell is not None for cell in cells):
                yield Record(line_number, cells)


def _to_plain_cell(cell: Any) -> Any:
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
        InputError: The sheet has no room for the rows or columns, or a text is too long for a cell.
    """
    for column_index, name in enumerate(kinds):
        _write_cell(sheet, 0, column_index, name, name)
    for row_index, row in enumerate(rows, start=1):
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
        InputError: The sheet has no such row or column, or the text is too long for a cell.
    """
    # The library returns a code other than 0 if a limit of the format is exceeded.
    fault = 0
    if isinstance(value, bool):
        fault = sheet.write_boolean(row_index, column_index, value)
    elif isinstance(value, int | float) and abs(value) <= MAX_EXACT_NUMBER:
        fault = sheet.write_number(row_index, column_index, value)
    elif isinstance(value, date) and not isinstance(value, datetime):
        fault = sheet.write_datetime(row_index, column_index, value)
    elif text:
        fault = sheet.write_string(row_index, column_index, str(text))
    if fault:
        raise InputError(
            f"row {row_index + 1:,}, column {column_index + 1:,} does not fit into a sheet, which "
            "has at most 1,048,576 rows, 16,384 columns and 32,767 characters in a cell; nothing "
            "was written",
            hint="write .csv or .jsonl, which have no such limit",
        )
