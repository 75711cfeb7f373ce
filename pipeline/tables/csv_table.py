"""Read a CSV table: its delimiter, header and rows, and findings for faulty records.

A record is one row of cells as `csv.reader` splits it; with quotes it can span lines. A finding
describes why a record is rejected. A known name is a column name that the caller recognizes; it
proves that a record is the header.
"""

import contextlib
import csv
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import TextIO

from pipeline.core.command_hint import OptionHint
from pipeline.core.text import SURROGATES
from pipeline.tables.csv_records import CUT_MARK, MAX_CUT_CELL, CsvLines
from pipeline.tables.headers import (
    MAX_SAMPLED_RECORDS,
    MAX_SHOWN_LINES,
    find_header_fault,
    make_column_names,
    make_header_error,
    parse_records,
)
from pipeline.tables.row_findings import Finding, SourceRow, make_excerpt, make_rejection
from pipeline.tables.text_file import TextFile

REPEATED_HEADER_REASON = "the header is repeated, as in joined files"
# Lines that are searched for the header, and that a header spans at most.
_MAX_HEADER_LINES = 50
_OPEN_QUOTE_REASON = "a quote is opened and not closed"
_QUOTES_HINT = "correct the quotes of the header"
_DELIMITERS = (",", ";", "\t", "|")
# Lines that may precede a header: blank lines, and the delimiter as spreadsheets announce it.
_LINES_BEFORE_HEADER = {"", *(f"sep={delimiter}".strip() for delimiter in _DELIMITERS)}
# The reader's own limit is above any line that is read, so that an open quote does not fill the
# memory.
csv.field_size_limit(32 << 20)


class CsvTable:
    """The table in a CSV file, whose delimiter and header are detected when it is created.

    Attributes:
        names: The names of the columns; an empty name if a column has none.
        delimiter: The character between two fields.
    """

    def __init__(
        self,
        text_file: TextFile,
        *,
        header_line: int | None,
        is_known_column: Callable[[str], bool] | None,
    ) -> None:
        """Detect the delimiter and the names of the columns.

        Args:
            text_file: The file.
            header_line: The line of the header, from 1, or 0 without a header; None searches it.
            is_known_column: Returns whether a name is a known column, which proves that a record is
                the header. None if there are no known columns.

        Raises:
            InputError: The file has no header, or is not text.
        """
        self._text_file = text_file
        self._header_line = header_line
        self.delimiter = ","
        self._skips_space = False
        # Lines before the first row below the header.
        self._skipped_lines = 0
        self._header_names = self._read_header(
            is_known_column or bool,
            has_known_names=is_known_column is not None,
        )
        self.names = self._header_names

    def _read_header(
        self,
        is_known_column: Callable[[str], bool],
        *,
        has_known_names: bool,
    ) -> list[str]:
        """Choose the delimiter of a CSV file, and return the names of its columns.

        For example, the first line `id;text` gives the delimiter `;` and the names `id` and `text`.
        The header is the first record that is not blank, or the record on the line of `HEADER=`.
        Also sets how many lines precede the first row, and whether blanks after a delimiter are
        skipped. The delimiter is chosen by these rules, of which a later one decides a tie:

        1. It splits the header into the most names that meet `is_known_column`.
        2. It gives the most names, of which none contains a quotation mark.
        3. It gives the most names.

        With `HEADER=none`, the delimiter is chosen by the first records, and names are made up.

        Args:
            is_known_column: Returns whether a name is a known column. If no columns are known, it
                returns whether the name is not empty.
            has_known_names: Columns are known, so that a known name proves the header.

        Raises:
            InputError: The file is empty or is not text, the header's quotes are not paired, or the
                first record is certainly not a header. The last check is skipped if `HEADER=` is
                given or a name is known.
        """
        lines_before = max(0, (self._header_line or 1) - 1)
        with self._text_file.open() as file:
            lines = self._text_file.read_lines(file)
            first_lines = list(islice(lines, MAX_SHOWN_LINES))
            all_lines = chain(first_lines, lines)
            head = list(islice(all_lines, lines_before, lines_before + _MAX_HEADER_LINES))

        header_index = self._find_header_line(head)
        head = head[header_index:]
        if self._header_line == 0:
            self._skipped_lines = header_index
            return self._choose_delimiter_without_header(head)

        header_by_delimiter = {
            delimiter: _parse_header_names(head, delimiter) for delimiter in _DELIMITERS
        }

        def rank(delimiter: str) -> tuple[int, int, int]:
            names, _ = header_by_delimiter[delimiter]
            unquoted_count = 0 if '"' in "".join(names) else len(names)
            return sum(map(is_known_column, names)), unquoted_count, len(names)

        self.delimiter = max(_DELIMITERS, key=rank)
        names, header_line_count = header_by_delimiter[self.delimiter]

        line_number = lines_before + header_index + 1
        for delimiter, (delimiter_names, _) in header_by_delimiter.items():
            if not delimiter_names and (not names or f'{delimiter}"' in head[0]):
                raise self._text_file.make_error(
                    f", line {line_number}: {_OPEN_QUOTE_REASON}, or not at the end of a name",
                    hint=_QUOTES_HINT,
                )

        is_certain_header = has_known_names and any(map(is_known_column, names))
        if self._header_line is None and not is_certain_header:
            self._check_header(head, line_number, first_lines)

        # A blank before every name is a habit of the file; a blank before some names is part of
        # these names.
        raw_names = next(csv.reader(head[:header_line_count], delimiter=self.delimiter), [""])
        names_after_first = raw_names[1:]
        self._skips_space = bool(names_after_first) and all(
            name.startswith(" ") for name in names_after_first
        )
        self._skipped_lines = lines_before + header_index + header_line_count
        return names

    def _find_header_line(self, head: Sequence[str]) -> int:
        """Return the index of the first line in `head` that is neither blank nor like `sep=;`.

        Spreadsheets announce the delimiter by a line like `sep=;` above the header.

        Args:
            head: Lines of the file, from the line that `HEADER=` names, or else from the first.

        Raises:
            InputError: There is no such line, the line that `HEADER=` names is blank or like
                `sep=;`, the found line is not text, or the file is an SQLite database.
        """
        line_texts = [line.strip().casefold() for line in head]
        header_index = next(
            (index for index, text in enumerate(line_texts) if text not in _LINES_BEFORE_HEADER),
            -1,
        )
        if self._header_line and header_index:
            raise self._text_file.make_error(
                f" has no text on line {self._header_line}, which {OptionHint('header')} names",
                hint=f"set {OptionHint('header')} to the line with the column names",
            )
        if header_index < 0:
            raise self._text_file.make_error(" is empty")

        header_line = head[header_index]
        if header_line.startswith("SQLite format 3"):
            raise self._text_file.make_error(
                " is an SQLite database",
                hint=f"read it with a SELECT and {OptionHint(source='sqlite:///…')}",
            )
        if "\0" in header_line or SURROGATES.search(header_line):
            raise self._text_file.make_error(
                " is not a text file", hint="save it as .xlsx or CSV first"
            )
        return header_index

    def _check_header(
        self,
        head: Sequence[str],
        line_number: int,
        first_lines: Sequence[str],
    ) -> None:
        """Raise InputError if the first record is certainly a title, a comment or a row of values.

        The lines are split by each delimiter in turn, the chosen one first. One delimiter by which
        the first record is certainly no header is enough. Only the first records are compared.

        Args:
            head: Lines from the first record on.
            line_number: The number of the first of these lines, from 1.
            first_lines: First lines of the file, which the error shows.
        """
        other_delimiters = [mark for mark in _DELIMITERS if mark != self.delimiter]
        for delimiter in (self.delimiter, *other_delimiters):
            records = parse_records(head, delimiter, first_line=line_number)
            # The last record may be cut.
            if len(head) > MAX_SAMPLED_RECORDS:
                records = records[:-1]

            fault = find_header_fault(records, has_certain_cells=delimiter == self.delimiter)
            if fault is not None:
                raise make_header_error(
                    self._text_file.path, fault, [text.strip() for text in first_lines]
                )

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

    def read_rows(self, file: TextIO) -> Iterator[SourceRow | Finding]:
        """Yield the rows of a CSV file, and a finding for each faulty record.

        A finding is yielded for a record with broken quotes, with a wrong number of fields, that is
        too long, or that repeats the header. Blank records are skipped, and columns with an empty
        name are left out.

        Raises:
            InputError: A quote is not closed until the end of the file.
        """
        skipped_lines = sum(
            1 for _ in islice(self._text_file.read_lines(file), self._skipped_lines)
        )
        lines = CsvLines(
            file,
            delimiter=self.delimiter,
            skips_space=self._skips_space,
            line_end=self._text_file.line_end,
            max_record=self._text_file.max_line_chars,
            first_line=skipped_lines + 1,
        )
        reader = csv.reader(
            lines,
            delimiter=self.delimiter,
            skipinitialspace=self._skips_space,
            strict=True,
        )
        named_columns = [(index, name) for index, name in enumerate(self.names) if name]

        while True:
            lines.begin_record()
            fields, error = self._read_record(lines, reader)
            if error:
                yield self._make_broken_record_finding(lines, error)
            elif fields is None:
                return
            elif len(fields) <= 1 and not any(map(str.strip, fields)):
                continue
            elif lines.is_long or len(fields) != len(self.names):
                yield self._make_misfit_finding(lines, fields)
            elif self._header_line != 0 and repeats_header(fields, self._header_names):
                text = self.delimiter.join(fields)
                cells = name_cells(self.names, fields)
                yield make_rejection(lines.line_number, REPEATED_HEADER_REASON, text, cells=cells)
            else:
                yield SourceRow(
                    lines.line_number,
                    {name: fields[index] for index, name in named_columns},
                )

    def _read_record(
        self,
        lines: CsvLines,
        reader: Iterator[list[str]],
    ) -> tuple[list[str] | None, str]:
        r"""Read the next record as CSV; if it looks wrong, try `\"` as a quote within a cell.

        CSV doubles a quote within a cell, but some databases write `\"`. A record looks wrong if it
        contains `\"`, and is not a single line with the header's number of fields. An over-long
        record never looks wrong. A record that looks wrong is read a second time with `\"` as a
        quote. This second reading is returned in two cases:

        - It has the header's number of fields, and the first reading has not.
        - Both readings have this number, but the second is shorter, and the line after it also has
          this number. Then the first reading joined several rows, because a quote stayed open.

        Otherwise the reading as plain CSV is returned.

        Returns:
            The fields, and the empty text. At the end of the file, None and the empty text. If the
            CSV reader failed, None and its error.
        """
        fields, error = _next_fields(reader)
        is_fit = fields is not None and len(fields) == len(self.names)
        is_single_line = is_fit and lines.line_count == 1
        if is_single_line or lines.is_long or not lines.has_backslash_quote:
            return fields, error

        lines.restart_record(unescape_quotes=True)
        unescaped_fields, _ = _next_fields(reader)
        next_reader = csv.reader(islice(lines.next_lines, 1), delimiter=self.delimiter)
        next_fields = next(next_reader, [])
        is_next_fit = not is_fit or len(next_fields) == len(self.names)
        if (
            unescaped_fields is not None
            and len(unescaped_fields) == len(self.names)
            and is_next_fit
        ):
            return unescaped_fields, ""

        lines.restart_record(unescape_quotes=False)
        return _next_fields(reader)

    def _make_misfit_finding(self, lines: CsvLines, fields: list[str]) -> Finding:
        """Return the finding for a record that is too long, or has too many or too few fields.

        If fields are missing, the finding names the first column without a field.
        """
        cells = name_cells(self.names, fields)
        text = self.delimiter.join(fields)
        if lines.is_long:
            return make_rejection(lines.line_number, self._length_reason(lines), text, cells=cells)

        missing_column = ""
        if len(fields) < len(self.names):
            missing_column = make_excerpt(self.names[len(fields)])
        reason = f"wrong number of fields: found {len(fields)}, expected {len(self.names)}"
        return make_rejection(lines.line_number, reason, text, column=missing_column, cells=cells)

    def _make_broken_record_finding(self, lines: CsvLines, error: str) -> Finding:
        """Return the finding for a record that `csv.reader` refused.

        Its reason is a line break outside quotes, a text after a closing quote, or the record's
        length. If the record has several lines, all are left out, and the reason names the last.
        The finding contains the cells as a lenient reader splits them.

        Args:
            lines: The lines, at the end of the record.
            error: The reader's message.

        Raises:
            InputError: A quote is not closed, so the following rows cannot be recognized.
        """
        first_line = lines.line_number
        if "end of data" in error or "field limit" in error:
            raise self._text_file.make_error(
                f", line {first_line}: {_OPEN_QUOTE_REASON} before the end of the file",
                hint="close the quote, or double it if it is part of the text",
            )

        is_line_break = "new-line" in error
        reason = "text after a closing quote"
        if is_line_break:
            reason = "a line break outside quotes (quote the cell, or end all lines alike)"
        if lines.line_count > 1:
            last_line = first_line + lines.line_count - 1
            reason += f"; lines {first_line} to {last_line} are left out"
        if lines.is_long:
            reason = self._length_reason(lines)

        # Without strict rules the reader accepts any text except a stray line break, so the row can
        # be shown.
        texts = (
            line.rstrip("\r\n").replace("\r", " ").replace("\n", " ") + "\n" for line in lines.lines
        )
        lenient_reader = csv.reader(
            texts,
            delimiter=self.delimiter,
            skipinitialspace=self._skips_space,
        )
        cells = name_cells(self.names, next(lenient_reader, []))
        return make_rejection(first_line, reason, lines.lines[0].rstrip("\r\n"), cells=cells)

    def _length_reason(self, lines: CsvLines) -> str:
        """Return the reason of a finding for a record that is too long."""
        reason = f"longer than {self._text_file.max_line_chars:,} characters"
        if lines.line_count > 1:
            reason += f"; it ends on line {lines.line_number + lines.line_count - 1}"
        return reason


def repeats_header(cells: Sequence[object], names: Sequence[str]) -> bool:
    """Return whether a row repeats the header, as in files that were joined.

    Case and line breaks do not matter.
    """
    texts = [cell if isinstance(cell, str) else "" for cell in cells]
    if names[0].casefold() not in texts[0].casefold():
        return False
    return _fold_names(texts) == _fold_names(names)


def name_cells(names: Sequence[str], fields: Sequence[str]) -> dict[str, str]:
    """Return the cells of a refused row by column; long cells are cut and marked.

    A cell whose column has no name, or that is beyond the header, is named by its number, such as
    `column_3` for the third cell. Missing cells are left out.
    """
    cells = dict[str, str]()
    for index, cell in enumerate(fields):
        name = names[index] if index < len(names) else ""
        is_cut = len(cell) >= MAX_CUT_CELL
        text = f"{cell[:MAX_CUT_CELL]}{CUT_MARK}" if is_cut else cell
        cells[name or f"column_{index + 1}"] = text
    return cells


def _next_fields(reader: Iterator[list[str]]) -> tuple[list[str] | None, str]:
    """Return the next fields of a CSV reader (None at the end), and its error or empty text."""
    try:
        return next(reader, None), ""
    except csv.Error as error:
        return None, str(error)


def _join_lines(name: str) -> str:
    """Return a name of a header on one line, with a blank for each line break."""
    return " ".join(line.strip() for line in name.strip().splitlines())


def _fold_names(names: Sequence[str]) -> list[str]:
    """Return names for a comparison without regard to case and line breaks."""
    return [_join_lines(name).casefold() for name in names]


def _parse_header_names(lines: list[str], delimiter: str) -> tuple[list[str], int]:
    """Return (names in a header, number of its lines); ([], 0) if its quotes are broken."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    with contextlib.suppress(csv.Error):
        names = list(map(_join_lines, next(reader)))
        return names, reader.line_num
    return [], 0
