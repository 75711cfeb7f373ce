"""Read a sheet of an .xlsx file, and refuse one that needs too much memory.

The value of a cell with a formula is the value that the spreadsheet program computed last. Merged
cells below the header all have the value of the first of them. A part is a file within the zip
archive of an .xlsx file, such as a sheet.

The library keeps all cells of the rectangle from A1 to the last cell, blank cells included, and a
shared text once for each cell that has it. So the XML is parsed, and both are counted, before the
library loads the cells.
"""

from collections import defaultdict
from collections.abc import Iterator
from functools import lru_cache, partial
from itertools import starmap
from typing import Any
from xml.etree import ElementTree as ET
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.quotes import MAX_EXACT_FLOAT
from askrows.pipeline.core.text import join_first
from askrows.pipeline.rows.cells import to_plain_value
from askrows.pipeline.rows.headers import Record, open_table_of_records
from askrows.pipeline.rows.row_findings import ReadRow, SourceRow, make_excerpt
from askrows.pipeline.rows.source_file import SourceFile, SourceTable

# Limit of an unpacked part with names, links or styles, which the library keeps in memory.
MAX_PART_BYTES = 8 << 20
# Limit of an unpacked part with a sheet, shared texts or media: some six million cells.
MAX_SHEET_BYTES = 256 << 20
# The library needs 70 bytes for each cell, blank cells included: 350 MB, about as much as for the
# largest image.
MAX_CELLS = 5_000_000
# Of a cell.
MAX_CELL_BYTES = 4 << 20
# Of all shared texts, and the texts of all cells together.
MAX_TEXT_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 20
# Formulas without a stored value that a note names.
_MAX_NAMED_FORMULAS = 10


def open_sheet(file: SourceFile) -> SourceTable:
    """Check and load a sheet, which stays in memory, and find its header; see `SourceFile`.

    Below the header, each cell of a merged area has the value of the area, except in the key's
    column, and a note says so. Blank rows are left out, also if merged cells reach into them. The
    rows are converted one by one, because all of them need ten times the memory of the sheet.

    Raises:
        InputError: The file is not a workbook, the sheet or its header does not exist, the first
            row is certainly not a header, or the sheet needs too much memory.
    """
    from python_calamine import CalamineError

    with file.translate_errors(
        CalamineError,
        BadZipFile,
        ET.ParseError,
        expat.ExpatError,
        LookupError,
        StopIteration,
        ValueError,
        noun=".xlsx",
    ):
        sheet = _check_and_load_sheet(file)

    def read_records() -> Iterator[Record]:
        """Yield the rows of the sheet from the first line to read on, without blank rows."""
        # The library leaves out blank columns before the first cell, but not blank rows.
        for line_number, row in enumerate(sheet.iter_rows(), start=1):
            cells = [_to_plain_cell(cell) for cell in row]
            if line_number >= file.first_line and any(cell is not None for cell in cells):
                yield Record(line_number, cells)

    table = open_table_of_records(file, read_records)
    merged_ranges = sheet.merged_cell_ranges
    if not merged_ranges:
        return table
    file.notes.append(
        f"merged areas: {len(merged_ranges):,}; below the header, each cell has the value of its "
        "area, except in the column of the key"
    )
    return table._replace(read_rows=partial(_read_rows_and_fill_merged_cells, file, sheet, table))


def _read_rows_and_fill_merged_cells(
    file: SourceFile,
    sheet: Any,
    table: SourceTable,
) -> Iterator[ReadRow]:
    """Yield the rows below the header, with the value of a merged area in its blank cells.

    An area that begins above the first row is not filled, nor is the column of a key of one column:
    rows with the same key would be refused. Findings are yielded unchanged.

    Args:
        file: The file, with the columns of the key.
        sheet: The sheet of the library.
        table: The columns, and the rows with their own cells.
    """
    # The library leaves out blank columns before the first cell.
    margin = sheet.start[1]
    names = table.names
    areas_by_line = defaultdict[int, list[Any]](list)
    for area in sheet.merged_cell_ranges:
        (top, left), _ = area
        if margin <= left < margin + len(names):
            areas_by_line[top + 1].append(area)

    unfilled_columns = file.key_columns if len(file.key_columns) == 1 else ()
    # The last line and the value of the last area in each column.
    last_areas = dict[str, tuple[int, Any]]()
    for row in table.read_rows():
        if not isinstance(row, SourceRow):
            yield row
            continue

        values = dict(row.values)
        for (_, left), (bottom, right) in areas_by_line.get(row.line_number, ()):
            columns = names[left - margin : right - margin + 1]
            last_areas |= dict.fromkeys(columns, (bottom + 1, values[columns[0]]))

        for name, (last_line, value) in last_areas.items():
            is_filled = row.line_number <= last_line and name not in unfilled_columns
            if is_filled and values[name] is None:
                values[name] = value
        yield SourceRow(row.line_number, values)


def _check_and_load_sheet(file: SourceFile) -> Any:
    """Check the sizes of the parts of a workbook, and return the sheet that a user named.

    Without a name it is the first visible sheet, or the first of all if none is visible. Notes of
    the file list visible sheets that are not read, and cells that are read as blank. The shared
    texts and the sheet are parsed to count the memory before the sheet is loaded.

    Raises:
        InputError: The sheet does not exist, or a part or the counted memory is too large.
        StopIteration, LookupError, ValueError, ExpatError, ParseError: The workbook is damaged.
    """
    from python_calamine import SheetVisibleEnum, load_workbook
    from xlsxwriter.utility import xl_rowcol_to_cell

    size = _SheetSize(file)
    # The library would believe the suffix of a path.
    with ZipFile(file.path) as archive, file.path.open("rb") as book_file:
        for part in archive.infolist():
            # These parts are read into memory as a whole.
            is_read_whole = part.filename.lower().endswith(("styles.xml", "workbook.xml", ".rels"))
            if part.file_size > (MAX_PART_BYTES if is_read_whole else MAX_SHEET_BYTES):
                raise file.make_error(
                    f" has {part.file_size:,} bytes in {make_excerpt(part.filename)!r}",
                    hint="save it again, or save it as CSV",
                )
            if part.filename.lower().endswith("sharedstrings.xml"):
                size.count_part(archive, part.filename)

        with load_workbook(book_file) as book:
            visible_names = [
                sheet.name
                for sheet in book.sheets_metadata
                if sheet.visible == SheetVisibleEnum.Visible
            ]
            sheet_name = file.options.sheet or (visible_names or book.sheet_names)[0]
            if sheet_name not in book.sheet_names:
                raise file.make_error(
                    f" has no sheet {sheet_name!r}",
                    hint=f"the sheets are {', '.join(map(repr, book.sheet_names))}",
                )
            if not file.options.sheet and len(visible_names) > 1:
                listed_names = ", ".join(map(repr, visible_names))
                file.notes.append(
                    f"only the sheet {sheet_name!r} is read; the file has {listed_names}; "
                    f"{OptionHint(sheet='NAME')} reads another"
                )

            size.count_part(archive, _find_sheet_part(archive, sheet_name))
            if size.error_count:
                file.notes.append(
                    f"cells with an error: {size.error_count:,}; they are read as blank"
                )
            if size.uncomputed_cells:
                names = list(starmap(xl_rowcol_to_cell, size.uncomputed_cells))
                places = join_first(names, _MAX_NAMED_FORMULAS)
                file.notes.append(
                    f"read as blank because these formulas have no stored value: {places}"
                )
            return book.get_sheet_by_name(sheet_name)


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


def _to_plain_cell(cell: Any) -> Any:
    """Convert a cell of the library to a plain value; a blank text is None, 3.0 is 3."""
    if isinstance(cell, str):
        return cell if cell.strip() else None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) <= MAX_EXACT_FLOAT:
        return int(cell)
    return to_plain_value(cell)


class _SheetSize:
    """The cells and texts of a workbook's parsed parts.

    The shared texts are added first, then a sheet. Cells with an error are counted, and formulas
    without a stored value are in `uncomputed_cells`, by row and column from 0: both are read as
    blank. A formula with the type of a text has a value, which may be the empty text.
    """

    def __init__(self, file: SourceFile) -> None:
        """Begin with nothing; messages name the workbook."""
        self.error_count = 0
        self.uncomputed_cells = dict[tuple[int, int], None]()
        self._file = file
        # Bytes of each shared text, by its index, of the element that was begun last, and of all.
        self._shared_text_sizes = list[int]()
        self._element_bytes = 0
        self._text_bytes = 0
        # The row and the column, from 1, of the cell that was begun last, and the last of all.
        self._row = 0
        self._column = 0
        self._last_row = 0
        self._last_column = 0
        # The type of this cell.
        self._type = ""
        # The element that was begun last, without its namespace prefix.
        self._element = ""

    def count_part(self, archive: ZipFile, name: str) -> None:
        """Parse the part with the shared texts, or with a sheet, and count its cells and texts.

        Args:
            archive: The workbook.
            name: Name of the part.

        Raises:
            InputError: A limit on cells or bytes is exceeded.
            ExpatError, ValueError, LookupError: It is not a part of a workbook.
        """
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartElementHandler = self._handle_element_start
        parser.CharacterDataHandler = self._count_text
        with archive.open(name) as part:
            while chunk := part.read(_CHUNK_BYTES):
                parser.Parse(chunk)
        parser.Parse(b"", True)  # noqa: FBT003 - the parser takes no keyword

    def _check_limit(self, count: int, limit: int, noun: str) -> None:
        """Raise InputError if a count exceeds its limit."""
        if count > limit:
            raise self._file.make_error(
                f" has {count:,} {noun}, more than the limit of {limit:,}",
                hint="delete large or far cells, or save the sheet as CSV",
            )

    def _handle_element_start(self, name: str, attributes: dict[str, str]) -> None:
        """Move to the cell or row that starts, or begin a shared text.

        A cell extends the area, and is counted if it has an error. The cell of a formula is noted
        as not computed until its value is read, unless its type is that of a text.

        Raises:
            InputError: The area is above the limit.
            ValueError: The place of a cell or row is invalid.
        """
        self._element_bytes = 0
        # Most elements are cells and their values, so these are recognized without a split.
        self._element = name if name in {"c", "v"} else name.rpartition(":")[2]
        if self._element == "c":
            self._type = attributes.get("t", "")
            self.error_count += self._type == "e"
            self._move_to_cell(attributes.get("r", ""))
        elif self._element == "f" and self._type != "str":
            self.uncomputed_cells[self._row - 1, self._column - 1] = None
        elif self._element == "row":
            self._row = int(attributes.get("r", self._row + 1))
            self._column = 0
        elif self._element == "si":
            self._shared_text_sizes.append(0)

    def _move_to_cell(self, place: str) -> None:
        """Move to a cell, and extend the area of the sheet to it; raise InputError above the limit.

        Args:
            place: A text such as `B7`. A cell without a place follows the cell before it.
        """
        letters = place.rstrip("0123456789")
        self._column = _parse_column_letters(letters) if letters else self._column + 1
        self._row = int(place[len(letters) :] or self._row)
        self._last_row = max(self._last_row, self._row)
        self._last_column = max(self._last_column, self._column)
        area = f"cells in {self._last_row:,} rows and {self._last_column:,} columns"
        self._check_limit(self._last_row * self._last_column, MAX_CELLS, area)

    def _count_text(self, text: str) -> None:
        """Count the bytes of a text, or those of the shared text that a cell refers to.

        Before the first row, the text is a part of the shared text that was begun last, and is
        added to its size. A cell with a value is no longer noted as not computed.

        Raises:
            InputError: The limit on the bytes of a cell, or of all texts, is exceeded.
            IndexError, ValueError: The cell's index of a shared text is invalid.
        """
        byte_count = len(text.encode())
        if self._element == "v":
            self.uncomputed_cells.pop((self._row - 1, self._column - 1), None)
        if self._element == "v" and self._type == "s" and text.strip():
            byte_count = self._shared_text_sizes[int(text)]
        elif self._shared_text_sizes and not self._last_row:
            self._shared_text_sizes[-1] += byte_count
        self._element_bytes += byte_count
        self._check_limit(self._element_bytes, MAX_CELL_BYTES, "bytes in a cell")
        self._text_bytes += byte_count
        self._check_limit(self._text_bytes, MAX_TEXT_BYTES, "bytes of text")


@lru_cache(maxsize=1 << 14)
def _parse_column_letters(letters: str) -> int:
    """Return the number of a column, from 1, by its letters."""
    from xlsxwriter.utility import xl_cell_to_rowcol

    column_index: int = xl_cell_to_rowcol(f"{letters}1")[1]
    return column_index + 1
