"""Read the rows of a CSV, JSON, JSON lines, .xlsx or Parquet file by their names in the file.

Text files and Parquet are read with constant memory. A folder of Parquet files is read as one
table; the names of its folders (`year=2024/`) are columns.

A faulty row becomes a finding with its line, and the next rows are read. Undecodable bytes become
the surrogates U+DC00 + byte, so a lone surrogate in a row always means invalid bytes.
"""

import codecs
import contextlib
import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, count, islice
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from urllib.parse import unquote

import orjson

from pipeline.core import files
from pipeline.core.command_hint import OptionHint
from pipeline.core.declaration import DEFAULT_READ_OPTIONS, ReadOptions
from pipeline.core.errors import InputError
from pipeline.core.text import SURROGATES
from pipeline.tables.cells import (
    contains_binary,
    describe_binary_columns,
    import_pyarrow,
    list_arrow_rows,
    to_plain_row,
)
from pipeline.tables.csv_records import CUT_MARK, MAX_CUT_CELL, CsvLines
from pipeline.tables.encodings import TextEncoding, check_encoding, find_encoding
from pipeline.tables.headers import (
    MAX_SAMPLED_RECORDS,
    MAX_SHOWN_LINES,
    find_header_fault,
    header_error,
    make_column_names,
    parse_header,
    parse_records,
)
from pipeline.tables.row_findings import Finding, make_excerpt, make_rejection
from pipeline.tables.workbook import LOCKED_SIGNATURE, XLSX_SIGNATURE, read_sheet

# Characters of a line, or of an element of a JSON list. A file without line ends must not fill the
# memory.
MAX_LINE_CHARS = 4 << 20
REPEATED_HEADER_REASON = "the header is repeated, as in joined files"
# Characters of a JSON list that are read at a time, and bytes by which the encoding is detected.
_CHUNK_SIZE = 1 << 20
# Rows of JSON whose names are the columns.
_MAX_SAMPLED_ROWS = 50
# Rows of Parquet in memory.
_PARQUET_BATCH_ROWS = 200
_PARQUET_SIGNATURE = b"PAR1"
# The value in the name of a folder of Parquet files whose rows have no value.
_NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
# Lines that are searched for the header, and that a header spans at most.
_MAX_HEADER_LINES = 50
_OPEN_QUOTE_REASON = "a quote is opened and not closed"
_QUOTES_HINT = "correct the quotes of the header"
_FORMAT_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_DELIMITERS = (",", ";", "\t", "|")
# Lines that may precede a header: blank lines, and the delimiter as spreadsheets announce it.
_LINES_BEFORE_HEADER = {"", *(f"sep={delimiter}".strip() for delimiter in _DELIMITERS)}
# The name of this module's error handler for decoding.
_BAD_BYTES_HANDLER = "findable-keep-bad-bytes"
_BAD_BYTE_OFFSET = 0xDC00
_JSON_DECODER = json.JSONDecoder()
# The beginning of JSON that cannot be the header of a table.
_CERTAIN_JSON_START = re.compile(r'\[\s*[{\]]|\{\s*["}]')
_JSON_SPACES = re.compile(r"[ \t\r\n]*+")
_JSON_MARKS = re.compile(r'\\.|["{}\[\]]', re.DOTALL)
_DEPTH_CHANGE_BY_MARK = {"{": 1, "[": 1, "}": -1, "]": -1}
_INVALID_JSON_NUMBER = re.compile("-?(?:NaN|Infinity|nan|inf)")
# Numbers that the fast JSON parser may round.
_LONG_NUMBER = re.compile(r"[0-9]{19}")
# The reader's own limit is above any line that is read, so that an open quote does not fill the
# memory.
csv.field_size_limit(32 << 20)


class SourceRow(NamedTuple):
    """A row of a source."""

    # The line where the row starts, from 1; in a sheet, Parquet and a query the number of the row.
    line_number: int
    # Plain values by the names in the source.
    values: Mapping[str, Any]


class SourceFile:
    """A file with rows, whose format, encoding and columns are detected when it is created.

    Attributes:
        format: "csv", "json", "jsonl", "xlsx" or "parquet".
        encoding: Python's codec of the text.
        names: The names of the columns; an empty name if a column has none. For JSON they are the
            names in the first rows.
        notes: Notes for users about the whole file.
    """

    def __init__(
        self,
        path: Path,
        hint: str,
        default_format: str = "csv",
        *,
        max_line_chars: int = MAX_LINE_CHARS,
        options: ReadOptions = DEFAULT_READ_OPTIONS,
        is_known_column: Callable[[str], bool] | None = None,
    ) -> None:
        """Detect the format, encoding and columns of a file, and add notes for the user.

        Reads the start of the file. Also reads the first rows of JSON, a whole sheet, and the
        columns of bytes of Parquet files.

        Args:
            path: The file, or a folder of Parquet files.
            hint: The hint of errors: which files are accepted.
            default_format: The format if the suffix of the file names none.
            max_line_chars: Characters from which a row is too long.
            options: Encoding, sheet and header that a user set.
            is_known_column: Returns whether a name is a known column. The delimiter that gives most
                known names is chosen, and a first row with a known name is accepted as the header.

        Raises:
            InputError: The file cannot be read, is not in a supported format, has no header, or an
                option does not fit it.
            ConfigurationError: The file is Parquet, and pyarrow is not installed.
        """
        self.path = path
        self.file_hint = hint
        self.max_line_chars = max_line_chars
        self.options = options
        self.notes = list[str]()
        self._delimiter = ","
        self._skips_space = False
        # Lines before the first row below the header.
        self._skipped_lines = 0

        parts = files.list_parquet_files(path)
        if not parts:
            reason = files.unreadable_reason(path) or "is not a regular file"
            raise InputError(
                f"{path} {reason}; nothing was read",
                hint=hint if path.is_dir() else "check the path",
            )

        with self._translate_os_errors():
            with parts[0].open("rb") as file:
                start = file.read(_CHUNK_SIZE)
            self.encoding, encoding_note = self._detect_encoding(parts[0], start)
            text_start = start.decode(self.encoding, "ignore").lstrip()
            line_end = re.search("\r\n?|\n", text_start)
            self._line_end = "\n"
            if line_end is not None and line_end[0] == "\r":
                self._line_end = "\r"
            self.format = self._detect_format(start, default_format)
            if encoding_note and self.format not in {"parquet", "xlsx"}:
                self.notes.append(encoding_note)
            self._check_options()
            self.names = self._read_names(parts, is_known_column)

        if self._delimiter != ",":
            self.notes.append(f"fields are separated by {self._delimiter!r}")
        if self.format == "csv" and "" in self.names:
            unnamed_count = self.names.count("")
            self.notes.append(f"columns without a name are not read: {unnamed_count}")

    def _read_names(
        self,
        parts: Sequence[Path],
        is_known_column: Callable[[str], bool] | None,
    ) -> list[str]:
        """Return the names of the columns, and add notes about them.

        The names of JSON are those in its first 50 sound rows. A sheet is read to its end, and its
        rows are kept in memory.

        Raises:
            InputError: There is no header, or the file is damaged.
        """
        if self.format == "parquet":
            return self._read_parquet_names(parts)

        if self.format == "xlsx":
            names, self._sheet, sheet_notes = read_sheet(
                self.path,
                self.options.sheet,
                header=self._header_line,
                is_known_column=is_known_column,
            )
            self.notes += sheet_notes
            return names

        if self.format == "csv":
            return self._read_header(
                is_known_column or bool,
                has_known_names=is_known_column is not None,
            )

        names_seen = dict[str, None]()
        for row in islice(self.read_rows(), _MAX_SAMPLED_ROWS):
            if isinstance(row, SourceRow):
                names_seen.update(dict.fromkeys(row.values))
        return list(names_seen)

    def _read_parquet_names(self, parts: Sequence[Path]) -> list[str]:
        """Return the names of the columns of Parquet files, and note the columns of bytes.

        The columns of the folders' names come last in each file. Columns of bytes that are not text
        in any of the files are left out. A name that is twice in a file is returned twice, so that
        it is refused later.
        """
        names = list[str]()
        self._binary_names = set[str]()
        for part in parts:
            with self._open_parquet(part) as (table, folder_values):
                part_names = table.schema_arrow.names
                names += [
                    name
                    for name in (*part_names, *folder_values)
                    if name not in names or part_names.count(name) > 1
                ]
                self._binary_names |= _find_binary_columns(table)

        note = describe_binary_columns(sorted(self._binary_names))
        if note:
            self.notes.append(note)
        return [name for name in names if name not in self._binary_names]

    def read_rows(self) -> Iterator[SourceRow | Finding]:
        """Yield each row, and a finding for each faulty row, in the order of the file.

        Each call reads the file again, to its end. A sheet is not read again: it is in memory.

        Raises:
            InputError: The file cannot be read, or is damaged so that its next rows are uncertain.
        """
        with self._translate_os_errors():
            if self.format == "parquet":
                yield from self._parquet_rows()
                return
            if self.format == "xlsx":
                yield from self._sheet_rows()
                return

            with self._open_text() as file:
                if self.format == "csv":
                    yield from self._csv_rows(file)
                elif self.format == "json":
                    yield from self._json_rows(file)
                else:
                    yield from self._json_line_rows(file)

    def _parquet_rows(self) -> Iterator[SourceRow]:
        """Yield the rows of all Parquet files, with the columns of their folders' names.

        The rows are numbered from 1 across all files. Columns of bytes that are not text are left
        out. A column of a folder's name replaces a column of the same name in the file.
        """
        row_number = count(1)
        for part in files.list_parquet_files(self.path):
            with self._open_parquet(part) as (table, folder_values):
                names = None
                if self._binary_names:
                    part_names = table.schema_arrow.names
                    names = [name for name in part_names if name not in self._binary_names]
                for batch in table.iter_batches(batch_size=_PARQUET_BATCH_ROWS, columns=names):
                    for values in list_arrow_rows(batch):
                        yield SourceRow(next(row_number), to_plain_row(values | folder_values))

    def _sheet_rows(self) -> Iterator[SourceRow | Finding]:
        """Yield the rows of the sheet, which was read when this object was created.

        The only findings are for rows that repeat the header. Cells of columns without a name are
        left out.
        """
        for row_number, cells in self._sheet:
            if self._is_header(cells):
                yield make_rejection(
                    row_number,
                    REPEATED_HEADER_REASON,
                    ", ".join(self.names),
                    cells=self._name_cells(self.names),
                )
                continue

            named_cells = zip(self.names, cells, strict=True)
            yield SourceRow(row_number, {name: cell for name, cell in named_cells if name})

    @contextlib.contextmanager
    def _translate_os_errors(self) -> Iterator[None]:
        """Raise an OSError of the block as InputError that names the file."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be read: {error.strerror}; nothing was read",
            ) from None

    def _detect_encoding(self, part: Path, start: bytes) -> TextEncoding:
        """Return the encoding that the user set, or else the detected encoding.

        For Parquet, .xlsx and locked spreadsheets the user's encoding is ignored here.

        Raises:
            InputError: The user's encoding is unknown, or the file cannot be read by it.
        """
        binary_signatures = (_PARQUET_SIGNATURE, XLSX_SIGNATURE, LOCKED_SIGNATURE)
        if not self.options.encoding or start.startswith(binary_signatures):
            return find_encoding(part, start)
        return TextEncoding(check_encoding(part, self.options.encoding))

    def _check_options(self) -> None:
        """Set the line of the header from the options, and check that the options fit the format.

        Raises:
            InputError: The header is not a line number, or an option is for another format: a sheet
                for .xlsx only, an encoding for text, a header for CSV and .xlsx.
        """
        self._header_line = parse_header(self.options.header)
        option_name = ""
        reason = ""
        if self.options.sheet and self.format != "xlsx":
            option_name = "sheet"
            reason = " is not an .xlsx file, and has no sheets"
        elif self.options.encoding and self.format in {"xlsx", "parquet"}:
            option_name = "encoding"
            reason = " is not a text file"
        elif self._header_line is not None and self.format not in {"csv", "xlsx"}:
            option_name = "header"
            reason = f" is {self.format}, which has no header line"

        if reason:
            hint = f"leave out {OptionHint(option_name)}, or {option_name}= in a task's file"
            raise self._read_error(reason, hint=hint)

    def _read_error(self, reason: str, *, hint: str = "") -> InputError:
        """Return the error for this file; the reason follows its path immediately."""
        return InputError(f"{self.path}{reason}; nothing was read", hint=hint or self.file_hint)

    def _open_text(self) -> TextIO:
        return self.path.open(
            encoding=self.encoding,
            errors=_BAD_BYTES_HANDLER,
            newline=self._line_end,
        )

    def _cut_lines(self, file: TextIO) -> Iterator[str]:
        """Yield each line of a file with its line end; the rest of an over-long line is skipped."""
        while text := file.readline(self.max_line_chars):
            chunk = text
            while len(chunk) == self.max_line_chars and not chunk.endswith(self._line_end):
                chunk = file.readline(self.max_line_chars)
            yield text

    def _detect_format(self, start: bytes, default: str) -> str:
        """Return the format by the first bytes of the file and its suffix.

        Parquet and .xlsx are recognized by their first bytes. A text that begins with `[` or `{` is
        JSON, except a .csv whose start could be a header. It is JSON lines if its first line is an
        object, or if the suffix is that of JSON lines and the line is no lone `{`. All other texts
        have the format of the suffix.

        Raises:
            InputError: The file is empty, is an .xls or locked, or is not JSON or Parquet though
                its suffix says so.
        """
        if start.startswith(_PARQUET_SIGNATURE):
            return "parquet"
        if start.startswith(XLSX_SIGNATURE):
            return "xlsx"
        if start.startswith(LOCKED_SIGNATURE):
            reason = " is a spreadsheet with a password, or an old .xls"
            raise self._read_error(reason, hint="save it as .xlsx without a password")

        text = start.decode(self.encoding, "ignore").strip()
        if not text:
            raise self._read_error(" is empty")

        suffix_format = _FORMAT_BY_SUFFIX.get(self.path.suffix.lower(), default)
        if text[0] in "[{" and (suffix_format != "csv" or _CERTAIN_JSON_START.match(text)):
            first_line = text.splitlines()[0].strip()
            is_row = isinstance(_parse_json_row(1, first_line), SourceRow)
            is_faulty_row = suffix_format == "jsonl" and first_line != "{"
            if text[0] == "{" and (is_row or is_faulty_row):
                return "jsonl"
            return "json"

        if suffix_format in {"json", "parquet"}:
            format_name = "JSON" if suffix_format == "json" else "a Parquet file"
            raise self._read_error(
                f" is not {format_name}: it starts with {make_excerpt(text[:20])!r}",
            )
        return suffix_format

    def _read_header(
        self,
        is_known_column: Callable[[str], bool],
        *,
        has_known_names: bool,
    ) -> list[str]:
        """Choose the delimiter of a CSV file, and return the names of its columns.

        The header is the first record that is not blank, or the record on the line of `HEADER=`.
        The delimiter with the most known names is chosen, then the delimiter with the most names;
        names with a quotation mark count less. With `HEADER=none` there is no header: the delimiter
        that splits the first records evenly is chosen, and names are made up. Also sets how many
        lines precede the first row, and whether blanks after a delimiter are skipped.

        Args:
            is_known_column: Returns whether a name is known.
            has_known_names: Whether a known name proves that the record is the header.

        Raises:
            InputError: The file is empty or is not text, the header's quotes are not paired, or the
                first record is certainly not a header. The last check is skipped if `HEADER=` is
                given.
        """
        lines_before = max(0, (self._header_line or 1) - 1)
        with self._open_text() as file:
            lines = self._cut_lines(file)
            first_lines = list(islice(lines, MAX_SHOWN_LINES))
            all_lines = chain(first_lines, lines)
            head = list(islice(all_lines, lines_before, lines_before + _MAX_HEADER_LINES))

        header_index = self._find_header_line(head)
        head = head[header_index:]
        if self._header_line == 0:
            self._skipped_lines = header_index
            return self._make_names(head)

        header_by_delimiter = {
            delimiter: _parse_header_names(head, delimiter) for delimiter in _DELIMITERS
        }

        def rank(delimiter: str) -> tuple[int, int, int]:
            names, _ = header_by_delimiter[delimiter]
            unquoted_count = 0 if '"' in "".join(names) else len(names)
            return sum(map(is_known_column, names)), unquoted_count, len(names)

        self._delimiter = max(_DELIMITERS, key=rank)
        names, header_line_count = header_by_delimiter[self._delimiter]

        line_number = lines_before + header_index + 1
        for delimiter, (delimiter_names, _) in header_by_delimiter.items():
            if not delimiter_names and (not names or f'{delimiter}"' in head[0]):
                reason = f", line {line_number}: {_OPEN_QUOTE_REASON}, or not at the end of a name"
                raise self._read_error(reason, hint=_QUOTES_HINT)

        is_certain_header = has_known_names and any(map(is_known_column, names))
        if self._header_line is None and not is_certain_header:
            self._check_header(head, line_number, first_lines)

        # A blank before every name is a habit of the file; a blank before some names is part of
        # these names.
        raw_names = next(csv.reader(head[:header_line_count], delimiter=self._delimiter), [""])
        names_after_first = raw_names[1:]
        self._skips_space = bool(names_after_first) and all(
            name.startswith(" ") for name in names_after_first
        )
        self._skipped_lines = lines_before + header_index + header_line_count
        return names

    def _find_header_line(self, head: Sequence[str]) -> int:
        """Return the index of the first line that is neither blank nor an announced delimiter.

        An announced delimiter is a line such as `sep=;`.

        Args:
            head: The first lines of the file; the first is the line of `HEADER=` if that is given.

        Raises:
            InputError: There is no such line, the line is not text, it is not the line of
                `HEADER=`, or the file is an SQLite database.
        """
        line_texts = [line.strip().strip("\ufeff").casefold() for line in head]
        header_index = next(
            (index for index, text in enumerate(line_texts) if text not in _LINES_BEFORE_HEADER),
            -1,
        )
        if self._header_line and header_index:
            reason = f" has no text on line {self._header_line}, which {OptionHint('header')} names"
            hint = f"set {OptionHint('header')} to the line with the column names"
            raise self._read_error(reason, hint=hint)
        if header_index < 0:
            raise self._read_error(" is empty")

        header_line = head[header_index]
        if header_line.startswith("SQLite format 3"):
            hint = f"read it with a SELECT and {OptionHint(source='sqlite:///…')}"
            raise self._read_error(" is an SQLite database", hint=hint)
        if "\0" in header_line or SURROGATES.search(header_line):
            raise self._read_error(" is not a text file", hint="save it as .xlsx or CSV first")
        return header_index

    def _check_header(
        self,
        head: Sequence[str],
        line_number: int,
        first_lines: Sequence[str],
    ) -> None:
        """Raise InputError if the first record is certainly not a header by any delimiter.

        At most the first records of `head` are compared, by the chosen delimiter first.

        Args:
            head: Lines that begin with the first record.
            line_number: The number of its line.
            first_lines: Lines that the error shows.
        """
        other_delimiters = [mark for mark in _DELIMITERS if mark != self._delimiter]
        for delimiter in (self._delimiter, *other_delimiters):
            records = parse_records(head, delimiter, first_line=line_number)
            # The last record may be cut.
            if len(head) > MAX_SAMPLED_RECORDS:
                records = records[:-1]

            is_current_delimiter = delimiter == self._delimiter
            fault = find_header_fault(records, is_certain_table=is_current_delimiter)
            if fault is not None:
                raise header_error(self.path, fault, [text.strip() for text in first_lines])

    def _make_names(self, head: Sequence[str]) -> list[str]:
        """Choose the delimiter that splits the records evenly, and return made-up names.

        If several delimiters do so, or no delimiter, the delimiter with the most cells in the first
        record is chosen. The last record is not compared, because it may be cut.
        """

        def rank(delimiter: str) -> tuple[bool, int]:
            records = parse_records(head, delimiter, first_line=1)
            width, *other_widths = [len(record.cells) for record in records]
            # The last record may be cut.
            has_even_widths = all(other_width == width for other_width in other_widths[:-1])
            return width > 1 and has_even_widths, width

        self._delimiter = max(_DELIMITERS, key=rank)
        _, width = rank(self._delimiter)
        return make_column_names(width)

    def _csv_rows(self, file: TextIO) -> Iterator[SourceRow | Finding]:
        """Yield the rows of a CSV file, and a finding for each faulty record.

        A finding is yielded for a record with broken quotes, with a wrong number of fields, that is
        too long, or that repeats the header. Blank records are skipped, and columns without a name
        are left out.

        Raises:
            InputError: A quote is not closed until the end of the file.
        """
        skipped_lines = sum(1 for _ in islice(self._cut_lines(file), self._skipped_lines))
        lines = CsvLines(
            file,
            delimiter=self._delimiter,
            skips_space=self._skips_space,
            line_end=self._line_end,
            max_record=self.max_line_chars,
            first_line=skipped_lines + 1,
        )
        reader = csv.reader(
            lines,
            delimiter=self._delimiter,
            skipinitialspace=self._skips_space,
            strict=True,
        )
        named_columns = [(index, name) for index, name in enumerate(self.names) if name]

        while True:
            lines.begin_record()
            fields, error = self._read_record(lines, reader)
            if error:
                yield self._reject_broken_record(lines, error)
            elif fields is None:
                return
            elif len(fields) <= 1 and not any(map(str.strip, fields)):
                continue
            elif lines.is_long or len(fields) != len(self.names):
                yield self._reject_misfit(lines, fields)
            elif self._is_header(fields):
                text = self._delimiter.join(fields)
                cells = self._name_cells(fields)
                yield make_rejection(lines.line_number, REPEATED_HEADER_REASON, text, cells=cells)
            else:
                values = {name: fields[index] for index, name in named_columns}
                yield SourceRow(lines.line_number, values)

    def _is_header(self, cells: Sequence[object]) -> bool:
        """Return whether a row repeats the header, as in files that were joined.

        Case, surrounding quotes and line breaks do not matter. False if the file has no header.
        """
        texts = [cell if isinstance(cell, str) else "" for cell in cells]
        matches_first_cell = self.names[0].casefold() in texts[0].casefold()
        return (
            matches_first_cell
            and self._header_line != 0
            and _fold_names(texts) == _fold_names(self.names)
        )

    def _read_record(
        self,
        lines: CsvLines,
        reader: Iterator[list[str]],
    ) -> tuple[list[str] | None, str]:
        """Read the next record, with backslashes before its quotes as escapes if it fits only so.

        A record of one line that fits, an over-long record, and a record without such backslashes
        are returned as they are. If the record fits the header both with and without escapes,
        escapes are read only if the next line is a row then. Otherwise a cell's end that was read
        as a quote would pair with a quote of a later row. If escapes do not help, the record is
        read again without them.

        Returns:
            The fields, or None at the end of the file; and the reader's error, or the empty text.
        """
        fields, error = _next_fields(reader)
        is_fit = fields is not None and len(fields) == len(self.names)
        is_single_line = is_fit and lines.line_count == 1
        if is_single_line or lines.is_long or not lines.has_backslash_quote:
            return fields, error

        lines.restart_record(unescape_quotes=True)
        unescaped_fields, _ = _next_fields(reader)
        next_reader = csv.reader(islice(lines.next_lines, 1), delimiter=self._delimiter)
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

    def _reject_misfit(self, lines: CsvLines, fields: list[str]) -> Finding:
        """Return the finding for a record that is too long, or has too many or too few fields.

        If fields are missing, the finding names the first column without a field.
        """
        cells = self._name_cells(fields)
        text = self._delimiter.join(fields)
        if lines.is_long:
            return make_rejection(lines.line_number, self._length_reason(lines), text, cells=cells)

        missing_column = ""
        if len(fields) < len(self.names):
            missing_column = make_excerpt(self.names[len(fields)])
        reason = f"wrong number of fields: found {len(fields)}, expected {len(self.names)}"
        return make_rejection(lines.line_number, reason, text, column=missing_column, cells=cells)

    def _reject_broken_record(self, lines: CsvLines, error: str) -> Finding:
        """Return the finding for a record that `csv.reader` refused.

        The reason is a line break outside quotes, a text after a closing quote, or the record's
        length. The finding contains the cells as a lenient reader splits them.

        Args:
            lines: The lines, at the end of the record.
            error: The reader's message.

        Raises:
            InputError: A quote is not closed, so the following rows cannot be recognized.
        """
        first_line = lines.line_number
        if "end of data" in error or "field limit" in error:
            raise self._read_error(
                f", line {first_line}: {_OPEN_QUOTE_REASON} before the end of the file",
                hint="close the quote, or double it if it is part of the text",
            )

        is_line_break = "new-line" in error
        reason = "text after a closing quote"
        if is_line_break:
            reason = "a line break outside quotes"
        if lines.line_count > 1:
            last_line = first_line + lines.line_count - 1
            reason += f"; lines {first_line} to {last_line} are left out"
        if lines.is_long:
            reason = self._length_reason(lines)

        # Without strict rules the reader accepts any text except a stray line break, so the row can
        # be shown.
        texts = (line.rstrip("\r\n").replace("\r", " ") + "\n" for line in lines.lines)
        lenient_reader = csv.reader(
            texts,
            delimiter=self._delimiter,
            skipinitialspace=self._skips_space,
        )
        cells = self._name_cells(next(lenient_reader, []))
        return make_rejection(first_line, reason, lines.lines[0].rstrip("\r\n"), cells=cells)

    def _length_reason(self, lines: CsvLines) -> str:
        """Return the reason of a finding for a record that is too long."""
        reason = f"longer than {self.max_line_chars:,} characters"
        if lines.line_count > 1:
            reason += f"; it ends on line {lines.line_number + lines.line_count - 1}"
        return reason

    def _name_cells(self, fields: Sequence[str]) -> dict[str, str]:
        """Return the cells of a refused row by column; long cells are cut and marked.

        A cell without a name, or beyond the header, is named by its number, such as `column_3`.
        """
        cells = dict[str, str]()
        for index, cell in enumerate(fields):
            name = self.names[index] if index < len(self.names) else ""
            is_cut = len(cell) >= MAX_CUT_CELL
            text = cell
            if is_cut:
                text = f"{cell[:MAX_CUT_CELL]}{CUT_MARK}"
            cells[name or f"column_{index + 1}"] = text
        return cells

    def _json_line_rows(self, file: TextIO) -> Iterator[SourceRow | Finding]:
        """Yield the row of each line of JSON; blank lines are skipped.

        A line that is too long, is not JSON, or is not an object gives a finding.
        """
        for line_number, text in enumerate(self._cut_lines(file), start=1):
            if len(text) >= self.max_line_chars and not text.endswith(self._line_end):
                yield self._reject_long_json(line_number, text)
            elif not text.isspace():
                yield _parse_json_row(line_number, text.strip())

    def _reject_long_json(self, line_number: int, text: str) -> Finding:
        return make_rejection(line_number, f"longer than {self.max_line_chars:,} characters", text)

    def _json_rows(self, file: TextIO) -> Iterator[SourceRow | Finding]:
        """Yield the elements of a JSON list with their lines; a file without a list is one row.

        The list is read in chunks. An element that is no object gives a finding. So does an object
        or list that is too long; its rest is skipped.

        Raises:
            InputError: The list is invalid, is not closed, or is followed by text. Also if an
                over-long element is a text or does not end.
        """
        text = file.read(_CHUNK_SIZE)
        if not text.lstrip().startswith("["):
            yield _parse_json_row(1, f"{text}{file.read(self.max_line_chars)}".strip())
            return

        offset = text.index("[") + 1
        line_number = 1 + text.count("\n", 0, offset)
        separator = ","
        while separator == ",":
            try:
                start, end, next_offset = _find_element(text, offset)
            except (ValueError, RecursionError) as error:
                # The element may be cut at the end of the chunk, be too long, or be invalid.
                remaining_chars = len(text) - offset
                chunk = file.read(_CHUNK_SIZE) if remaining_chars <= self.max_line_chars else ""
                if chunk:
                    text = text[offset:] + chunk
                    offset = 0
                    continue

                skipped = None
                if remaining_chars > self.max_line_chars:
                    skipped = self._skip_long_element(file, text[offset:])
                if skipped is None:
                    reason = error.msg if isinstance(error, json.JSONDecodeError) else error
                    message = f", line {line_number}: not a valid JSON list: {reason}"
                    raise self._read_error(message, hint="correct the file") from None

                line_number += text.count("\n", offset, _skip_spaces(text, offset))
                yield self._reject_long_json(line_number, text[offset:].lstrip())
                line_break_count, text = skipped
                line_number += line_break_count
                offset = _skip_spaces(text, 0) + 1
                separator = text[offset - 1 : offset]
                continue

            line_number += text.count("\n", offset, start)
            if end > start:
                yield _parse_json_row(line_number, text[start:end])
            line_number += text.count("\n", start, next_offset)
            offset = next_offset
            separator = text[next_offset - 1]

        if f"{text[offset:]}{file.read(_CHUNK_SIZE)}".strip():
            reason = f", line {line_number}: text after the end of the list"
            raise self._read_error(reason, hint="correct the file")

    def _skip_long_element(self, file: TextIO, text: str) -> tuple[int, str] | None:
        """Read to the end of an element of a JSON list that is longer than the limit.

        Args:
            file: The file, after `text`.
            text: The text that was read, from the element on.

        Returns:
            The number of the element's line breaks, and the text that was read after it. None if
            the element is not an object or list, is not longer than the limit, or does not end.
        """
        depth = 0
        is_in_string = False
        is_long = False
        line_break_count = -text.count("\n", 0, _skip_spaces(text, 0))
        while text:
            # An escape that is cut in two would hide a quote.
            while text.endswith("\\") and (character := file.read(1)):
                text += character

            for mark in _JSON_MARKS.finditer(text):
                is_in_string ^= mark[0] == '"'
                if not is_in_string:
                    depth += _DEPTH_CHANGE_BY_MARK.get(mark[0], 0)
                if depth <= 0 and not is_in_string:
                    end = mark.end()
                    is_long = is_long or end > self.max_line_chars
                    line_break_count += text.count("\n", 0, end)
                    following_text = text[end:] + file.read(_CHUNK_SIZE)
                    if is_long:
                        return (line_break_count, following_text)
                    return None

            line_break_count += text.count("\n")
            is_long = True
            text = file.read(_CHUNK_SIZE)
        return None

    @contextlib.contextmanager
    def _open_parquet(self, part: Path) -> Iterator[tuple[Any, dict[str, Any]]]:
        """Open a Parquet file, and close it after the block.

        Yields:
            The file, and the columns that the names of its folders (`year=2024`) give.

        Raises:
            InputError: The file is damaged, also if the block finds this.
            ConfigurationError: pyarrow is not installed.
        """
        pa = import_pyarrow(f"{self.path} is a Parquet file, which")
        from pyarrow import parquet

        folder_values = dict[str, Any]()
        for folder in part.relative_to(self.path).parts[:-1]:
            if "=" in folder:
                name, _, text = unquote(folder).partition("=")
                folder_values[name] = _parse_partition_value(text)

        try:
            with parquet.ParquetFile(part, buffer_size=_CHUNK_SIZE, pre_buffer=False) as table:
                yield table, folder_values
        except pa.ArrowException as error:
            message = f"cannot be read as Parquet; nothing was read: {make_excerpt(str(error))}"
            raise InputError(f"{part} {message}") from None


def _parse_partition_value(text: str) -> int | str | None:
    """Return the value in a folder's name: a whole number, None, or the text."""
    if text.isdecimal():
        return int(text)
    return None if text == _NULL_PARTITION else text


def _find_binary_columns(table: Any) -> set[str]:
    """Return the columns of a Parquet file that contain bytes that are not text.

    Reads only the columns of bytes, until all of them are found to contain such bytes.
    """
    candidate_names = [field.name for field in table.schema_arrow if "binary" in str(field.type)]
    binary_names = set[str]()
    if not candidate_names:
        return binary_names

    for batch in table.iter_batches(batch_size=_PARQUET_BATCH_ROWS, columns=candidate_names):
        for name, column in zip(candidate_names, batch.columns, strict=True):
            if any(map(contains_binary, column.to_pylist())):
                binary_names.add(name)
        if len(binary_names) == len(candidate_names):
            break
    return binary_names


def _next_fields(reader: Iterator[list[str]]) -> tuple[list[str] | None, str]:
    """Return the next fields of a CSV reader (None at the end), and its error or empty text."""
    try:
        return next(reader, None), ""
    except csv.Error as error:
        return None, str(error)


def _join_lines(name: str) -> str:
    """Return a name of a header on one line, with a blank for each line break."""
    return " ".join(line.strip() for line in name.strip().strip("\ufeff").splitlines())


def _fold_names(names: Sequence[str]) -> list[str]:
    """Return names for a comparison without regard to case and surrounding quotes.

    If a joined file begins with a byte order mark, the quotes of its first name stay in the cell.
    """
    return [_join_lines(name).strip('"').casefold() for name in names]


def _parse_header_names(lines: list[str], delimiter: str) -> tuple[list[str], int]:
    """Return the names in a header and the number of its lines; no names if it is broken."""
    reader = csv.reader(lines, delimiter=delimiter, skipinitialspace=True, strict=True)
    with contextlib.suppress(csv.Error):
        names = list(map(_join_lines, next(reader)))
        return names, reader.line_num
    return [], 0


def _find_element(text: str, offset: int) -> tuple[int, int, int]:
    """Return the offsets of the next element of a JSON list.

    Returns:
        Its start, its end, and the offset after the comma or bracket that follows it. Start and end
        are equal if the list ends.

    Raises:
        ValueError: The element is invalid or not complete, or no comma or bracket follows it.
        RecursionError: The element is nested too deeply.
    """
    start = _skip_spaces(text, offset)
    end = start
    if text[start : start + 1] != "]":
        _, end = _JSON_DECODER.raw_decode(text, start)

    separator_offset = _skip_spaces(text, end)
    if text[separator_offset : separator_offset + 1] not in {",", "]"}:
        raise ValueError("the list is not closed, or there is no comma between two elements")
    return start, end, separator_offset + 1


def _skip_spaces(text: str, offset: int) -> int:
    """Return the offset of the next character that is not JSON white space."""
    spaces = _JSON_SPACES.match(text, offset)
    return spaces.end() if spaces else offset


def parse_json(text: str) -> object:
    """Return the value of a JSON text. Whole numbers of any length are read exactly.

    Raises:
        ValueError: The text is not JSON, contains invalid UTF-8 or a lone surrogate, or is nested
            too deeply. The message gives the reason.
    """
    try:
        # This parser refuses lone surrogates, too.
        value: object = orjson.loads(text)
        return json.loads(text) if _LONG_NUMBER.search(text) else value
    except RecursionError:
        raise ValueError("not JSON: nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(_json_fault(text, error)) from None


def _json_fault(text: str, error: json.JSONDecodeError) -> str:
    """Return why a text is not JSON: NaN or infinity, invalid UTF-8, or the parser's reason.

    Args:
        text: The text.
        error: The parser's error, with its position.
    """
    has_minus = text.startswith("-", error.pos - 1)
    number = _INVALID_JSON_NUMBER.match(text, error.pos - 1 if has_minus else error.pos)
    if number:
        place = f"at character {number.start() + 1}"
        return f"not JSON: {number[0]} {place} is not a JSON number (write null instead)"

    bad_text = SURROGATES.search(text)
    if bad_text:
        byte_number = len(text[: bad_text.start()].encode()) + 1
        return f"not UTF-8, from byte {byte_number} on"
    return f"not JSON: {error.msg}, at character {error.pos + 1}"


def _parse_json_row(line_number: int, text: str) -> SourceRow | Finding:
    """Return the row of a JSON object; a finding for any other or invalid text."""
    try:
        value = parse_json(text)
    except ValueError as error:
        return make_rejection(line_number, str(error), text)

    if not isinstance(value, dict):
        return make_rejection(line_number, "not an object", value)
    return SourceRow(line_number, value)


def _keep_bad_bytes(error: UnicodeError) -> tuple[str, int]:
    """Decode undecodable bytes to lone surrogates; an error handler for codecs.

    Raises any error unchanged that is not a decoding error.

    Returns:
        The surrogates (U+DC00 + byte), and the offset at which decoding continues.
    """
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad_bytes = error.object[error.start : error.end]
    return "".join(chr(_BAD_BYTE_OFFSET + byte) for byte in bad_bytes), error.end


codecs.register_error(_BAD_BYTES_HANDLER, _keep_bad_bytes)
