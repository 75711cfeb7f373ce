"""Tables with a header: detect a first row that is not a header, and read the rows.

A first row is refused in two cases:

- It is a title: only its first cell is filled, and most of the rows below have more cells.
- It is a row of data: it and the next row have a date or a mail address in the same column, or a
  whole number in the first column and a word beside it.
"""

import contextlib
import csv
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.tables.input_file import NO_HEADER, InputFile
from pipeline.tables.row_findings import (
    MAX_STORED_CHARS,
    Finding,
    SourceRow,
    make_excerpt,
    make_rejection,
)

# Records that are examined.
MAX_SAMPLED_RECORDS = 30
# Records that an error message shows.
_MAX_SHOWN_RECORDS = 3
_NUMBER = re.compile(r"[-+]?\d[\d ,.']*%?")
# A date or a mail address.
_DATE_OR_MAIL = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d.*)?|[^@\s]+@[^@\s]+\.[A-Za-z]+")


class Record(NamedTuple):
    """A record that is not blank."""

    # The line where it starts, from 1.
    line_number: int
    # Its cells; those by which a header is found are texts without surrounding blanks.
    cells: Sequence[Any]


class HeadedTable:
    """A table of records with the same columns: CSV, or a sheet. A subclass reads the records.

    Attributes:
        names: The names of the columns. A column without a name is called `column_4` by its
            position.
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

        A row that repeats the header is faulty.
        """
        for record in self._read_records():
            if isinstance(record, Finding):
                yield record
            elif self._file.header_line != 0 and self._repeats_header(record.cells):
                texts = [cell or "" for cell in record.cells]
                reason = "the header is repeated, as in joined files"
                yield self._reject_record(record.line_number, reason, texts)
            else:
                values = dict(zip(self.names, record.cells, strict=True))
                yield SourceRow(record.line_number, values)

    def _set_names(self, header_names: list[str]) -> None:
        """Set the names of the columns; a column without a name is named by its position."""
        self._header_names = header_names
        made_names = make_column_names(len(header_names))
        self.names = [
            name or made_name for name, made_name in zip(header_names, made_names, strict=True)
        ]
        added_names = [name for name in self.names if name not in header_names]
        if added_names:
            self._file.notes.append(f"columns without a name are called {', '.join(added_names)}")

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

        A cell beyond the header is named by its number, such as `column_3` for the third cell. Long
        cells are cut.

        Args:
            line: The line where the record starts.
            reason: Why it is rejected.
            texts: Its cells.
            excerpt: The text that the finding shows; the cells if it is empty.
            column: The faulty column; empty if the whole record is faulty.
        """
        names = [*self.names, *make_column_names(len(texts))[len(self.names) :]]
        # A page of findings must not fill the memory; the stored row has a cut cell with a mark.
        cells = {
            name: text[: MAX_STORED_CHARS + 1] for name, text in zip(names, texts, strict=False)
        }
        value = excerpt or self.delimiter.join(texts)
        return make_rejection(line, reason, value, column=column, cells=cells)


def make_column_names(count: int) -> list[str]:
    """Return names for the columns of a table without a header, such as `column_1`."""
    return [f"column_{number}" for number in range(1, count + 1)]


def join_lines(name: str) -> str:
    """Return a name of a header on one line, with a blank for each line break."""
    return " ".join(line.strip() for line in name.strip().splitlines())


def _fold_texts(cells: Sequence[Any]) -> list[str]:
    """Return texts for a comparison without regard to case and line breaks."""
    return [join_lines(cell).casefold() if isinstance(cell, str) else "" for cell in cells]


def parse_records(lines: Sequence[str], delimiter: str, *, first_line: int = 1) -> list[Record]:
    """Parse CSV lines, and return the first records that are not empty.

    For example, the lines `id;text` and `1;Hi ` from line 1 on give (1, [id, text]) and (2, [1,
    Hi]). At most MAX_SAMPLED_RECORDS records are returned. A record is empty if all its cells are
    empty or spaces. Cells are stripped of outer spaces. At a line that the CSV reader refuses,
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
        for fields in islice(reader, MAX_SAMPLED_RECORDS):
            if any(map(str.strip, fields)):
                records.append(Record(line_number, [field.strip() for field in fields]))
            line_number = first_line + reader.line_num
    return records


def check_header(file: InputFile, records: Sequence[Record]) -> None:
    """Check that the first record of a table may be a header.

    Nothing is checked if `HEADER=` is given, or if a name is a known column.

    Args:
        file: The file, for the error.
        records: The first records of the table.

    Raises:
        InputError: The first record is a title or a row of data. The hint shows `HEADER=` with the
            line of the header, and for a table without a header.
    """
    header, *rows = records
    if file.header_line is not None or file.has_known_column(header.cells):
        return

    wide_rows = [row for row in rows if sum(map(bool, row.cells)) > 1]
    has_title = header.cells[0] and not any(header.cells[1:]) and 2 * len(wide_rows) > len(rows)
    value = _find_data_value(header, rows[0]) if rows else ""
    if has_title:
        header_line = wide_rows[0].line_number
        reason = f"the header is on line {header_line}, below a title"
    elif value:
        header_line = header.line_number
        reason = f"no header: {make_excerpt(value)!r} is a value like the value below it"
    else:
        return

    shown_records = ", ".join(
        f"line {record.line_number} '{make_excerpt(', '.join(filter(None, record.cells)))}'"
        for record in records[:_MAX_SHOWN_RECORDS]
    )
    raise InputError(
        f"{file.path}: {reason}; nothing was read. The file begins: {shown_records}",
        hint=(
            f"{OptionHint(header=header_line)} reads the column names from line {header_line}, "
            f"{OptionHint(header=NO_HEADER)} names the columns column_1, …; "
            "in a task's file set header="
        ),
    )


def _find_data_value(header: Record, row: Record) -> str:
    """Return a cell of the first record that is a value like the one below it; "" without any.

    Dates and mail addresses are such values; so is a whole number in the first column if the first
    record also has a cell that is no number.
    """
    for cell, value_below in zip(header.cells, row.cells, strict=False):
        if _DATE_OR_MAIL.fullmatch(cell) and _DATE_OR_MAIL.fullmatch(value_below):
            return str(cell)

    has_word = any(cell and not _NUMBER.fullmatch(cell) for cell in header.cells)
    if has_word and header.cells[0].isdecimal() and row.cells[0].isdecimal():
        return str(header.cells[0])
    return ""
