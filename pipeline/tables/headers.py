"""Tables with a header: detect a first row that is not a header, and read the rows.

A first row is refused in two cases:

- It is a title: only its first cell is filled, and the rows below have more cells.
- It contains a value of the same series as the values below it, such as a date or a row number.

Years and other numbers may be names of columns. A fault is the reason for refusing a row.
"""

import contextlib
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.tables.cells import stripped_text
from pipeline.tables.input_file import NO_HEADER, InputFile
from pipeline.tables.row_findings import (
    CUT_MARK,
    MAX_CUT_CELL,
    Finding,
    SourceRow,
    make_excerpt,
    make_rejection,
)

# Records that are examined.
MAX_SAMPLED_RECORDS = 30
# Lines that an error message shows.
MAX_SHOWN_LINES = 3
# Rows that are compared with a first row at least.
_MIN_DATA_ROWS = 2
# The header and a row.
_MIN_RECORDS_BELOW_TITLE = 2
_YEAR = re.compile(r"(?:19|20)\d\d")
_NUMBER = re.compile(r"[-+]?\d[\d ,.']*%?")
# Dates, mail addresses and UUIDs.
_SERIES = (
    re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?"),
    re.compile(r"[^@\s]+@[^@\s]+\.[a-z]+", re.IGNORECASE),
    re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE),
)


class Record(NamedTuple):
    """A record that is not blank."""

    # The line where it starts, from 1.
    line_number: int
    # Its cells; those by which a header is found are texts without surrounding blanks.
    cells: Sequence[Any]


class HeaderFault(NamedTuple):
    """Why the first record is not a header."""

    reason: str
    # The line of the header; 0 if the table has no header.
    header_line: int


class HeadedTable:
    """A table of records with the same columns: CSV, or a sheet. A subclass reads the records.

    Attributes:
        names: The names of the columns. A column without a name is called `column_4` by its
            position, or has an empty name if all its cells are blank.
    """

    # The text between two cells in an excerpt of a record.
    delimiter = ", "

    def __init__(self, file: InputFile) -> None:
        """Begin without columns; the subclass finds the header, then calls `_set_names`."""
        self._file = file
        self.names = list[str]()

    def _read_records(self) -> Iterator[Record | Finding]:
        """Yield each record below the header, and a finding for each faulty record.

        A record has a cell for each of `names`.
        """
        raise NotImplementedError

    def read_rows(self) -> Iterator[SourceRow | Finding]:
        """Yield each row, and a finding for each faulty row, in the order of the file.

        A row that repeats the header is faulty. Columns with an empty name are left out.
        """
        for record in self._read_records():
            if isinstance(record, Finding):
                yield record
            elif self._file.header_line != 0 and self._repeats_header(record.cells):
                texts = [cell or "" for cell in record.cells]
                reason = "the header is repeated, as in joined files"
                yield self._reject_record(record.line_number, reason, texts)
            else:
                named_cells = zip(self.names, record.cells, strict=True)
                values = {name: cell for name, cell in named_cells if name}
                yield SourceRow(record.line_number, values)

    def _set_names(self, header_names: list[str]) -> None:
        """Set the names of the columns; a column with cells but no name is named by its position.

        The rows are read if a name is empty. The next row may be the true header, because a title
        often has fewer cells, so the note also says how to use it.
        """
        self._header_names = header_names
        self.names = header_names
        if "" not in header_names:
            return

        name_pairs = list(zip(header_names, make_column_names(len(header_names)), strict=True))
        self.names = [name or made_name for name, made_name in name_pairs]
        blank_names = {made_name for name, made_name in name_pairs if not name}
        first_line = 0
        for row in self.read_rows():
            if isinstance(row, SourceRow):
                first_line = first_line or row.line_number
                blank_names -= {name for name in blank_names if stripped_text(row.values.get(name))}

        filled_names = [
            made_name for name, made_name in name_pairs if not name and made_name not in blank_names
        ]
        self.names = [
            name or ("" if made_name in blank_names else made_name)
            for name, made_name in name_pairs
        ]
        if filled_names:
            self._file.notes.append(f"columns without a name are called {', '.join(filled_names)}")
        if filled_names and self._file.header_line is None:
            self._file.notes.append(
                f"header: line {first_line - 1}; {OptionHint(header=first_line)} if that is wrong"
            )

    def _repeats_header(self, cells: Sequence[Any]) -> bool:
        """Return whether a record repeats the header; case and line breaks do not matter."""
        first_text = cells[0] if isinstance(cells[0], str) else ""
        if self._header_names[0].casefold() not in first_text.casefold():
            return False
        return _fold_texts(cells) == _fold_texts(self._header_names)

    def _reject_record(
        self,
        line: int,
        reason: str,
        texts: Sequence[str],
        *,
        excerpt: str = "",
        column: str = "",
    ) -> Finding:
        """Return the finding that rejects a record, with its cells by column.

        A cell whose column has no name, or that is beyond the header, is named by its number, such
        as `column_3` for the third cell. Long cells are cut and marked.

        Args:
            line: The line where the record starts.
            reason: Why it is rejected.
            texts: Its cells.
            excerpt: The text that the finding shows; the cells if it is empty.
            column: The faulty column; empty if the whole record is faulty.
        """
        cells = dict[str, str]()
        for index, text in enumerate(texts):
            name = self.names[index] if index < len(self.names) else ""
            is_cut = len(text) >= MAX_CUT_CELL
            cells[name or f"column_{index + 1}"] = (
                f"{text[:MAX_CUT_CELL]}{CUT_MARK}" if is_cut else text
            )
        value = excerpt or self.delimiter.join(texts)
        return make_rejection(
            line,
            reason,
            value,
            column=column,
            cells=cells,
        )


def make_column_names(count: int) -> list[str]:
    """Return names for the columns of a table without a header, such as `column_1`."""
    return [f"column_{number}" for number in range(1, count + 1)]


def join_lines(name: str) -> str:
    """Return a name of a header on one line, with a blank for each line break."""
    return " ".join(line.strip() for line in name.strip().splitlines())


def _fold_texts(cells: Sequence[Any]) -> list[str]:
    """Return texts for a comparison without regard to case and line breaks."""
    return [join_lines(cell).casefold() if isinstance(cell, str) else "" for cell in cells]


def parse_records(lines: Sequence[str], delimiter: str, *, first_line: int) -> list[Record]:
    """Parse CSV lines, and return the first records that are not empty.

    For example, the lines `id;text` and `1;Hi ` from line 1 on give (1, [id, text]) and (2, [1,
    Hi]). At most MAX_SAMPLED_RECORDS + 1 records are returned. A record is empty if all its cells
    are empty or spaces. Cells are stripped of outer spaces. At a line that the CSV reader refuses,
    parsing ends without an error.

    Args:
        lines: The lines.
        delimiter: The character between two cells.
        first_line: The number of the first line, from 1; records are numbered from it.
    """
    records = list[Record]()
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    line_number = first_line
    with contextlib.suppress(csv.Error):
        for fields in reader:
            if any(map(str.strip, fields)):
                records.append(Record(line_number, [field.strip() for field in fields]))
            line_number = first_line + reader.line_num
            if len(records) > MAX_SAMPLED_RECORDS:
                break
    return records


def check_header(
    path: Path,
    tables: Iterable[Sequence[Record]],
    shown_lines: Iterable[str],
) -> None:
    """Check that the first record of a table may be a header.

    Args:
        path: The file.
        tables: The first records of the table, split by each possible delimiter.
        shown_lines: The first lines of the file, which the error shows.

    Raises:
        InputError: The first record is a title or a row of data. The hint shows `HEADER=` with the
            line of the header, and for a table without a header.
    """
    for records in tables:
        fault = _find_title_fault(records) or _find_data_row_fault(records)
        if fault is not None:
            raise _make_header_error(path, fault, shown_lines)


def _make_header_error(path: Path, fault: HeaderFault, shown_lines: Iterable[str]) -> InputError:
    """Return the error for a file whose first row is not a header; see `check_header`."""
    line_excerpts = ", ".join(
        f"line {line_number} '{make_excerpt(text)}'"
        for line_number, text in enumerate(shown_lines, start=1)
    )
    message = f"{path}: {fault.reason}; nothing was read. The file begins: {line_excerpts}"

    header_line = fault.header_line or 1
    with_header = f"{OptionHint(header=header_line)} reads the column names from line {header_line}"
    without_header = f"{OptionHint(header=NO_HEADER)} names the columns column_1, …"
    choices = f"{without_header}; {with_header}"
    if fault.header_line:
        choices = f"{with_header}, {without_header}"
    return InputError(message, hint=f"{choices}; in a task's file set header=")


def _find_title_fault(records: Sequence[Record]) -> HeaderFault | None:
    """Return the fault if titles are above the header; only the first cell of a title is filled.

    All records below the titles have the same number of cells, two or more.
    """
    titles = list(takewhile(_is_title, records))
    table = records[len(titles) :]
    widths = {len(record.cells) for record in table}
    if not titles or len(table) < _MIN_RECORDS_BELOW_TITLE or len(widths) > 1 or 1 in widths:
        return None

    header_line = table[0].line_number
    return HeaderFault(f"the header is on line {header_line}, below a title", header_line)


def _is_title(record: Record) -> bool:
    first_cell, *other_cells = record.cells
    return bool(first_cell) and not any(other_cells)


def _find_data_row_fault(records: Sequence[Record]) -> HeaderFault | None:
    """Return why the first record is a row of data; None if it may be a header.

    It is a row of data if all cells of a column, with that of the first record, are dates, mail
    addresses or UUIDs. It also is one if the first column has different whole numbers, the first of
    them is no year, and the first record also has a cell that is no number.
    """
    if len(records) <= _MIN_DATA_ROWS:
        return None

    keys, *other_columns = zip(*(record.cells for record in records), strict=False)
    has_word = any(cell and not _NUMBER.fullmatch(cell) for cell in records[0].cells)
    are_numbers = all(map(str.isdecimal, keys))
    are_ids = are_numbers and len(set(keys)) == len(keys)
    columns = [keys, *other_columns]
    series = [column for column in columns if _is_series(column)]
    if are_ids and has_word and not _YEAR.fullmatch(keys[0]):
        series.append(keys)
    if not series:
        return None

    value = make_excerpt(series[0][0])
    return HeaderFault(f"no header: {value!r} is a value like the values below it", 0)


def _is_series(cells: Sequence[str]) -> bool:
    """Return whether all cells are dates, all are mail addresses, or all are UUIDs."""
    return any(all(map(pattern.fullmatch, cells)) for pattern in _SERIES)
