"""Read the rows of a CSV, JSON, JSON lines, .xlsx or Parquet file by the names in the file.

Text files and Parquet are read with constant memory. A folder of Parquet files is read as one
table. A faulty row becomes a finding with its line, and the next rows are read.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pipeline.core import files
from pipeline.core.command_hint import OptionHint
from pipeline.core.declaration import DEFAULT_READ_OPTIONS, ReadOptions
from pipeline.core.errors import InputError
from pipeline.tables.csv_table import CsvTable
from pipeline.tables.encodings import TextEncoding, check_encoding, find_encoding
from pipeline.tables.headers import parse_header
from pipeline.tables.input_file import InputFile, Table, find_line_end
from pipeline.tables.json_rows import JsonLinesTable, JsonTable, parse_json_row
from pipeline.tables.parquet_table import ParquetTable
from pipeline.tables.row_findings import Finding, SourceRow, make_excerpt
from pipeline.tables.workbook import SheetTable

# Characters of a line, or of an element of a JSON list. A file without line ends must not fill the
# memory.
MAX_LINE_CHARS = 4 << 20
# Bytes by which the encoding and the format are detected.
_START_BYTES = 1 << 20
_FORMAT_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}
_TABLE_BY_FORMAT: Mapping[str, Callable[[InputFile], Table]] = {
    "csv": CsvTable,
    "json": JsonTable,
    "jsonl": JsonLinesTable,
    "parquet": ParquetTable,
    "xlsx": SheetTable,
}
# The formats that an option is for, and what other formats lack.
_FORMATS_BY_OPTION = {
    "sheet": ({"xlsx"}, "sheets"),
    "encoding": ({"csv", "json", "jsonl"}, "encoding"),
    "header": ({"csv", "xlsx"}, "header line"),
}
# The beginning of JSON that cannot be the header of a table.
_CERTAIN_JSON_START = re.compile(r'\[\s*[{\]]|\{\s*["}]')
_FORMAT_BY_SIGNATURE = {b"PAR1": "parquet", b"PK\x03\x04": "xlsx"}
# The first bytes of a workbook with a password, and of an old .xls file.
_LOCKED_SIGNATURE = b"\xd0\xcf\x11\xe0"
_SQLITE_FORMAT = "an SQLite database"
# The first bytes of formats that are not read, with the name of the format.
_OTHER_FORMAT_BY_SIGNATURE: Mapping[bytes, str] = {
    b"%PDF-": "a PDF document",
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF87a": "a GIF image",
    b"GIF89a": "a GIF image",
    b"II*\x00": "a TIFF image",
    b"MM\x00*": "a TIFF image",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ\x00": "an xz archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!\x1a\x07": "a RAR archive",
    b"PK\x05\x06": "an empty zip archive",
    b"SQLite format 3\x00": _SQLITE_FORMAT,
    b"{\\rtf": "an RTF document",
    b"\x7fELF": "a program",
}
# A WebP image is a RIFF file with this name behind its size.
_WEBP_START = re.compile(rb"RIFF.{4}WEBP", re.DOTALL)
# Bytes that are checked for control characters.
_CHECKED_BYTES = 4_096
# Text has hardly any of these: control characters except tab, line ends, form feed and escape.
_CONTROL_BYTES = bytes({*range(32)} - {9, 10, 11, 12, 13, 27})
# More than this share of control characters is no text. A text with some damaged rows has fewer.
_MAX_CONTROL_SHARE = 0.1


class SourceFile:
    """A file with rows, whose format, encoding and columns are detected when it is created.

    Attributes:
        format: "csv", "json", "jsonl", "xlsx" or "parquet".
        encoding: Python's codec of the text.
        names: The names of the columns, see `Table`.
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
        self.options = options
        parts = files.list_parquet_files(path)
        if not parts:
            files.check_no_address(path, "nothing was read")
            reason = files.unreadable_reason(path) or "is not a regular file"
            raise InputError(
                f"{path} {reason}; nothing was read",
                hint=hint if path.is_dir() else "check the path",
            )

        with self._translate_os_errors():
            with parts[0].open("rb") as start_file:
                start = start_file.read(_START_BYTES)
            # The user's encoding is ignored for Parquet, .xlsx and locked spreadsheets.
            is_binary = start.startswith((*_FORMAT_BY_SIGNATURE, _LOCKED_SIGNATURE))
            if options.encoding and not is_binary:
                encoding = TextEncoding(check_encoding(parts[0], options.encoding))
            else:
                encoding = find_encoding(parts[0], start)
            self.encoding = encoding.codec
            file = InputFile(
                path=path,
                parts=parts,
                encoding=encoding.codec,
                line_end=find_line_end(start.decode(encoding.codec, "ignore").lstrip()),
                max_line_chars=max_line_chars,
                hint=hint,
                sheet=options.sheet,
                header_line=parse_header(options.header),
                is_known_column=is_known_column,
            )
            self.format = _detect_format(file, start, default_format)
            _check_options(file, self.format, options)
            self._table = _TABLE_BY_FORMAT[self.format](file)

        self.names = self._table.names
        self.notes = list(self._table.notes)
        if encoding.note and self.format not in _FORMAT_BY_SIGNATURE.values():
            self.notes.insert(0, encoding.note)

    def read_rows(self) -> Iterator[SourceRow | Finding]:
        """Yield each row, and a finding for each faulty row, in the order of the file.

        Each call reads the file again, to its end. A sheet is not read again: it is in memory. A
        finding describes why its row is rejected.

        Raises:
            InputError: The file cannot be read, or is damaged so that its next rows are uncertain.
        """
        with self._translate_os_errors():
            yield from self._table.read_rows()

    @contextlib.contextmanager
    def _translate_os_errors(self) -> Iterator[None]:
        """Raise an OSError of the block as InputError that names the file."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"{self.path} cannot be read: {error.strerror}; nothing was read",
            ) from None


def _check_options(file: InputFile, file_format: str, options: ReadOptions) -> None:
    """Raise InputError if an option that a user set is for other formats."""
    for option_name in options.given_options:
        formats, noun = _FORMATS_BY_OPTION[option_name]
        if file_format not in formats:
            raise file.make_error(
                f" is read as {file_format}, which has no {noun}",
                hint=f"leave out {OptionHint(option_name)}, or {option_name}= in a task's file",
            )


def _detect_format(file: InputFile, start: bytes, default: str) -> str:
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
        file: The file.
        start: The first bytes of the file.
        default: The format if the suffix names none.

    Raises:
        InputError: The file is empty, is an .xls or a workbook with a password, is a document,
            image or other binary file. Or the suffix is that of JSON or Parquet, and the content is
            a text that begins with neither `[` nor `{`.
    """
    for signature, name in _FORMAT_BY_SIGNATURE.items():
        if start.startswith(signature):
            return name
    if start.startswith(_LOCKED_SIGNATURE):
        raise file.make_error(
            " is a spreadsheet with a password, or an old .xls",
            hint="save it as .xlsx without a password",
        )

    is_wide_text = file.encoding.lower().startswith(("utf-16", "utf-32", "utf_16", "utf_32"))
    binary_format = _find_binary_format(start, is_wide_text=is_wide_text)
    if binary_format:
        hint = "save its table as CSV, .xlsx, JSON lines or Parquet, and name that file"
        if binary_format == _SQLITE_FORMAT:
            hint = f"read it with a SELECT and {OptionHint(source='sqlite:///…')}"
        raise file.make_error(f" is {binary_format}, not a table", hint=hint)

    text = start.decode(file.encoding, "ignore").strip()
    if not text:
        raise file.make_error(" is empty")

    suffix_format = _FORMAT_BY_SUFFIX.get(file.path.suffix.lower(), default)
    if text[0] in "[{" and (suffix_format != "csv" or _CERTAIN_JSON_START.match(text)):
        first_line = text.splitlines()[0].strip()
        is_row = isinstance(parse_json_row(1, first_line), SourceRow)
        is_faulty_row = suffix_format == "jsonl" and first_line != "{"
        if text[0] == "{" and (is_row or is_faulty_row):
            return "jsonl"
        return "json"

    if suffix_format in {"json", "parquet"}:
        format_name = "JSON" if suffix_format == "json" else "a Parquet file"
        raise file.make_error(
            f" is not {format_name}: it starts with {make_excerpt(text[:20])!r}",
        )
    return suffix_format


def _find_binary_format(start: bytes, *, is_wide_text: bool) -> str:
    """Return the format of a file that is not text, such as "a WebP image"; "" for text.

    The format follows from the file's first bytes. A file in no known format is "a binary file" if
    it has many control characters, else text. Parquet and spreadsheets are not among the known
    formats: callers recognize them before.

    Args:
        start: The first bytes of the file.
        is_wide_text: The text is UTF-16 or UTF-32, in which NUL bytes are normal.
    """
    for signature, name in _OTHER_FORMAT_BY_SIGNATURE.items():
        if start.startswith(signature):
            return name
    if _WEBP_START.match(start):
        return "a WebP image"
    if is_wide_text:
        return ""

    checked = start[:_CHECKED_BYTES]
    control_count = len(checked) - len(checked.translate(None, _CONTROL_BYTES))
    if control_count > _MAX_CONTROL_SHARE * len(checked):
        return "a binary file"
    return ""
