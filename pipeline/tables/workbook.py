"""Read a sheet of an .xlsx file, and write one.

What stands in a cell is its value: of a formula what its own program worked out last. A value of merged cells stands in
each of them.
"""

import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date, datetime
from pathlib import Path
from typing import Any

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.text import first_few
from pipeline.tables.cells import plain_value
from pipeline.tables.headers import MAX_RECORDS, SHOWN_LINES, Record, find_fault, made_names, refuse
from pipeline.tables.row_import import excerpt

MARK = b"PK\x03\x04"  # begins such a file
LOCKED = b"\xd0\xcf\x11\xe0"  # begins one with a password, and the older .xls
MOST_BYTES = 2 << 30  # of what is packed in one; a small file may unpack to anything
MOST_ROWS = 1_048_576  # of a sheet, the header in; of a cell
MOST_COLUMNS = 16_384
MOST_CHARACTERS = 32_767
MOST_CELLS = (
    10_000_000  # ours: of a sheet that is read, blank ones in; some 300 bytes each while it is
)
_WHOLE = 2**53  # up to which a sheet keeps whole numbers
_PIECE = 1 << 20
_SHOWN = 3  # places in a note
_SHEET = re.compile(rb'<sheet [^>]*?\bname="([^"]*)"[^>]*?\br:id="([^"]*)"')
_CELL = re.compile(rb'<c r="([A-Z]{1,3})([0-9]{1,7})"')
# a cell that holds an error, or a formula of which no value was kept
_NO_VALUE = re.compile(
    rb'<c r="([A-Z]+[0-9]+)"(?:[^>]* t="e"|[^>]*><f(?:[^>]*/|[^>]*>[^<]*</f)>(?:<v></v>|<v ?/>)?</c)'
)

_FORMAT = re.compile(rb'<numFmt numFmtId="([0-9]+)" formatCode="([^"]*)"')
_OF_PERCENT_OR_MONEY = re.compile(r"%|\$(?!-)|€|£|¥".encode())  # `[$-409]` is a language
_PERCENT_OR_MONEY = frozenset(
    b"%d" % number for number in (5, 6, 7, 8, 9, 10, 41, 42, 43, 44)
)  # those built in
_STYLE = re.compile(rb'<xf [^>]*?numFmtId="([0-9]+)"')
_STYLED = re.compile(rb'<c r="([A-Z]+[0-9]+)" s="([0-9]+)"(?: t="n")?><v>')


# a sheet's header, the rows behind it with their numbers from 1, and notes; a cell is None, or as JSON has it
Sheet = tuple[list[str], list[tuple[int, list[Any]]], list[str]]


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
    """
    from zipfile import BadZipFile, ZipFile

    from python_calamine import CalamineError, SheetVisibleEnum, load_workbook

    try:
        with ZipFile(path) as packed:
            if sum(one.file_size for one in packed.infolist()) > MOST_BYTES:
                raise _refused(
                    path,
                    f"holds more than {MOST_BYTES >> 30} GB when it is unpacked",
                    "save it as CSV",
                )
        with load_workbook(str(path)) as book:
            shown = [
                one.name for one in book.sheets_metadata if one.visible == SheetVisibleEnum.Visible
            ]
            if wanted and wanted not in book.sheet_names:
                raise _refused(
                    path,
                    f"has no sheet {wanted!r}",
                    f"there are {', '.join(map(repr, book.sheet_names))}",
                )
            name = wanted or next(iter(shown), book.sheet_names[0])
            data = _data_of(path, name)
            _check_room(path, data)
            sheet = book.get_sheet_by_name(name)
            cells = sheet.to_python(skip_empty_area=False)
            merged = sheet.merged_cell_ranges or ()
    except (CalamineError, BadZipFile, IndexError) as error:
        raise _refused(
            path, f"cannot be read as .xlsx: {excerpt(str(error))}", "save it anew, or as CSV"
        ) from None
    notes = (
        []
        if wanted or len(shown) <= 1
        else [f"the sheet {name!r} is read, of {', '.join(map(repr, shown))}"]
    )
    at = _header_of(path, cells, name, merged, header=header, is_known=is_known)
    for (top, left), (bottom, right) in merged:
        for row in cells[top : bottom + 1]:
            row[left : right + 1] = [cells[top][left]] * len(row[left : right + 1])
    if merged:
        notes.append(f"merged cells: {len(merged):,}; their value is read in each of them")
    if places := _shown_otherwise(path, data):
        told = first_few(places, _SHOWN)
        notes.append(
            f"read as plain numbers (0.075, not 7.5 %), though they are shown as percent or money: {told}"
        )
    # the reader tells these from blank cells no more
    if places := [found[1].decode() for found in _NO_VALUE.finditer(data)]:
        told = first_few(places, _SHOWN)
        notes.append(
            f"read as blank, for they hold errors, or formulas that were never worked out: {told}"
        )
    if header == 0:
        return _as_table(made_names(len(cells[at])), cells, at, notes)
    return _as_table(_texts(cells[at]), cells, at + 1, notes)


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


def _as_table(names: list[str], cells: list[list[Any]], first: int, notes: list[str]) -> Sheet:
    """Return a table whose rows begin at an index; blank ones are left out."""
    rows = [
        (number, [_plain(one) for one in row])
        for number, row in enumerate(cells[first:], start=first + 1)
    ]
    rows = [one for one in rows if any(value is not None for value in one[1])]
    if unnamed := sum(
        not one and any(row[1][number] is not None for row in rows)
        for number, one in enumerate(names)
    ):
        notes.append(f"columns without a name are not read: {unnamed}")
    return names, rows, notes


def _refused(path: Path, said: str, hint: str) -> InputError:
    return InputError(f"{path} {said}; nothing was read", hint=hint)


def _plain(cell: Any) -> Any:
    if isinstance(cell, str):
        return cell if cell.strip() else None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) <= _WHOLE:
        return int(cell)
    return plain_value(cell)


def _check_room(path: Path, data: bytes) -> None:
    """Refuse a sheet with cells so far out that the reader, which fills all before them, has no memory for it."""
    rows = 0
    columns = 0
    widest = b""
    for letters, digits in _CELL.findall(data):
        rows = max(rows, int(digits))
        if (len(letters), letters) > (len(widest), widest):
            widest = letters
    for letter in widest:
        columns = columns * 26 + letter - ord("A") + 1
    if rows * columns > MOST_CELLS:
        said = f"has cells as far out as column {widest.decode()} and row {rows:,}: {rows * columns:,} with blank ones"
        raise _refused(path, said, "delete what stands apart there, or save it as CSV")


def _data_of(path: Path, name: str) -> bytes:
    from html import unescape
    from zipfile import ZipFile

    with suppress(KeyError, StopIteration), ZipFile(path) as packed:
        book = packed.read("xl/workbook.xml")
        parts = packed.read("xl/_rels/workbook.xml.rels")
        ids = {unescape(found[1].decode()): found[2] for found in _SHEET.finditer(book)}
        links = (
            one
            for one in re.findall(rb"<Relationship [^>]*>", parts)
            if b'Id="%s"' % ids[name] in one
        )
        target = re.search(rb'Target="/?(?:xl/)?([^"]*)"', next(links))
        return packed.read(f"xl/{target[1].decode()}") if target else b""
    return b""


def _shown_otherwise(path: Path, data: bytes) -> list[str]:
    """Return the cells of a sheet whose numbers are shown as percent or money."""
    from zipfile import ZipFile

    with suppress(KeyError), ZipFile(path) as packed:
        styles = packed.read("xl/styles.xml")
        formats = {
            number for number, code in _FORMAT.findall(styles) if _OF_PERCENT_OR_MONEY.search(code)
        }
        _, _, cells = styles.partition(b"<cellXfs")
        numbers = _STYLE.findall(cells.partition(b"</cellXfs>")[0])
        shown = {
            b"%d" % index
            for index, number in enumerate(numbers)
            if number in formats | _PERCENT_OR_MONEY
        }
        return [place.decode() for place, style in _STYLED.findall(data) if style in shown]
    return []


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
