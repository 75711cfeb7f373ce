"""Read a CSV table: its delimiter, header and records, and findings for faulty records.

A record is one row of cells as `csv.reader` splits it; with quotes it can span lines. A finding
describes why a record is rejected.

`csv.reader` keeps a whole record in memory. If a line were cut anywhere, the quotes of its cells
would no longer pair, and the next rows would be read as part of a cell. So a record above the size
limit is read to its end and rejected, and the file is refused above three times the limit.
"""

import contextlib
import csv
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from typing import TextIO

from pipeline.core.text import restore_formula
from pipeline.tables.headers import MAX_SAMPLED_RECORDS, HeadedTable, Record
from pipeline.tables.input_file import BYTE_ORDER_MARK, InputFile
from pipeline.tables.row_findings import Finding, make_excerpt

# Lines by which the delimiter is chosen.
_MAX_HEAD_LINES = 50
_OPEN_QUOTE_REASON = "a quote is opened and not closed"
_DELIMITERS = (",", ";", "\t", "|")
# The delimiter as spreadsheets announce it; a tab is stripped.
_DELIMITER_LINE = re.compile(r"sep=[,;|]?", re.IGNORECASE)
# The reader's own limit is above any record that it gets.
csv.field_size_limit(64 << 20)


class CsvTable(HeadedTable):
    """The table in a CSV file, whose delimiter and header are detected when it is created.

    Attributes:
        delimiter: The character between two fields.
    """

    def __init__(self, file: InputFile) -> None:
        """Detect the delimiter and the names of the columns.

        Raises:
            InputError: There is no header, or its quotes are not paired.
        """
        super().__init__(file)
        head = self._read_first_lines()
        self.delimiter = self._choose_delimiter(head)
        if self.delimiter != ",":
            file.notes.append(f"fields are separated by {self.delimiter!r}")

        first_names = next(csv.reader(head, delimiter=self.delimiter), [])
        # A blank before every name is a habit of the file; a blank before some names is part of
        # these names.
        self._skips_space = len(first_names) > 1 and all(
            name.startswith(" ") for name in first_names[1:]
        )
        self._set_names_by_header()

    def _read_first_lines(self) -> list[str]:
        """Return the first lines that are not blank, from the header on.

        A first line like `sep=;`, by which spreadsheets announce the delimiter, is skipped.
        """
        start = self._first_line - 1
        with self._file.open() as text_file:
            lines = islice(self._file.read_lines(text_file), start, start + _MAX_HEAD_LINES)
            head = [text for text in lines if text.strip()]
        if head and _DELIMITER_LINE.fullmatch(head[0].strip()):
            del head[0]
            self._first_line += 1
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
        may_have_title = self._file.header_line is None

        def rank(delimiter: str) -> tuple[int, bool, int, int]:
            names, *rows = _split_first_records(head, delimiter) or [[]]
            is_even = len(names) > 1 and all(len(row) == len(names) for row in rows[:-1])
            split_rows = may_have_title and sum(len(row) > 1 for row in rows)
            return sum(map(self._file.is_known_column, names)), is_even, len(names), split_rows

        return max(_DELIMITERS, key=rank)

    def _read_records(self) -> Iterator[Record | Finding]:
        """Yield the records from the first line on, and a finding for each faulty record.

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
            for _ in islice(lines, self._first_line - 1):
                texts.clear()
            reader = csv.reader(
                lines,
                delimiter=self.delimiter,
                skipinitialspace=self._skips_space,
                strict=True,
            )
            while True:
                line_number = self._first_line + reader.line_num
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
                elif self.names and len(fields) != len(self.names):
                    reason = (
                        f"wrong number of fields: found {len(fields)}, expected {len(self.names)}"
                    )
                    # The first column without a field.
                    missing_names = map(make_excerpt, self.names[len(fields) :])
                    yield self._reject_record(
                        line_number, reason, fields, column=next(missing_names, "")
                    )
                else:
                    cells = [
                        restore_formula(field) if field.startswith("'") else field
                        for field in fields
                    ]
                    yield Record(line_number, cells)

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


def _split_first_records(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Return the first records that are not blank, as a reader splits them that allows any quotes.

    Cells are stripped of outer spaces. The records end before a line with a stray line break.
    """
    records = list[list[str]]()
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True)
    with contextlib.suppress(csv.Error):
        for fields in islice(reader, MAX_SAMPLED_RECORDS):
            if any(map(str.strip, fields)):
                records.append([field.strip() for field in fields])
    return records
