"""Read a CSV table: its delimiter, header and records, and findings for faulty records.

A record is one row of cells as `csv.reader` splits it; with quotes it can span lines. A finding
describes why a record is rejected.

`csv.reader` keeps a whole record in memory. If a line were cut anywhere, the quotes of its cells
would no longer pair, and the next rows would be read as part of a cell. So a record above the size
limit is read to its end and rejected, and the file is refused above three times the limit.
"""

import csv
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TextIO

from pipeline.core.command_hint import OptionHint
from pipeline.core.text import SURROGATES, restore_formula
from pipeline.tables.headers import (
    HeadedTable,
    Record,
    check_header,
    join_lines,
    make_column_names,
    parse_records,
)
from pipeline.tables.input_file import BYTE_ORDER_MARK, InputFile
from pipeline.tables.row_findings import Finding, make_excerpt

# Lines that are searched for the header, and that a header spans at most.
_MAX_HEADER_LINES = 50
_OPEN_QUOTE_REASON = "a quote is opened and not closed"
_DELIMITERS = (",", ";", "\t", "|")
# Lines that may precede a header: blank lines, and the delimiter as spreadsheets announce it.
_LINES_BEFORE_HEADER = {"", *(f"sep={delimiter}".strip() for delimiter in _DELIMITERS)}
# The reader's own limit is above any record that it gets.
csv.field_size_limit(64 << 20)


class CsvTable(HeadedTable):
    """The table in a CSV file, whose delimiter and header are detected when it is created.

    Attributes:
        delimiter: The character between two fields.
    """

    def __init__(self, file: InputFile) -> None:
        """Detect the delimiter and the names of the columns.

        The header is the first record that is not blank, or the record on the line of `HEADER=`.
        With `HEADER=none`, names are made up.

        Raises:
            InputError: The file is empty or is not text, the header's quotes are not paired, or the
                first record is certainly not a header.
        """
        super().__init__(file)
        # Lines before the first row below the header.
        self._skipped_lines = max(0, (file.header_line or 1) - 1)
        head = self._read_head()
        self.delimiter = self._choose_delimiter(head)
        if self.delimiter != ",":
            file.notes.append(f"fields are separated by {self.delimiter!r}")

        first_names = next(csv.reader(head, delimiter=self.delimiter))
        # A blank before every name is a habit of the file; a blank before some names is part of
        # these names.
        self._skips_space = len(first_names) > 1 and all(
            name.startswith(" ") for name in first_names[1:]
        )
        if file.header_line == 0:
            self._set_names(make_column_names(len(first_names)))
        else:
            self._read_header(head)

    def _read_head(self) -> list[str]:
        """Return the first lines, and skip those above the header.

        Blank lines, and a line like `sep=;` by which spreadsheets announce the delimiter, are no
        header.

        Raises:
            InputError: There is no such line, the line that `HEADER=` names is blank or like
                `sep=;`, or the header is not text.
        """
        file = self._file
        with file.open() as text_file:
            last_line = self._skipped_lines + _MAX_HEADER_LINES
            head = list(islice(file.read_lines(text_file), self._skipped_lines, last_line))

        is_first_line = True
        while head and head[0].strip().casefold() in _LINES_BEFORE_HEADER:
            head.pop(0)
            self._skipped_lines += 1
            is_first_line = False
        if file.header_line and not (head and is_first_line):
            raise file.make_error(
                f" has no text on line {file.header_line}, which {OptionHint('header')} names",
                hint=f"set {OptionHint('header')} to the line with the column names",
            )
        if not head:
            raise file.make_error(" is empty")
        if "\0" in head[0] or SURROGATES.search(head[0]):
            raise file.make_error(" is not a text file", hint="save it as .xlsx or CSV first")
        return head

    def _choose_delimiter(self, head: Sequence[str]) -> str:
        """Return the delimiter of a table.

        It is chosen by these rules, of which a later one decides a tie:

        1. It splits the first record into the most known columns.
        2. It splits all records into the same number of cells, at least two. The last record is not
           compared: it may be cut.
        3. It splits the first record into the most cells.
        4. Without `HEADER=` it splits the most of the other records: the first may be a title.

        Args:
            head: Lines from the header on.
        """
        is_known_column = self._file.is_known_column or (lambda _name: False)
        may_have_title = self._file.header_line is None

        def rank(delimiter: str) -> tuple[int, bool, int, int]:
            names, *rows = [record.cells for record in parse_records(head, delimiter)]
            is_even = len(names) > 1 and all(len(row) == len(names) for row in rows[:-1])
            split_rows = sum(len(row) > 1 for row in rows) if may_have_title else 0
            return sum(map(is_known_column, names)), is_even, len(names), split_rows

        return max(_DELIMITERS, key=rank)

    def _read_header(self, head: Sequence[str]) -> None:
        """Set the names of the columns, and skip the lines of the header.

        Args:
            head: Lines from the header on.

        Raises:
            InputError: The header's quotes are not paired, or the first record is certainly not a
                header.
        """
        first_line = self._skipped_lines + 1
        reader = csv.reader(head, delimiter=self.delimiter, skipinitialspace=True, strict=True)
        try:
            names = [restore_formula(join_lines(name)) for name in next(reader)]
        except csv.Error:
            raise self._file.make_error(
                f", line {first_line}: {_OPEN_QUOTE_REASON}, or not at the end of a name",
                hint="correct the quotes of the header",
            ) from None

        check_header(self._file, parse_records(head, self.delimiter, first_line=first_line))
        self._skipped_lines += reader.line_num
        self._set_names(names)

    def _read_records(self) -> Iterator[Record | Finding]:
        """Yield the records of a CSV file, and a finding for each faulty record.

        A finding is yielded for a record with broken quotes, with a wrong number of fields, or that
        is too long. Blank records are skipped. Cells that an export neutralized get their original
        text back.

        Raises:
            InputError: A quote is not closed until the end of the file, or a record is far too
                long.
        """
        max_chars = self._file.max_line_chars
        # The lines of the current record.
        texts = list[str]()
        with self._file.open() as text_file:
            lines = self._iterate_lines(text_file, texts)
            first_line = 1 + sum(1 for _ in islice(lines, self._skipped_lines))
            reader = csv.reader(
                lines,
                delimiter=self.delimiter,
                skipinitialspace=self._skips_space,
                strict=True,
            )
            while True:
                line_number = first_line + reader.line_num
                texts.clear()
                try:
                    fields = next(reader, None)
                except csv.Error as error:
                    yield self._reject_broken_record(line_number, texts, str(error))
                    continue

                if fields is None:
                    return
                if len(fields) <= 1 and not any(map(str.strip, fields)):
                    continue
                if sum(map(len, fields)) >= max_chars:
                    reason = f"longer than {max_chars:,} characters"
                    yield self._reject_record(line_number, reason, fields)
                elif len(fields) == len(self.names):
                    cells = [
                        restore_formula(field) if field.startswith("'") else field
                        for field in fields
                    ]
                    yield Record(line_number, cells)
                else:
                    yield self._reject_misfit(line_number, fields)

    def _iterate_lines(self, text_file: TextIO, texts: list[str]) -> Iterator[str]:
        """Yield the lines of a file, and append each to the lines of the current record.

        A byte order mark at the beginning of a line is left out, as in files that were joined.

        Raises:
            InputError: The record exceeds three times the limit of a row.
        """
        max_chars = 3 * self._file.max_line_chars
        char_count = 0
        lines = iter(partial(text_file.readline, max_chars), "")
        for line_number, text in enumerate(lines, start=1):
            if not texts:
                char_count = 0
            texts.append(text)
            char_count += len(text)
            if char_count >= max_chars:
                raise self._file.make_error(
                    f", line {line_number - len(texts) + 1}: {_OPEN_QUOTE_REASON}, or the record "
                    f"is longer than {max_chars:,} characters",
                    hint="close the quote, or shorten the record",
                )
            yield text.removeprefix(BYTE_ORDER_MARK)

    def _reject_misfit(self, line_number: int, fields: list[str]) -> Finding:
        """Return the finding for a record with too many or too few fields.

        If fields are missing, the finding names the first column without a field.
        """
        missing_column = ""
        if len(fields) < len(self.names):
            missing_column = make_excerpt(self.names[len(fields)])
        reason = f"wrong number of fields: found {len(fields)}, expected {len(self.names)}"
        return self._reject_record(line_number, reason, fields, column=missing_column)

    def _reject_broken_record(self, line_number: int, texts: Sequence[str], error: str) -> Finding:
        """Return the finding for a record that `csv.reader` refused.

        Its reason is a line break outside quotes, or a text after a closing quote. If the record
        has several lines, all are left out, and the reason names the last. The finding contains the
        cells as a lenient reader splits them.

        Args:
            line_number: The line where the record starts.
            texts: The lines of the record.
            error: The reader's message.

        Raises:
            InputError: A quote is not closed, so the following rows cannot be recognized.
        """
        if "end of data" in error:
            raise self._file.make_error(
                f", line {line_number}: {_OPEN_QUOTE_REASON} before the end of the file",
                hint="close the quote, or double it if it is part of the text",
            )

        reason = "text after a closing quote (double a quote that is part of the text)"
        if "new-line" in error:
            reason = "a line break outside quotes (quote the cell, or end all lines alike)"
        if len(texts) > 1:
            last_line = line_number + len(texts) - 1
            reason += f"; lines {line_number} to {last_line} are left out"

        # Without strict rules the reader accepts any text except a stray line break, so the row can
        # be shown.
        lines = (" ".join(text.splitlines()) + "\n" for text in texts)
        reader = csv.reader(lines, delimiter=self.delimiter, skipinitialspace=self._skips_space)
        fields = next(reader, [])
        return self._reject_record(line_number, reason, fields, excerpt=texts[0].rstrip("\r\n"))
