"""Tell where the header of a table is, and whether the first row is certainly no header.

Only what is certain is refused: a first row that is narrower than all rows below and stands above a row of names, or
one that holds a value of the same series as the values below it. Years and other numbers may be names of columns.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.tables.row_import import excerpt

# Records that are looked at, and lines that a message shows.
MAX_RECORDS = 30
SHOWN_LINES = 3
NO_HEADER = "none"
_MIN_ROWS = 2
_MIN_WIDTH = 2
# From so many columns on, a row of names below a single cell needs no other evidence.
_WIDE = 3
# Words from which a cell is a sentence.
_SENTENCE = 4
_COMMENT_WORDS = 3
_YEAR = re.compile(r"(?:19|20)\d\d")
_NUMBER = re.compile(r"[-+]?\d[\d ,.']*%?")
_SERIES = (
    re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?"),
    re.compile(r"[^@\s]+@[^@\s]+\.[a-z]+", re.IGNORECASE),
    re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE),
)


class Record(NamedTuple):
    """A record that is not blank: the line where it starts, from 1, and its cells without blanks around them."""

    line: int
    cells: Sequence[str]

    @property
    def filled(self) -> list[str]:
        """Return the cells that are not blank."""
        return [cell for cell in self.cells if cell]


class HeaderFault(NamedTuple):
    """Why the first record is no header, and the line where the header is; 0 if the table has none."""

    reason: str
    line: int


def parse_header(header: int | str) -> int | None:
    """Return the line that `HEADER=` names: 0 if there is no header, None if the file is to tell.

    Raises:
        InputError: it is neither a line from 1 on nor `none`.
    """
    text = str(header).strip().casefold()
    if not text:
        return None
    if text == NO_HEADER:
        return 0
    if not text.isdecimal() or int(text) < 1:
        message = f"{OptionHint('header')} is {excerpt(str(header))!r}, and no line of a file; nothing was read"
        hint = f"{OptionHint(header=3)} names a line, {OptionHint(header=NO_HEADER)} says there is none"
        raise InputError(message, hint=hint)
    return int(text)


def made_names(count: int) -> list[str]:
    """Return the names of the columns of a table without a header."""
    return [f"column_{number}" for number in range(1, count + 1)]


def records_of(lines: Sequence[str], delimiter: str, *, first_line: int) -> list[Record]:
    """Return the first records of a CSV file that are not blank, whatever their quotes."""
    records = list[Record]()
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    line = first_line
    try:
        for fields in reader:
            if any(map(str.strip, fields)):
                records.append(Record(line, [field.strip() for field in fields]))
            line = first_line + reader.line_num
            if len(records) > MAX_RECORDS:
                break
    except csv.Error:
        return records
    return records


def find_fault(records: Sequence[Record], *, is_certain_table: bool = True) -> HeaderFault | None:
    """Return why the first of some records is certainly no header; None if it may be one.

    They are of a certain table if they are cells of a sheet, or fields by the delimiter of the first line.
    """
    return _title_above(records, is_certain_table=is_certain_table) or _data_row_fault(records)


def refuse(path: object, fault: HeaderFault, lines: Iterable[str]) -> InputError:
    """Return the error for a file whose first row is no header, with its first lines and what to type."""
    shown_lines = ", ".join(
        f"line {number} '{excerpt(text)}'" for number, text in enumerate(lines, start=1)
    )
    message = f"{path}: {fault.reason}; nothing was read. It begins: {shown_lines}"
    with_names = f"{OptionHint(header=fault.line or 1)} takes the names of the columns from line {fault.line or 1}"
    without_names = f"{OptionHint(header=NO_HEADER)} calls them column_1, …"
    choices = f"{with_names}, {without_names}" if fault.line else f"{without_names}; {with_names}"
    return InputError(message, hint=f"{choices}; in a task's file it is header=")


def _title_above(records: Sequence[Record], *, is_certain_table: bool) -> HeaderFault | None:
    """Return where the header is, if the first records are titles or comments."""
    width = len(records[-1].cells) if records else 0
    title_count = 0
    while title_count < len(records) and _can_be_title(records[title_count]):
        title_count += 1
    titles = records[:title_count]
    table = records[title_count:]
    is_uneven = any(len(record.cells) != width for record in table)
    if not titles or len(table) <= 1 or width < _MIN_WIDTH or is_uneven:
        return None

    header, *rows = table
    names = header.filled
    if (
        len(names) < _MIN_WIDTH
        or len({name.casefold() for name in names}) < len(names)
        or not _are_names(names)
    ):
        return None

    first = titles[0].cells
    is_narrow = all(len(record.filled) == 1 and record.cells[0] for record in titles)
    is_wide = len(names) >= _WIDE or (first[0].startswith("#") and len(first) < width)
    has_gap = header.line > titles[-1].line + 1
    if not (
        has_gap or _is_above_numbers(header, rows) or (is_certain_table and is_narrow and is_wide)
    ):
        return None
    kind = "comments" if first[0].startswith("#") else "a title"
    return HeaderFault(f"{kind} above the header, which is on line {header.line}", header.line)


def _can_be_title(record: Record) -> bool:
    """Return whether a record can be a title or a comment: one cell alone, or a `#` with words behind it."""
    first = record.cells[0]
    is_alone = len(record.filled) == 1 and bool(first)
    return is_alone or (first.startswith("#") and len(first.lstrip("#").split()) >= _COMMENT_WORDS)


def _are_names(cells: Sequence[str]) -> bool:
    """Return whether cells can be names of columns above data: one is a word, and a number among them is a year."""
    numbers = [cell for cell in cells if _NUMBER.fullmatch(cell)]
    are_usual = all(map(_YEAR.fullmatch, numbers)) and len(numbers) < len(cells)
    return are_usual and not any(map(_is_of_series, cells))


def _is_of_series(cell: str) -> bool:
    return any(series.fullmatch(cell) for series in _SERIES)


def _is_above_numbers(header: Record, rows: Sequence[Record]) -> bool:
    """Return whether a column has a word in the header and numbers alone, or values of a series, in each row below."""
    for number, name in enumerate(header.cells):
        cells = [row.cells[number] for row in rows]
        are_values = all(_NUMBER.fullmatch(cell) or _is_of_series(cell) for cell in cells)
        if name and are_values and not _NUMBER.fullmatch(name):
            return True
    return False


def _data_row_fault(records: Sequence[Record]) -> HeaderFault | None:
    """Return why the first record is certainly a row of data; None if it may be a header."""
    first, *rows = records or [Record(1, ())]
    width = len(first.cells)
    if len(rows) < _MIN_ROWS or width < _MIN_WIDTH or any(len(row.cells) != width for row in rows):
        return None

    is_mixed = any(cell and not _NUMBER.fullmatch(cell) for cell in first.cells)
    for number, cell in enumerate(first.cells):
        cells_below = [row.cells[number] for row in rows]
        if is_mixed and _is_counted(cell, cells_below):
            return HeaderFault(
                f"no header: {excerpt(cell)!r} is followed by {', '.join(cells_below[:2])} below it",
                0,
            )
        if any(all(map(series.fullmatch, (cell, *cells_below))) for series in _SERIES):
            return HeaderFault(f"no header: {excerpt(cell)!r} is a value like those below it", 0)

    keys = [record.cells[0] for record in records]
    is_keyed = all(map(str.isdecimal, keys)) and len(set(keys)) == len(keys)
    if is_keyed and not _YEAR.fullmatch(keys[0]) and _has_sentences(records):
        return HeaderFault(
            f"no header: {excerpt(keys[0])!r} and the text behind it are a row like those below", 0
        )
    return None


def _is_counted(cell: str, cells_below: Sequence[str]) -> bool:
    """Return whether a whole number is followed by the next ones."""
    if not cell.isdecimal() or not all(map(str.isdecimal, cells_below)):
        return False
    next_numbers = range(int(cell) + 1, int(cell) + 1 + len(cells_below))
    return list(map(int, cells_below)) == list(next_numbers)


def _has_sentences(records: Sequence[Record]) -> bool:
    """Return whether a column has a sentence in each record."""
    columns = zip(*(record.cells for record in records), strict=True)
    return any(all(len(cell.split()) >= _SENTENCE for cell in column) for column in columns)
