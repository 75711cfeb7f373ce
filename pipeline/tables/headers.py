"""Tables with a header: detect a first row that is not a header, and read the rows.

A first row is refused in two cases:

- It is a title: only its first cell is filled, and most of the rows below have more cells.
- It is a row of data: it and the next row have a date or a mail address in the same column, or a
  whole number in the first column and a word beside it.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import chain, count, islice
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
        """Begin without columns; the subclass calls `_set_names_by_header`."""
        self._file = file
        self.names = list[str]()
        # The line from which records are read.
        self._first_line = max(1, file.header_line or 1)
        # The line of the header, and its folded cells; 0 and empty without a header.
        self._header_line = 0
        self._header_texts = list[str]()

    def _read_records(self) -> Iterator[Record | Finding]:
        """Yield each record from the first line on, and a finding for each faulty record.

        Once the columns are known, each record has a cell for each of `names`.
        """
        raise NotImplementedError

    def _set_names_by_header(self) -> None:
        """Set the names of the columns.

        The header is the first record that is not blank, or the record on the line of `HEADER=`.
        With `HEADER=none`, names are made up.

        Raises:
            InputError: The header's line is blank or faulty, or the first record is certainly not a
                header.
        """
        asked_line = self._file.header_line
        first_records = list(islice(self._read_records(), MAX_SAMPLED_RECORDS))
        records = [
            Record(record.line_number, list(map(_join_words, record.cells)))
            for record in first_records
            if isinstance(record, Record)
        ]
        is_readable = bool(records) and isinstance(first_records[0], Record)
        if not is_readable or asked_line not in {None, 0, records[0].line_number}:
            raise self._file.make_error(
                f": the names of the columns on line {self._first_line} cannot be read",
                hint=(
                    f"set {OptionHint('header')} to a line with column names and paired quotes, or "
                    f"{OptionHint('sheet')} to another sheet of a workbook"
                ),
            )

        header = records[0]
        made_names = [f"column_{number}" for number in range(1, len(header.cells) + 1)]
        if asked_line == 0:
            self.names = made_names
            return
        if asked_line is None and not any(map(self._file.is_known_column, header.cells)):
            check_header(self._file, records)
        self._header_line = header.line_number
        self._header_texts = list(map(str.casefold, header.cells))
        self.names = [
            name or made_name for name, made_name in zip(header.cells, made_names, strict=True)
        ]
        added_names = [name for name in self.names if name not in header.cells]
        if added_names:
            self._file.notes.append(f"columns without a name are called {', '.join(added_names)}")

    def read_rows(self) -> Iterator[SourceRow | Finding]:
        """Yield each row, and a finding for each faulty row, in the order of the file.

        A row that repeats the header is faulty.
        """
        for record in self._read_records():
            if isinstance(record, Finding):
                yield record
            elif record.line_number <= self._header_line:
                continue
            elif self._repeats_header(record.cells):
                texts = list(map(_join_words, record.cells))
                reason = "the header is repeated, as in joined files"
                yield self._reject_record(record.line_number, reason, texts)
            else:
                values = dict(zip(self.names, record.cells, strict=True))
                yield SourceRow(record.line_number, values)

    def _repeats_header(self, cells: Sequence[Any]) -> bool:
        """Return whether a record repeats the header; case and white space do not matter."""
        if [_join_words(cells[0]).casefold()] != self._header_texts[:1]:
            return False
        return [_join_words(cell).casefold() for cell in cells] == self._header_texts

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
        made_names = (f"column_{number}" for number in count(len(self.names) + 1))
        # A page of findings must not fill the memory; the stored row has a cut cell with a mark.
        cells = {
            name: text[: MAX_STORED_CHARS + 1]
            for name, text in zip(chain(self.names, made_names), texts, strict=False)
        }
        value = excerpt or self.delimiter.join(texts)
        return make_rejection(line, reason, value, column=column, cells=cells)


def _join_words(cell: Any) -> str:
    """Return the text of a cell on one line, with a blank between two words; None is empty."""
    return "" if cell is None else " ".join(str(cell).split())


def check_header(file: InputFile, records: Sequence[Record]) -> None:
    """Check that the first record of a table may be a header.

    Args:
        file: The file, for the error.
        records: The first records of the table.

    Raises:
        InputError: The first record is a title or a row of data. The hint shows `HEADER=` with the
            line of the header, and for a table without a header.
    """
    header, *rows = records
    if not rows:
        return
    wide_rows = [row for row in rows if sum(map(bool, row.cells)) > 1]
    has_title = header.cells[0] and not any(header.cells[1:]) and 2 * len(wide_rows) > len(rows)
    value = _find_data_value(header, rows[0])
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
