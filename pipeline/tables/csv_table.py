"""Read a CSV table: its delimiter, header and records, and findings for faulty records.

A record is one row of cells as `csv.reader` splits it; with quotes it can span lines. A finding
describes why a record is rejected.

`csv.reader` keeps a whole record in memory. If a line were cut anywhere, the quotes of its cells
would no longer pair, and the next rows would be read as part of a cell. So a record above the limit
is not given to `csv.reader`: it is skipped to its own end, and only its first cells are kept.
"""

import contextlib
import csv
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Self, TextIO

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.text import SURROGATES, restore_formula
from pipeline.tables.headers import (
    MAX_SAMPLED_RECORDS,
    MAX_SHOWN_LINES,
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
_QUOTE = '"'
# The rest of a quoted cell up to its last quote. Two quotes are a quote within the cell.
_CELL_END = re.compile(r'[^"]*+(?:""[^"]*+)*+"')
# How some databases write a quote within quotes, which CSV writes as two quotes.
_BACKSLASH_QUOTE = '\\"'
# The reader's own limit is above any record that it gets.
csv.field_size_limit(32 << 20)


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
                first record is certainly not a header. The last check is skipped if `HEADER=` is
                given or a name is a known column.
        """
        super().__init__(file)
        self._skips_space = False
        lines_before = max(0, (file.header_line or 1) - 1)
        with file.open() as text_file:
            lines = file.read_lines(text_file)
            first_lines = list(islice(lines, MAX_SHOWN_LINES))
            all_lines = chain(first_lines, lines)
            head = list(islice(all_lines, lines_before, lines_before + _MAX_HEADER_LINES))

        header_index = self._find_header_line(head)
        head = head[header_index:]
        # Lines before the first row below the header.
        self._skipped_lines = lines_before + header_index
        if file.header_line == 0:
            names = self._choose_delimiter_without_header(head)
        else:
            names = self._read_header(head, first_lines)
        if self.delimiter != ",":
            self._file.notes.append(f"fields are separated by {self.delimiter!r}")
        self._set_names(names)

    def _find_header_line(self, head: Sequence[str]) -> int:
        """Return the index of the first line in `head` that is neither blank nor like `sep=;`.

        Spreadsheets announce the delimiter by a line like `sep=;` above the header.

        Args:
            head: Lines of the file, from the line that `HEADER=` names, or else from the first.

        Raises:
            InputError: There is no such line, the line that `HEADER=` names is blank or like
                `sep=;`, or the found line is not text.
        """
        line_texts = [line.strip().casefold() for line in head]
        header_index = next(
            (index for index, text in enumerate(line_texts) if text not in _LINES_BEFORE_HEADER),
            -1,
        )
        header_line = self._file.header_line
        if header_line and header_index:
            raise self._file.make_error(
                f" has no text on line {header_line}, which {OptionHint('header')} names",
                hint=f"set {OptionHint('header')} to the line with the column names",
            )
        if header_index < 0:
            raise self._file.make_error(" is empty")

        header_text = head[header_index]
        if "\0" in header_text or SURROGATES.search(header_text):
            raise self._file.make_error(" is not a text file", hint="save it as .xlsx or CSV first")
        return header_index

    def _choose_delimiter_without_header(self, head: Sequence[str]) -> list[str]:
        """Set the delimiter of a table without header, and return the names column_1, ….

        A delimiter fits if it splits all records into the same number of cells, and at least two.
        Of the fitting delimiters, or of all if none fits, the delimiter that gives the first record
        most cells is chosen. The last of several records is not compared: it may be cut.

        Args:
            head: The first lines of the table.
        """

        def rank(delimiter: str) -> tuple[bool, int]:
            records = parse_records(head, delimiter, first_line=1)
            width, *other_widths = [len(record.cells) for record in records]
            # The last record may be cut.
            has_even_widths = all(other_width == width for other_width in other_widths[:-1])
            return width > 1 and has_even_widths, width

        self.delimiter = max(_DELIMITERS, key=rank)
        _, width = rank(self.delimiter)
        return make_column_names(width)

    def _read_header(self, head: Sequence[str], first_lines: Sequence[str]) -> list[str]:
        """Choose the delimiter of a table with a header, and return the names of its columns.

        For example, the first line `id;text` gives the delimiter `;` and the names `id` and `text`.
        Also skips the lines of the header, and sets whether blanks after a delimiter are skipped.
        The delimiter is chosen by these rules, of which a later one decides a tie:

        1. It splits the header into the most known columns; if no columns are known, into the most
           names that are not empty.
        2. It gives the most names, of which none contains a quotation mark.
        3. It gives the most names.

        Args:
            head: Lines from the header on.
            first_lines: First lines of the file, which an error shows.

        Raises:
            InputError: The header's quotes are not paired, or the first record is certainly not a
                header.
        """
        is_known_column = self._file.is_known_column or bool
        header_by_delimiter = {
            delimiter: _parse_header_names(head, delimiter) for delimiter in _DELIMITERS
        }

        def rank(delimiter: str) -> tuple[int, int, int]:
            names, _ = header_by_delimiter[delimiter]
            unquoted_count = 0 if _QUOTE in "".join(names) else len(names)
            return sum(map(is_known_column, names)), unquoted_count, len(names)

        self.delimiter = max(_DELIMITERS, key=rank)
        names, line_count = header_by_delimiter[self.delimiter]
        line_number = self._skipped_lines + 1
        for delimiter, (delimiter_names, _) in header_by_delimiter.items():
            if not delimiter_names and (not names or f"{delimiter}{_QUOTE}" in head[0]):
                raise self._file.make_error(
                    f", line {line_number}: {_OPEN_QUOTE_REASON}, or not at the end of a name",
                    hint="correct the quotes of the header",
                )

        if self._file.header_line is None and not self._file.has_known_column(names):
            check_header(
                self._file.path,
                self._split_records(head, line_number),
                [text.strip() for text in first_lines],
            )

        # A blank before every name is a habit of the file; a blank before some names is part of
        # these names.
        raw_names = next(csv.reader(head[:line_count], delimiter=self.delimiter), [""])
        names_after_first = raw_names[1:]
        self._skips_space = bool(names_after_first) and all(
            name.startswith(" ") for name in names_after_first
        )
        self._skipped_lines += line_count
        return names

    def _split_records(self, head: Sequence[str], line_number: int) -> Iterator[list[Record]]:
        """Yield the first records, split by the delimiter of the header, or of the rows below it.

        The header may be a title without a delimiter. A sign before a blank delimits no cells.
        """
        delimiters = [self.delimiter]
        if self.delimiter not in head[0]:
            text = "".join(head)
            delimiters += [sign for sign in _DELIMITERS if f"{sign} " not in text]
        for delimiter in delimiters:
            records = parse_records(head, delimiter, first_line=line_number)
            # The last record may be cut.
            if len(head) > MAX_SAMPLED_RECORDS:
                records = records[:-1]
            yield records

    def _read_records(self) -> Iterator[Record | Finding]:
        """Yield the records of a CSV file, and a finding for each faulty record.

        A finding is yielded for a record with broken quotes, with a wrong number of fields, or that
        is too long. Blank records are skipped. Cells that an export neutralized get their original
        text back.

        Raises:
            InputError: A quote is not closed until the end of the file.
        """
        with self._file.open() as text_file:
            skipped_lines = islice(self._file.read_lines(text_file), self._skipped_lines)
            first_line = 1 + sum(1 for _ in skipped_lines)
            lines = _RecordLines(text_file, self._file, first_line)
            reader = self._make_reader(lines, is_strict=True)
            while True:
                lines.begin_record()
                try:
                    fields = self._read_fields(lines, reader)
                except csv.Error as error:
                    yield self._reject_broken_record(lines, str(error))
                    continue
                except _LongRecordError:
                    yield self._reject_long_record(lines)
                    continue

                if fields is None:
                    return
                if len(fields) <= 1 and not any(map(str.strip, fields)):
                    continue
                if len(fields) == len(self.names):
                    cells = [
                        restore_formula(field) if field.startswith("'") else field
                        for field in fields
                    ]
                    yield Record(lines.line_number, cells)
                else:
                    yield self._reject_misfit(lines.line_number, fields)

    def _make_reader(self, lines: Iterable[str], *, is_strict: bool = False) -> Iterator[list[str]]:
        """Return a reader of records; without strict rules it accepts all but stray line breaks."""
        return csv.reader(
            lines,
            delimiter=self.delimiter,
            skipinitialspace=self._skips_space,
            strict=is_strict,
        )

    def _read_fields(self, lines: "_RecordLines", reader: Iterator[list[str]]) -> list[str] | None:
        r"""Read the next record as CSV; if it looks wrong, try `\"` as a quote within a cell.

        CSV doubles a quote within a cell, but some databases write `\"`. A record looks wrong if it
        contains `\"`, and is not a single line with the header's number of fields. Such a record is
        read a second time with `\"` as a quote. This second reading is returned in two cases:

        - It has the header's number of fields, and the first reading has not.
        - Both readings have this number, but the second is shorter, and the line after it also has
          this number. Then the first reading joined several rows, because a quote stayed open.

        Otherwise the reading as plain CSV is returned.

        Returns:
            The fields; None at the end of the file.

        Raises:
            csv.Error: The record is not CSV.
            _LongRecordError: The record exceeds the size limit.
        """
        fields = None
        with contextlib.suppress(csv.Error):
            fields = next(reader, None)
        is_fit = fields is not None and len(fields) == len(self.names)
        if is_fit and lines.line_count == 1:
            return fields

        if any(_BACKSLASH_QUOTE in text for text in lines.texts):
            lines.restart_record(unescapes_quotes=True)
            with contextlib.suppress(csv.Error, _LongRecordError):
                unescaped_fields = next(reader, [])
                next_reader = csv.reader(islice(lines.next_texts, 1), delimiter=self.delimiter)
                is_next_fit = not is_fit or len(next(next_reader, [])) == len(self.names)
                if len(unescaped_fields) == len(self.names) and is_next_fit:
                    return unescaped_fields
        elif fields is not None:
            return fields

        lines.restart_record(unescapes_quotes=False)
        return next(reader, None)

    def _reject_misfit(self, line_number: int, fields: list[str]) -> Finding:
        """Return the finding for a record with too many or too few fields.

        If fields are missing, the finding names the first column without a field.
        """
        missing_column = ""
        if len(fields) < len(self.names):
            missing_column = make_excerpt(self.names[len(fields)])
        reason = f"wrong number of fields: found {len(fields)}, expected {len(self.names)}"
        return self._reject_record(
            line_number,
            reason,
            fields,
            column=missing_column,
        )

    def _reject_long_record(self, lines: "_RecordLines") -> Finding:
        """Read a record above the size limit to its end, and return its finding.

        Raises:
            InputError: A quote is not closed.
        """
        # The cells up to the size limit; the last may be cut.
        cells = next(self._make_reader(lines.texts))
        if not lines.skip_long_record(self.delimiter, skips_space=self._skips_space):
            raise self._make_quote_error(lines)

        reason = f"longer than {self._file.max_line_chars:,} characters"
        if lines.line_count > 1:
            reason += f"; it ends on line {lines.line_number + lines.line_count - 1}"
        return self._reject_record(lines.line_number, reason, cells)

    def _reject_broken_record(self, lines: "_RecordLines", error: str) -> Finding:
        """Return the finding for a record that `csv.reader` refused.

        Its reason is a line break outside quotes, or a text after a closing quote. If the record
        has several lines, all are left out, and the reason names the last. The finding contains the
        cells as a lenient reader splits them.

        Args:
            lines: The lines, at the end of the record.
            error: The reader's message.

        Raises:
            InputError: A quote is not closed, so the following rows cannot be recognized.
        """
        first_line = lines.line_number
        if "end of data" in error:
            raise self._make_quote_error(lines)

        reason = "text after a closing quote"
        if "new-line" in error:
            reason = "a line break outside quotes (quote the cell, or end all lines alike)"
        if lines.line_count > 1:
            last_line = first_line + lines.line_count - 1
            reason += f"; lines {first_line} to {last_line} are left out"

        # Without strict rules the reader accepts any text except a stray line break, so the row can
        # be shown.
        texts = (
            text.rstrip("\r\n").replace("\r", " ").replace("\n", " ") + "\n" for text in lines.texts
        )
        excerpt = lines.texts[0].rstrip("\r\n")
        return self._reject_record(
            first_line,
            reason,
            next(self._make_reader(texts), []),
            excerpt=excerpt,
        )

    def _make_quote_error(self, lines: "_RecordLines") -> InputError:
        return self._file.make_error(
            f", line {lines.line_number}: {_OPEN_QUOTE_REASON} before the end of the file",
            hint="close the quote, or double it if it is part of the text",
        )


class _LongRecordError(Exception):
    """A record exceeds the size limit."""


class _RecordLines:
    """Iterator over the physical lines of a CSV file, for `csv.reader`.

    Call `begin_record` before each record is read. The attributes then describe this record:
    `line_number` is its first line, `line_count` the number of its lines so far, and `texts` are
    these lines. `next_texts` are lines that were read already, and are to be read again.
    """

    def __init__(self, text_file: TextIO, file: InputFile, first_line: int) -> None:
        """Prepare to read an open file, which is at the beginning of the line `first_line`."""
        self._read_line = text_file.readline
        self._max_chars = file.max_line_chars
        self._line_end = file.line_end
        self.line_number = first_line
        self.line_count = 0
        self.next_texts = deque[str]()
        self.begin_record()

    def begin_record(self) -> None:
        """Forget the lines of the previous record, and begin a new record. Reads nothing."""
        self.line_number += self.line_count
        self.line_count = 0
        self.texts = list[str]()
        self._char_count = 0
        self._unescapes_quotes = False

    def restart_record(self, *, unescapes_quotes: bool) -> None:
        r"""Go back to the beginning of the record, so that it is read again.

        Args:
            unescapes_quotes: Pass `\"` on as a doubled quote.
        """
        self.next_texts.extendleft(reversed(self.texts))
        self.line_count = 0
        self.begin_record()
        self._unescapes_quotes = unescapes_quotes

    def __iter__(self) -> Self:
        """Return this iterator itself."""
        return self

    def __next__(self) -> str:
        """Return the next line of the record, and count it.

        A byte order mark at its beginning is left out, as in files that were joined.

        Raises:
            StopIteration: The file ends.
            _LongRecordError: The record exceeds the size limit.
        """
        if self.next_texts:
            text = self.next_texts.popleft()
        else:
            text = self._read_line(self._max_chars).removeprefix(BYTE_ORDER_MARK)
        if not text:
            raise StopIteration

        self.texts.append(text)
        self.line_count += 1
        self._char_count += len(text)
        if self._char_count >= self._max_chars:
            raise _LongRecordError
        if self._unescapes_quotes:
            return text.replace(_BACKSLASH_QUOTE, _QUOTE * 2)
        return text

    def skip_long_record(self, delimiter: str, *, skips_space: bool) -> bool:
        """Read the rest of a record above the size limit; return whether its quotes are closed.

        As for `csv.reader`, a quote opens a cell only at the beginning of the cell, and the record
        ends at a line break outside quotes, or at the end of the file.
        """
        cell_start = re.escape(delimiter)
        if skips_space:
            cell_start += " *"
        cell_start_pattern = re.compile(f"{cell_start}{_QUOTE}")
        is_quoted = False
        self.line_count = 0
        # The first cell begins like all others.
        text = delimiter + "".join(self.texts)
        while text:
            # Signs that belong together must not be cut apart.
            while text[-1] in {_QUOTE, delimiter, " "} and (character := self._read_line(1)):
                text += character
            position = 0
            while True:
                if is_quoted:
                    match = _CELL_END.match(text, position)
                else:
                    match = cell_start_pattern.search(text, position)
                if match is None:
                    break
                position = match.end()
                is_quoted = not is_quoted
            self.line_count += text.count(self._line_end)
            if text.endswith(self._line_end) and not is_quoted:
                break
            text = self._read_line(self._max_chars)
        return not is_quoted


def _parse_header_names(lines: Sequence[str], delimiter: str) -> tuple[list[str], int]:
    """Return (names in a header, number of its lines); ([], 0) if its quotes are broken."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    with contextlib.suppress(csv.Error):
        names = [restore_formula(join_lines(name)) for name in next(reader)]
        return names, reader.line_num
    return [], 0
