"""Read a sheet of an .xlsx file, and write one.

What stands in a cell is its value: of a formula what its own program worked out last. A value of merged cells stands in
each of them.
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
from pipeline.core.text import first_few
from pipeline.tables.cells import plain_value
from pipeline.tables.headers import MAX_RECORDS, SHOWN_LINES, Record, find_fault, made_names, refuse
from pipeline.tables.row_import import excerpt
from pipeline.tables.sheet_size import SheetSize

if TYPE_CHECKING:
    from python_calamine import CalamineSheet

MARK = b"PK\x03\x04"  # begins such a file
LOCKED = b"\xd0\xcf\x11\xe0"  # begins one with a password, and the older .xls
# Of a part that the reader holds whole, with names, links or styles; and of a sheet, which takes minutes to unpack.
MAX_PART_BYTES = 8 << 20
MAX_SHEET_BYTES = 2 << 30
MOST_ROWS = 1_048_576  # of a sheet, the header in; of a cell
MOST_COLUMNS = 16_384
MOST_CHARACTERS = 32_767
_WHOLE = 2**53  # up to which a sheet keeps whole numbers
_PIECE = 1 << 20
_FORMAT = re.compile(rb'<numFmt numFmtId="([0-9]+)" formatCode="([^"]*)"')
_OF_PERCENT_OR_MONEY = re.compile(r"%|\$(?!-)|€|£|¥".encode())  # `[$-409]` is a language
_PERCENT_OR_MONEY = frozenset(
    b"%d" % number for number in (5, 6, 7, 8, 9, 10, 41, 42, 43, 44)
)  # those built in
_STYLE = re.compile(rb'<xf [^>]*?numFmtId="([0-9]+)"')
_STYLES = "xl/styles.xml"


@dataclass(frozen=True)
class SheetRows:
    """The rows of a sheet behind its header, by their numbers from 1, without blank ones; each `iter` begins anew.

    A cell is None, or as JSON has it. Rows are made as they are wanted, because all of them take ten times the memory
    of the sheet.
    """

    sheet: "CalamineSheet"
    # Merged areas as (top, left), (bottom, right), by the indexes of rows and columns.
    merged: Sequence[Any] = ()
    # The index of the first row.
    first: int = 0

    def raw(self) -> Iterator[list[Any]]:
        """Yield every row of the sheet as the library has it, from its first one on; merged cells are not filled."""
        # The library leaves out blank columns before the first cell, but not blank rows.
        start = self.sheet.start
        margin = [""] * (start[1] if start else 0)
        for row in self.sheet.iter_rows():
            yield margin + row

    def __iter__(self) -> Iterator[tuple[int, list[Any]]]:
        """Yield the number and the cells of each row; a merged value is in each of its cells."""
        waiting_areas = sorted(self.merged, reverse=True)
        open_areas: list[tuple[Any, Any]] = []
        for index, row in enumerate(self.raw()):
            open_areas = [(area, value) for area, value in open_areas if area[1][0] >= index]
            while waiting_areas and waiting_areas[-1][0][0] == index:
                area = waiting_areas.pop()
                open_areas.append((area, row[area[0][1]]))
            for ((_, left), (_, right)), value in open_areas:
                row[left : right + 1] = [value] * len(row[left : right + 1])
            cells = [_plain(cell) for cell in row]
            if index >= self.first and any(cell is not None for cell in cells):
                yield index + 1, cells


# The names of a sheet's columns, its rows, and notes.
Sheet = tuple[list[str], SheetRows, list[str]]


def read_sheet(
    path: Path,
    wanted: str,
    *,
    header: int | None = None,
    is_known: Callable[[str], bool] | None = None,
) -> Sheet:
    """Return what stands in a sheet of a file, the first visible one where none is `wanted`.

    The `header` is in that row, from 1; 0 means that there is none, None that it is the first row that is not blank.
    A first row with a name that `is_known` is the header.

    Raises:
        InputError: It is no workbook, there is no such sheet or header, or the sheet takes too much memory.
    """
    from python_calamine import CalamineError

    try:
        with ZipFile(path) as packed:
            name, shown, rows, size = _open_sheet(path, packed, wanted)
    except (
        CalamineError,
        BadZipFile,
        ExpatError,
        LookupError,
        StopIteration,
        ValueError,
    ) as error:
        raise _refused(
            path, f"cannot be read as .xlsx: {excerpt(str(error))}", "save it anew, or as CSV"
        ) from None
    notes = (
        []
        if wanted or len(shown) <= 1
        else [f"the sheet {name!r} is read, of {', '.join(map(repr, shown))}"]
    )
    cells = _first_rows(rows, header)
    at = _header_of(path, cells, name, rows.merged, header=header, is_known=is_known)
    if rows.merged:
        notes.append(f"merged cells: {len(rows.merged):,}; their value is read in each of them")
    if size.money_places:
        notes.append(
            "read as plain numbers (0.075, not 7.5 %), though they are shown as percent or money: "
            f"{first_few(size.money_places)}"
        )
    if size.blank_places:
        notes.append(
            "read as blank, for they hold errors, or formulas that were never worked out: "
            f"{first_few(size.blank_places)}"
        )
    names = made_names(len(cells[at])) if header == 0 else _texts(cells[at])
    rows = replace(rows, first=at if header == 0 else at + 1)
    unnamed = {index for index, column in enumerate(names) if not column}
    if unnamed:
        filled = {index for _, row in rows for index in unnamed if row[index] is not None}
        notes += [f"columns without a name are not read: {len(filled)}"] if filled else []
    return names, rows, notes


def _open_sheet(
    path: Path, packed: ZipFile, wanted: str
) -> tuple[str, list[str], SheetRows, SheetSize]:
    """Return the name of the sheet, the names of all visible ones, its rows, and what was counted of it before."""
    from python_calamine import SheetVisibleEnum, load_workbook

    for part in packed.infolist():
        is_held = part.filename.lower().endswith(("styles.xml", "workbook.xml", ".rels"))
        if part.file_size > (MAX_PART_BYTES if is_held else MAX_SHEET_BYTES):
            reason = f"has {part.file_size:,} bytes in {excerpt(part.filename)!r}"
            raise _refused(path, reason, "save it anew, or as CSV")
    size = SheetSize(path, _money_styles(packed))
    for name in packed.namelist():
        if name.lower().endswith("sharedstrings.xml"):
            size.add_part(packed, name)
    with load_workbook(str(path)) as book:
        shown = [
            sheet.name
            for sheet in book.sheets_metadata
            if sheet.visible == SheetVisibleEnum.Visible
        ]
        if wanted and wanted not in book.sheet_names:
            there = f"there are {', '.join(map(repr, book.sheet_names))}"
            raise _refused(path, f"has no sheet {wanted!r}", there)
        name = wanted or next(iter(shown), book.sheet_names[0])
        size.add_part(packed, _part_of(packed, name))
        sheet = book.get_sheet_by_name(name)
        return name, shown, SheetRows(sheet, sheet.merged_cell_ranges or ()), size


def _first_rows(rows: SheetRows, header: int | None) -> list[list[Any]]:
    """Return the rows that tell where the header is: some behind the first that is not blank, or up to that header."""
    first_rows = list[list[Any]]()
    filled_count = 0
    for row in rows.raw():
        first_rows.append(row)
        filled_count += bool(filled_count) or any(_plain(cell) is not None for cell in row)
        if filled_count >= MAX_RECORDS and len(first_rows) >= (header or 0):
            break
    return first_rows


def _header_of(
    path: Path,
    cells: list[list[Any]],
    name: str,
    merged: Sequence[Any],
    *,
    header: int | None,
    is_known: Callable[[str], bool] | None,
) -> int:
    """Return the index of the row with the names; of a sheet without a header, that of its first row."""
    first = next(
        (number for number, row in enumerate(cells) if any(_plain(one) is not None for one in row)),
        None,
    )
    if first is None:
        raise _refused(
            path,
            f"has nothing in its sheet {name!r}",
            f"name another with {OptionHint('sheet')}, in a task's file sheet=",
        )
    if header is None:
        _check_header(path, cells, first, is_known)
    at = header - 1 if header else first
    if at >= len(cells) or all(_plain(one) is None for one in cells[at]):
        said = (
            f"has nothing in row {header} of its sheet {name!r}, which {OptionHint('header')} names"
        )
        raise _refused(path, said, "name the row of its header")
    if header != 0 and any(top <= at <= bottom for (top, _), (bottom, _) in merged):
        said = f"has merged cells in its header, row {at + 1} of the sheet {name!r}"
        raise _refused(
            path,
            said,
            f"give each column its own name there, or name another row with {OptionHint('header')}",
        )
    return at


def _texts(cells: Sequence[Any]) -> list[str]:
    """Return the cells of a row as texts on one line."""
    return [
        " ".join(str(one if (one := _plain(cell)) is not None else "").split()) for cell in cells
    ]


def _check_header(
    path: Path, cells: list[list[Any]], at: int, is_known: Callable[[str], bool] | None
) -> None:
    """Refuse a sheet whose first row that is not blank, at this index, is certainly no header."""
    if is_known is not None and any(map(is_known, _texts(cells[at]))):
        return
    rows = (
        (number, _texts(row))
        for number, row in enumerate(cells[at : at + MAX_RECORDS], start=at + 1)
    )
    records = [Record(number, row) for number, row in rows if any(row)]
    if fault := find_fault(records):
        raise refuse(
            path, fault, [" | ".join(_texts(row)).strip(" |") for row in cells[:SHOWN_LINES]]
        )


def _plain(cell: Any) -> Any:
    if isinstance(cell, str):
        return cell if cell.strip() else None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) <= _WHOLE:
        return int(cell)
    return plain_value(cell)


def _part_of(packed: ZipFile, name: str) -> str:
    """Return the part with the cells of a sheet, as the workbook names it."""
    sheets = ET.fromstring(packed.read("xl/workbook.xml"))  # noqa: S314 - bounded
    links = ET.fromstring(packed.read("xl/_rels/workbook.xml.rels"))  # noqa: S314
    sheet = next(
        sheet for sheet in sheets.findall("{*}sheets/{*}sheet") if sheet.get("name") == name
    )
    link_id = next(value for key, value in sheet.items() if key.endswith("}id"))
    target = next(link.get("Target", "") for link in links if link.get("Id") == link_id)
    return f"xl/{target.removeprefix('/').removeprefix('xl/')}"


def _money_styles(packed: ZipFile) -> Collection[str]:
    """Return the styles of cells whose numbers are shown as percent or money, as cells name them."""
    if _STYLES not in packed.namelist():
        return ()
    styles = packed.read(_STYLES)
    formats = {
        number for number, code in _FORMAT.findall(styles) if _OF_PERCENT_OR_MONEY.search(code)
    }
    _, _, cells = styles.partition(b"<cellXfs")
    numbers = _STYLE.findall(cells.partition(b"</cellXfs>")[0])
    return {
        str(index) for index, number in enumerate(numbers) if number in formats | _PERCENT_OR_MONEY
    }


def _refused(path: Path, said: str, hint: str) -> InputError:
    return InputError(f"{path} {said}; nothing was read", hint=hint)


def written(
    rows: Iterable[Mapping[str, Any]], kinds: Mapping[str, str], text_of: Any
) -> Iterator[bytes]:
    """Yield the bytes of a file with these rows; a text is written as a text, never as a formula or a link.

    Numbers, true and false, and dates are themselves; all else is what `text_of` makes of it.
    """
    from xlsxwriter import Workbook
    from xlsxwriter.exceptions import XlsxWriterException

    if len(kinds) > MOST_COLUMNS:
        raise _no_room(f"{len(kinds):,} columns, and a sheet has {MOST_COLUMNS:,}")
    how = {"constant_memory": True, "default_date_format": "yyyy-mm-dd"}
    with tempfile.TemporaryFile() as file:
        try:
            with Workbook(file, how) as book:
                sheet = book.add_worksheet()
                for column, name in enumerate(kinds):
                    sheet.write_string(0, column, name)
                for number, row in enumerate(rows, start=1):
                    if number == MOST_ROWS:
                        raise _no_room(
                            f"more than {MOST_ROWS - 1:,} rows, and a sheet has {MOST_ROWS:,}"
                        )
                    for column, name in enumerate(kinds):
                        _write_cell(
                            sheet, number, column, row[name], text_of(row[name], kinds[name])
                        )
        except XlsxWriterException as error:
            said = f"the file cannot be made in {tempfile.gettempdir()}: {error}"
            raise InputError(said, hint="free some room there") from error
        file.seek(0)
        while piece := file.read(_PIECE):
            yield piece


def _write_cell(sheet: Any, row: int, column: int, value: Any, words: Any) -> None:
    if isinstance(value, bool):
        sheet.write_boolean(row, column, value)
    elif isinstance(value, int | float) and abs(value) <= _WHOLE:
        sheet.write_number(row, column, value)
    elif isinstance(value, date) and not isinstance(value, datetime):
        sheet.write_datetime(row, column, value)
    elif (text := str(words)) and sheet.write_string(row, column, text):
        raise _no_room(
            f"{len(text):,} characters in one cell (row {row + 1}), and {MOST_CHARACTERS:,} are the most"
        )


def _no_room(said: str) -> InputError:
    return InputError(
        f"there are {said}; nothing was written", hint="write .csv or .jsonl, which have room"
    )
