"""Copy an .xlsx file with new rows below the last row of a sheet.

Only the part with the sheet is changed: new rows are inserted at its end. All other parts, such as
other sheets, styles and formulas, are copied as they are.
"""

import copy
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from zipfile import ZipFile

from pipeline.core.errors import InputError
from pipeline.core.files import iterate_pieces
from pipeline.tables.workbook import (
    MAX_CELL_CHARS,
    MAX_EXACT_NUMBER,
    MAX_ROWS,
    find_sheet_part,
)

# The part with the sheet is changed in memory.
MAX_CHANGED_SHEET_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 20
_SHEET_END = re.compile(rb"</((?:\w+:)?)sheetData\s*>")
_ROW = re.compile(rb"<(?:\w+:)?row(?=[\s/>])([^>]*)>")
_ROW_NUMBER = re.compile(rb'\br="(\d+)"')
# Programs that trust the recorded size would not read the new rows; the element is optional.
_DIMENSION = re.compile(rb"<(?:\w+:)?dimension\s[^>]*/>")
# Characters that XML cannot contain.
_NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def check_cell(value: Any) -> None:
    """Check that a cell can store a value.

    Raises:
        ValueError: The value is too long or too large, or has a character that XML lacks.
    """
    if isinstance(value, str):
        if len(value) > MAX_CELL_CHARS:
            raise ValueError(f"a cell of a workbook has room for {MAX_CELL_CHARS:,} characters")
        if _NOT_IN_XML.search(value):
            raise ValueError("a workbook cannot store one of the characters")
    elif isinstance(value, int) and abs(value) > MAX_EXACT_NUMBER:
        raise ValueError("a workbook cannot store such a large number")


def iterate_extended_workbook(
    path: Path,
    sheet_name: str,
    names: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
) -> Iterator[bytes]:
    """Yield the bytes of a copy of a workbook with new rows below the last row of a sheet.

    The workbook itself is not changed. The copy is made in a temporary file before its first bytes
    are yielded, so an error comes before them.

    Args:
        path: The workbook.
        sheet_name: Name of the sheet that gets the rows.
        names: The columns of the sheet from its first column on; empty for one without a name.
        rows: The values of each row by column, as `check_cell` accepts them.

    Raises:
        InputError: The sheet is too large, has no element for rows, or has no room for more rows.
    """
    with tempfile.TemporaryFile() as file:
        with ZipFile(path) as archive, ZipFile(file, "w") as new_archive:
            sheet_part = find_sheet_part(archive, sheet_name)
            for part in archive.infolist():
                if part.filename == sheet_part:
                    if part.file_size > MAX_CHANGED_SHEET_BYTES:
                        raise InputError(
                            f"{path.name} has a sheet of {part.file_size:,} bytes, too large to be "
                            "changed; nothing was changed",
                            hint="add the rows in a spreadsheet program",
                        )
                    sheet_xml = _insert_rows(archive.read(part), path, names, rows)
                    new_archive.writestr(copy.copy(part), sheet_xml)
                    continue
                new_part = copy.copy(part)
                with archive.open(part) as reader, new_archive.open(new_part, "w") as writer:
                    shutil.copyfileobj(reader, writer, _CHUNK_BYTES)

        yield from iterate_pieces(file)


def _insert_rows(
    sheet_xml: bytes,
    path: Path,
    names: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
) -> bytes:
    """Return the XML of a sheet with new rows below its last row.

    A value whose column has no name is left out. The element `dimension`, with the sheet's old
    size, is removed, because programs that trust it would not read the new rows.

    Raises:
        InputError: The sheet has no element for rows, or no room for more rows.
    """
    from xlsxwriter.utility import xl_rowcol_to_cell

    sheet_end = _SHEET_END.search(sheet_xml)
    if sheet_end is None:
        raise InputError(f"{path.name} has no rows; nothing was changed")
    last_number = 0
    for row_start in _ROW.finditer(sheet_xml, 0, sheet_end.start()):
        match = _ROW_NUMBER.search(row_start[1])
        last_number = int(match[1]) if match else last_number + 1

    prefix = sheet_end[1].decode()
    pieces = [_DIMENSION.sub(b"", sheet_xml[: sheet_end.start()], count=1)]
    for row_number, row in enumerate(rows, start=last_number + 1):
        if row_number > MAX_ROWS:
            raise InputError(
                f"{path.name} has no room for more than {MAX_ROWS:,} rows; nothing was changed",
            )
        cells = "".join(
            _format_cell(prefix, xl_rowcol_to_cell(row_number - 1, index), row.get(name))
            for index, name in enumerate(names)
            if name
        )
        pieces.append(f'<{prefix}row r="{row_number}">{cells}</{prefix}row>'.encode())
    pieces.append(sheet_xml[sheet_end.start() :])
    return b"".join(pieces)


def _format_cell(prefix: str, cell_name: str, value: Any) -> str:
    """Return a cell as XML; "" for None.

    Args:
        prefix: The prefix of the sheet's elements, with a colon; empty without one.
        cell_name: Column and row, such as B7.
        value: A value that `check_cell` accepts.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return f'<{prefix}c r="{cell_name}" t="b"><{prefix}v>{int(value)}</{prefix}v></{prefix}c>'
    if isinstance(value, int | float):
        return f'<{prefix}c r="{cell_name}"><{prefix}v>{value!r}</{prefix}v></{prefix}c>'
    # Programs read "\r" as a line end.
    text = escape(str(value), quote=False).replace("\r", "&#13;")
    text_element = f'<{prefix}t xml:space="preserve">{text}</{prefix}t>'
    inline_text = f"<{prefix}is>{text_element}</{prefix}is>"
    return f'<{prefix}c r="{cell_name}" t="inlineStr">{inline_text}</{prefix}c>'
