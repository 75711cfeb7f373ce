"""Tell where the header of a table is, and whether the first row is certainly no header.

Only what is certain is refused: a first row that is narrower than all rows below and stands above a row of names, or
one that holds a value of the same series as the values below it. Years and other numbers may be names of columns.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pipeline.core.errors import InputError
from pipeline.core.step import Option
from pipeline.tables.findings import excerpt

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
        return [one for one in self.cells if one]


class HeaderFault(NamedTuple):
    """Why the first record is no header, and the line where the header is; 0 if the table has none."""

    reason: str
    line: int


def parse_header(named: int | str) -> int | None:
    """Return the line that `HEADER=` names: 0 if there is no header, None if the file is to tell.

    Raises:
        InputError: it is neither a line from 1 on nor `none`.
    """
    text = str(named).strip().casefold()
    if not text:
        return None
    if text == NO_HEADER:
        return 0
    if not text.isdecimal() or int(text) < 1:
        said = f"{Option('header')} is {excerpt(str(named))!r}, and no line of a file; nothing was read"
        raise InputError(said, hint=f"{Option(header=3)} names a line, {Option(header=NO_HEADER)} says there is none")
    return int(text)


def made_names(count: int) -> list[str]:
    """Return the names of the columns of a table without a header."""
    return [f"column_{number}" for number in range(1, count + 1)]


def records_of(lines: Sequence[str], delimiter: str, *, first_line: int) -> list[Record]:
    """Return the first records of a CSV file that are not blank, whatever their quotes."""
    found = list[Record]()
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    line = first_line
    try:
        for fields in reader:
            if any(map(str.strip, fields)):
                found.append(Record(line, [one.strip() for one in fields]))
            line = first_line + reader.line_num
            if len(found) > MAX_RECORDS:
                break
    except csv.Error:
        return found
    return found


def find_fault(records: Sequence[Record], *, is_certain_table: bool = True) -> HeaderFault | None:
    """Return why the first of some records is certainly no header; None if it may be one.

    They are of a certain table if they are cells of a sheet, or fields by the delimiter of the first line.
    """
    return _title_above(records, is_certain_table=is_certain_table) or _data_row_fault(records)


def refuse(path: object, fault: HeaderFault, lines: Iterable[str]) -> InputError:
    """Return the error for a file whose first row is no header, with its first lines and what to type."""
    shown = ", ".join(f"line {number} '{excerpt(text)}'" for number, text in enumerate(lines, start=1))
    said = f"{path}: {fault.reason}; nothing was read. It begins: {shown}"
    named = f"{Option(header=fault.line or 1)} takes the names of the columns from line {fault.line or 1}"
    unnamed = f"{Option(header=NO_HEADER)} calls them column_1, …"
    both = f"{named}, {unnamed}" if fault.line else f"{unnamed}; {named}"
    return InputError(said, hint=f"{both}; in a task's file it is header=")


def _title_above(records: Sequence[Record], *, is_certain_table: bool) -> HeaderFault | None:
    """Return where the header is, if the first records are titles or comments."""
    width = len(records[-1].cells) if records else 0
    above = 0
    while above < len(records) and _is_above(records[above]):
        above += 1
    below = records[above + 1 :]
    if not above or not below or width < _MIN_WIDTH or any(len(one.cells) != width for one in records[above:]):
        return None
    header = records[above]
    names = header.filled
    if len(names) < _MIN_WIDTH or len({one.casefold() for one in names}) < len(names) or not _are_names(names):
        return None
    first = records[0].cells
    is_narrow = all(len(one.filled) == 1 and one.cells[0] for one in records[:above])
    is_wide = len(names) >= _WIDE or (first[0].startswith("#") and len(first) < width)
    has_gap = header.line > records[above - 1].line + 1
    if not (has_gap or _is_above_numbers(header, below) or (is_certain_table and is_narrow and is_wide)):
        return None
    what = "comments" if first[0].startswith("#") else "a title"
    return HeaderFault(f"{what} above the header, which is on line {header.line}", header.line)


def _is_above(record: Record) -> bool:
    """Return whether a record can be a title or a comment: one cell alone, or a `#` with words behind it."""
    first = record.cells[0]
    is_alone = len(record.filled) == 1 and bool(first)
    return is_alone or (first.startswith("#") and len(first.lstrip("#").split()) >= _COMMENT_WORDS)


def _are_names(cells: Sequence[str]) -> bool:
    """Return whether cells can be names of columns above data: one is a word, and a number among them is a year."""
    numbers = [one for one in cells if _NUMBER.fullmatch(one)]
    are_usual = all(map(_YEAR.fullmatch, numbers)) and len(numbers) < len(cells)
    return are_usual and not any(map(_is_of_series, cells))


def _is_of_series(cell: str) -> bool:
    return any(series.fullmatch(cell) for series in _SERIES)


def _is_above_numbers(header: Record, below: Sequence[Record]) -> bool:
    """Return whether a column has a word in the header and numbers alone, or values of a series, in each row below."""
    for number, name in enumerate(header.cells):
        cells = [one.cells[number] for one in below]
        are_values = all(_NUMBER.fullmatch(one) or _is_of_series(one) for one in cells)
        if name and are_values and not _NUMBER.fullmatch(name):
            return True
    return False


def _data_row_fault(records: Sequence[Record]) -> HeaderFault | None:
    """Return why the first record is certainly a row of data; None if it may be a header."""
    first, *below = records or [Record(1, ())]
    width = len(first.cells)
    if len(below) < _MIN_ROWS or width < _MIN_WIDTH or any(len(one.cells) != width for one in below):
        return None
    is_mixed = any(one and not _NUMBER.fullmatch(one) for one in first.cells)
    for number, cell in enumerate(first.cells):
        cells = [one.cells[number] for one in below]
        if is_mixed and _is_counted(cell, cells):
            return HeaderFault(f"no header: {excerpt(cell)!r} is followed by {', '.join(cells[:2])} below it", 0)
        if any(all(series.fullmatch(one) for one in (cell, *cells)) for series in _SERIES):
            return HeaderFault(f"no header: {excerpt(cell)!r} is a value like those below it", 0)
    keys = [one.cells[0] for one in records]
    is_keyed = all(map(str.isdecimal, keys)) and len(set(keys)) == len(keys)
    if is_keyed and not _YEAR.fullmatch(keys[0]) and _has_sentences(records):
        return HeaderFault(f"no header: {excerpt(keys[0])!r} and the text behind it are a row like those below", 0)
    return None


def _is_counted(cell: str, below: Sequence[str]) -> bool:
    """Return whether a whole number is followed by the next ones."""
    if not cell.isdecimal() or not all(map(str.isdecimal, below)):
        return False
    return [int(one) for one in below] == [int(cell) + step for step in range(1, len(below) + 1)]


def _has_sentences(records: Sequence[Record]) -> bool:
    """Return whether a column has a sentence in each record."""
    columns = zip(*(one.cells for one in records), strict=True)
    return any(all(len(cell.split()) >= _SENTENCE for cell in column) for column in columns)
