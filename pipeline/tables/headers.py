"""Tables with a header: find it, detect a first row that is certainly not a header, read rows.

A first row is refused only in these cases:

- It is a title or comment: it has fewer filled cells than the row of names below it.
- It contains a value of the same series as the values below it, such as a date or a row number.

Years and other numbers may be names of columns. "Certainly" means that one of these cases applies:
in doubt the first row is accepted as the header. A fault is the reason for refusing it.
"""

import contextlib
import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, takewhile
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
_MIN_DATA_ROWS = 2
_MIN_COLUMNS = 2
# From this number of columns on, a row of names below a single cell needs no other evidence.
_MIN_COLUMNS_BELOW_TITLE = 3
# A cell with at least this number of words is a sentence.
_MIN_SENTENCE_WORDS = 4
_MIN_COMMENT_WORDS = 3
_YEAR = re.compile(r"(?:19|20)\d\d")
_NUMBER = re.compile(r"[-+]?\d[\d ,.']*%?")
# A word with a digit.
_CODE = re.compile(r"(?=.*\d)[^\s]+")
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

    @property
    def filled_cells(self) -> list[Any]:
        """The cells that are not blank."""
        return [cell for cell in self.cells if cell]


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
    records_by_delimiter: Iterable[Sequence[Record]],
    shown_lines: Iterable[str],
) -> None:
    """Check that the first record of a table may be a header.

    Args:
        path: The file.
        records_by_delimiter: The first records of the table, split by each possible delimiter. The
            first split is that of the header, or of a sheet: the borders of its cells are certain.
            Then three names below a single cell are enough to take the cell for a title.
        shown_lines: The first lines of the file, which the error shows.

    Raises:
        InputError: The first record is certainly a title, a comment or a row of data. The hint
            shows `HEADER=` with the line of the header, and for a table without a header.
    """
    for index, records in enumerate(records_by_delimiter):
        title_fault = _find_title_fault(records, has_certain_cells=index == 0)
        fault = title_fault or _find_data_row_fault(records)
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


def _find_title_fault(records: Sequence[Record], *, has_certain_cells: bool) -> HeaderFault | None:
    """Return the fault if the first records are certainly titles or comments above a header.

    A title has a single filled cell, or fewer filled cells than the next record. A comment begins
    with `#`. The fault has the line of the header. None means that the first record may be the
    header.

    The record below the titles must be a row of two or more different names, and it and all records
    below must have the same number of cells. In addition, one of these must be true:

    - A blank line is above the names.
    - A column has a name, and only numbers, dates, mail addresses, UUIDs or codes below it.
    - `has_certain_cells` is set, and the filled cell of each title is its first cell. In addition
      there are three names or more, or the first title is a comment with fewer cells than the
      header.

    Args:
        records: The first records of the table.
        has_certain_cells: The borders of the cells are certain; see `check_header`.
    """
    title_pairs = takewhile(lambda pair: _can_be_title(*pair), pairwise(records))
    title_count = len(list(title_pairs))
    titles = records[:title_count]
    table = records[title_count:]
    if not titles or len(table) <= 1:
        return None

    width = len(records[-1].cells)
    if width < _MIN_COLUMNS or any(len(record.cells) != width for record in table):
        return None

    header, *rows = table
    names = header.filled_cells
    has_duplicate_names = len({name.casefold() for name in names}) < len(names)
    if len(names) < _MIN_COLUMNS or has_duplicate_names or not _can_be_names(names):
        return None

    first_cells = titles[0].cells
    is_comment = first_cells[0].startswith("#")
    is_narrow = all(len(title.filled_cells) == 1 and title.cells[0] for title in titles)
    is_wide = len(names) >= _MIN_COLUMNS_BELOW_TITLE or (is_comment and len(first_cells) < width)
    has_gap = header.line_number > titles[-1].line_number + 1
    is_title_by_shape = has_certain_cells and is_narrow and is_wide
    if not (has_gap or _is_above_values(header, rows) or is_title_by_shape):
        return None

    kind = "comments" if is_comment else "a title"
    reason = f"the header is on line {header.line_number}, below {kind}"
    return HeaderFault(reason, header.line_number)


def _can_be_title(record: Record, next_record: Record) -> bool:
    """Return whether a record can be a title or a comment.

    Its first cell must be filled. It is if no other cell is filled, if it has fewer filled cells
    than the next record, or if it begins with `#` and words.
    """
    first_cell = record.cells[0]
    filled_count = len(record.filled_cells)
    is_narrow = filled_count == 1 or filled_count < len(next_record.filled_cells)
    comment_words = first_cell.lstrip("#").split()
    is_comment = first_cell.startswith("#") and len(comment_words) >= _MIN_COMMENT_WORDS
    return (is_narrow and bool(first_cell)) or is_comment


def _can_be_names(cells: Sequence[str]) -> bool:
    """Return whether cells can be names of columns.

    At least one cell must be no number, all numbers must be years, and no cell may be a date, mail
    address or UUID.
    """
    numbers = [cell for cell in cells if _NUMBER.fullmatch(cell)]
    is_any_word = len(numbers) < len(cells)
    are_years = all(map(_YEAR.fullmatch, numbers))
    return is_any_word and are_years and not any(map(_is_in_series, cells))


def _is_in_series(cell: str) -> bool:
    return any(pattern.fullmatch(cell) for pattern in _SERIES)


def _is_value(cell: str) -> bool:
    return any(pattern.fullmatch(cell) for pattern in (_NUMBER, _CODE, *_SERIES))


def _is_above_values(header: Record, rows: Sequence[Record]) -> bool:
    """Return whether a column has a word in the header, and values in all rows below.

    Values are numbers, dates, mail addresses, UUIDs, and codes such as `P-1`.
    """
    return any(
        name and not _is_value(name) and all(_is_value(row.cells[column_index]) for row in rows)
        for column_index, name in enumerate(header.cells)
    )


def _find_data_row_fault(records: Sequence[Record]) -> HeaderFault | None:
    """Return why the first record is certainly a row of data; None if it may be a header.

    It is a row of data in three cases, which look at all records with the first among them:

    - A column has consecutive whole numbers from the first record on, such as 1, 2, 3, and the
      first record also has a cell that is no number.
    - All cells of a column are dates, all are mail addresses, or all are UUIDs.
    - The first column has whole numbers that all differ, the first one is no year, and another
      column has a sentence (four words or more) in each record.

    None is also returned if there are fewer than two columns, fewer than two records below, or
    records with different numbers of cells.
    """
    first_record, *rows = records or [Record(1, ())]
    width = len(first_record.cells)
    is_uneven = any(len(row.cells) != width for row in rows)
    if len(rows) < _MIN_DATA_ROWS or width < _MIN_COLUMNS or is_uneven:
        return None

    has_word = any(cell and not _NUMBER.fullmatch(cell) for cell in first_record.cells)
    for column_index, cell in enumerate(first_record.cells):
        cells_below = [row.cells[column_index] for row in rows]
        if has_word and _is_numbered_series(cell, cells_below):
            next_cells = ", ".join(cells_below[:2])
            reason = f"no header: the rows below {make_excerpt(cell)!r} continue with {next_cells}"
            return HeaderFault(reason, 0)
        if _are_in_same_series([cell, *cells_below]):
            return HeaderFault(
                f"no header: {make_excerpt(cell)!r} is a value like the values below it",
                0,
            )

    keys = [record.cells[0] for record in records]
    are_ids = all(map(str.isdecimal, keys)) and len(set(keys)) == len(keys)
    if are_ids and not _YEAR.fullmatch(keys[0]) and _has_sentence_column(records):
        reason = (
            f"no header: the first row, with {make_excerpt(keys[0])!r} and a text, is like "
            "the rows below"
        )
        return HeaderFault(reason, 0)
    return None


def _is_numbered_series(cell: str, cells_below: Sequence[str]) -> bool:
    """Return whether the cells below a whole number are the next whole numbers, in order."""
    if not cell.isdecimal() or not all(map(str.isdecimal, cells_below)):
        return False
    first_number = int(cell) + 1
    next_numbers = range(first_number, first_number + len(cells_below))
    return list(map(int, cells_below)) == list(next_numbers)


def _are_in_same_series(cells: Sequence[str]) -> bool:
    """Return whether all cells are dates, all are mail addresses, or all are UUIDs."""
    return any(all(map(pattern.fullmatch, cells)) for pattern in _SERIES)


def _has_sentence_column(records: Sequence[Record]) -> bool:
    """Return whether a column has a sentence in each record."""
    columns = zip(*(record.cells for record in records), strict=True)
    return any(all(map(_is_sentence, column)) for column in columns)


def _is_sentence(cell: str) -> bool:
    return len(cell.split()) >= _MIN_SENTENCE_WORDS
