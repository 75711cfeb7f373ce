"""Read the rows of a CSV, JSON, JSON lines, .xlsx or Parquet file by the names in the file.

Text files and Parquet are read with constant memory. A folder of Parquet files is read as one
table. A faulty row becomes a finding with its line, and the next rows are read.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

from pipeline.core import files
from pipeline.core.command_hint import OptionHint
from pipeline.core.declaration import DEFAULT_READ_OPTIONS, ReadOptions
from pipeline.core.errors import InputError
from pipeline.tables import json_rows
from pipeline.tables.binary_formats import find_binary_format
from pipeline.tables.cells import stripped_text
from pipeline.tables.csv_table import (
    REPEATED_HEADER_REASON,
    CsvTable,
    name_cells,
    repeats_header,
)
from pipeline.tables.encodings import TextEncoding, check_encoding, find_encoding
from pipeline.tables.headers import make_column_names, parse_header
from pipeline.tables.parquet_table import ParquetTable
from pipeline.tables.row_findings import Finding, SourceRow, make_excerpt, make_rejection
from pipeline.tables.text_file import TextFile, find_line_end
from pipeline.tables.workbook import LOCKED_SIGNATURE, XLSX_SIGNATURE, read_sheet

# Characters of a line, or of an element of a JSON list. A file without line ends must not fill the
# memory.
MAX_LINE_CHARS = 4 << 20
# Bytes by which the encoding and the format are detected.
_START_BYTES = 1 << 20
# Rows of JSON whose names are the columns.
_MAX_SAMPLED_ROWS = 50
_PARQUET_SIGNATURE = b"PAR1"
_FORMAT_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
# The beginning of JSON that cannot be the header of a table.
_CERTAIN_JSON_START = re.compile(r'\[\s*[{\]]|\{\s*["}]')


class SourceFile:
    """A file with rows, whose format, encoding and columns are detected when it is created.

    Attributes:
        format: "csv", "json", "jsonl", "xlsx" or "parquet".
        encoding: Python's codec of the text.
        names: The names of the columns. A column without a name is called `column_4` by its
            position, or has an empty name if all its cells are blank. For JSON they are the names
            in the first rows.
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
        self._csv_table: CsvTable | None = None
        self._parquet_table: ParquetTable | None = None

        parts = files.list_parquet_files(path)
        if not parts:
            files.check_no_address(path, "nothing was read")
            reason = files.unreadable_reason(path) or "is not a regular file"
            raise InputError(
                f"{path} {reason}; nothing was read",
                hint=hint if path.is_dir() else "check the path",
            )

        with self._translate_os_errors():
            with parts[0].open("rb") as file:
                start = file.read(_START_BYTES)
            self.encoding, encoding_note = self._detect_encoding(parts[0], start)
            self._text_file = TextFile(
                path=path,
                encoding=self.encoding,
                line_end=find_line_end(start.decode(self.encoding, "ignore").lstrip()),
                max_line_chars=max_line_chars,
                file_hint=hint,
            )
            self.format = self._detect_format(start, default_format)
            if encoding_note and self.format not in {"parquet", "xlsx"}:
                self.notes.append(encoding_note)
            self._apply_options()
            self._header_names = self._open_table(parts, is_known_column)
            self.names = self._header_names

        if self._csv_table is not None and self._csv_table.delimiter != ",":
            self.notes.append(f"fields are separated by {self._csv_table.delimiter!r}")
        if "" in self.names:
            self._name_filled_columns()

    def _open_table(
        self,
        parts: Sequence[Path],
        is_known_column: Callable[[str], bool] | None,
    ) -> list[str]:
        """Open the table of the file's format, and return the names of its columns.

        Notes about the table are added. The names of JSON are those in its first 50 sound rows. A
        sheet is read to its end, and its rows are kept in memory.

        Args:
            parts: The Parquet files, if the path is a folder of them; else the file itself.
            is_known_column: Returns whether a name is a known column, by which the header of CSV or
                .xlsx is recognized. None if no columns are known.

        Raises:
            InputError: There is no header, or the file is damaged.
        """
        if self.format == "parquet":
            self._parquet_table = ParquetTable(self.path, parts)
            if self._parquet_table.note:
                self.notes.append(self._parquet_table.note)
            return self._parquet_table.names

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
            self._csv_table = CsvTable(
                self._text_file,
                header_line=self._header_line,
                is_known_column=is_known_column,
            )
            return self._csv_table.names

        names_seen = dict[str, None]()
        for row in islice(self.read_rows(), _MAX_SAMPLED_ROWS):
            if isinstance(row, SourceRow):
                names_seen.update(dict.fromkeys(row.values))
        return list(names_seen)

    def _name_filled_columns(self) -> None:
        """Name each column that has cells but no name by its position, and add a note.

        The rows are read for this. The next row may be the true header, because a title often has
        fewer cells, so the note also says how to use it.
        """
        header_names = self.names
        made_names = make_column_names(len(header_names))
        self._rename_columns(
            [name or made_name for name, made_name in zip(header_names, made_names, strict=True)]
        )
        blank_names = {name for name in made_names if name not in header_names}
        first_line = 0
        for row in self.read_rows():
            if isinstance(row, SourceRow):
                first_line = first_line or row.line_number
                blank_names -= {name for name in blank_names if stripped_text(row.values.get(name))}

        filled_names = [name for name in self.names if name not in {*header_names, *blank_names}]
        self._rename_columns(["" if name in blank_names else name for name in self.names])
        if filled_names:
            self.notes.append(f"columns without a name are called {', '.join(filled_names)}")
        if filled_names and self._header_line is None:
            self.notes.append(
                f"header: line {first_line - 1}; {OptionHint(header=first_line)} if that is wrong"
            )

    def _rename_columns(self, names: list[str]) -> None:
        """Rename the columns of a CSV file; later rows and findings have the new names."""
        self.names = names
        if self._csv_table is not None:
            self._csv_table.names = names

    def read_rows(self) -> Iterator[SourceRow | Finding]:
        """Yield each row, and a finding for each faulty row, in the order of the file.

        Each call reads the file again, to its end. A sheet is not read again: it is in memory. A
        finding describes why its row is rejected.

        Raises:
            InputError: The file cannot be read, or is damaged so that its next rows are uncertain.
        """
        with self._translate_os_errors():
            if self._parquet_table is not None:
                yield from self._parquet_table.read_rows()
                return
            if self.format == "xlsx":
                yield from self._iterate_sheet_rows()
                return

            with self._text_file.open() as file:
                if self._csv_table is not None:
                    yield from self._csv_table.read_rows(file)
                elif self.format == "json":
                    yield from json_rows.read_json(self._text_file, file)
                else:
                    yield from json_rows.read_json_lines(self._text_file, file)

    def _iterate_sheet_rows(self) -> Iterator[SourceRow | Finding]:
        """Yield the rows of the sheet, which was read when this object was created.

        A row that repeats the header is not yielded as a row: a finding is yielded in its place.
        There are no other findings. Columns without a name, which are blank, are left out.
        """
        for row_number, cells in self._sheet:
            if self._header_line != 0 and repeats_header(cells, self._header_names):
                yield make_rejection(
                    row_number,
                    REPEATED_HEADER_REASON,
                    ", ".join(self.names),
                    cells=name_cells(self.names, self.names),
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

    @property
    def delimiter(self) -> str:
        """Return the character between the cells of CSV; empty for other formats."""
        return self._csv_table.delimiter if self._csv_table is not None else ""

    @property
    def sheet_name(self) -> str:
        """Return the name of the sheet that is read; empty for other formats than .xlsx."""
        return str(self._sheet.sheet.name) if self.format == "xlsx" else ""

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

    def _apply_options(self) -> None:
        """Set the line of the header from the options, and check that the options fit the format.

        Raises:
            InputError: The option `header` is neither a line number nor `none`, or an option is for
                another format: a sheet is for .xlsx only, an encoding for text, a header for CSV
                and .xlsx.
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
            raise self._text_file.make_error(
                reason,
                hint=f"leave out {OptionHint(option_name)}, or {option_name}= in a task's file",
            )

    def _detect_format(self, start: bytes, default: str) -> str:
        """Return the format by the first bytes of the file, or else by its suffix.

        The content overrules the suffix:

        - Parquet and .xlsx are recognized by their first bytes.
        - A text that begins with `[` is JSON.
        - A text that begins with `{` is JSON lines if its first line is a whole object, or if the
          suffix is that of JSON lines and the first line is not just `{`. Else it is JSON.
        - If the suffix or the default is CSV, the two rules for texts apply only if the text begins
          like a JSON object, a list of objects or an empty list: `[a],[b]` could be a header.
        - All other texts have the format of the suffix. A suffix of JSON or Parquet is refused.

        Args:
            start: The first bytes of the file.
            default: The format if the suffix names none.

        Raises:
            InputError: The file is empty, is an .xls or a workbook with a password, is a document,
                image or other binary file. Or the suffix is that of JSON or Parquet, and the
                content is a text that begins with neither `[` nor `{`.
        """
        if start.startswith(_PARQUET_SIGNATURE):
            return "parquet"
        if start.startswith(XLSX_SIGNATURE):
            return "xlsx"
        if start.startswith(LOCKED_SIGNATURE):
            raise self._text_file.make_error(
                " is a spreadsheet with a password, or an old .xls",
                hint="save it as .xlsx without a password",
            )

        is_wide_text = self.encoding.lower().startswith(("utf-16", "utf-32", "utf_16", "utf_32"))
        binary_format = find_binary_format(start, is_wide_text=is_wide_text)
        if binary_format:
            raise self._text_file.make_error(
                f" is {binary_format}, not a table",
                hint="save its table as CSV, .xlsx, JSON lines or Parquet, and name that file",
            )

        text = start.decode(self.encoding, "ignore").strip()
        if not text:
            raise self._text_file.make_error(" is empty")

        suffix_format = _FORMAT_BY_SUFFIX.get(self.path.suffix.lower(), default)
        if text[0] in "[{" and (suffix_format != "csv" or _CERTAIN_JSON_START.match(text)):
            first_line = text.splitlines()[0].strip()
            is_row = isinstance(json_rows.parse_json_row(1, first_line), SourceRow)
            is_faulty_row = suffix_format == "jsonl" and first_line != "{"
            if text[0] == "{" and (is_row or is_faulty_row):
                return "jsonl"
            return "json"

        if suffix_format in {"json", "parquet"}:
            format_name = "JSON" if suffix_format == "json" else "a Parquet file"
            raise self._text_file.make_error(
                f" is not {format_name}: it starts with {make_excerpt(text[:20])!r}",
            )
        return suffix_format
