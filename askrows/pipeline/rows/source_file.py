"""A file with rows: its format and encoding, which are detected, its text and its errors.

`askrows.pipeline.rows.source` reads its columns and its rows. Undecodable bytes become the
surrogates U+DC80 to U+DCFF, so a lone surrogate in a row means invalid bytes.
"""

import contextlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, TextIO

from askrows.pipeline.core import files
from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.declaration import DEFAULT_READ_OPTIONS, ReadOptions
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.setting_parsers import MAX_NUMBER
from askrows.pipeline.core.text import SURROGATES
from askrows.pipeline.rows.answer_views import EXPORT_COLUMNS
from askrows.pipeline.rows.encodings import detect_codec_and_note, resolve_codec_name
from askrows.pipeline.rows.row_findings import MAX_ROW_CHARS, ReadRow, make_excerpt

# The value of HEADER= for a table without a header.
NO_HEADER = "none"
# The known columns of a file whose columns may have any names.
NO_COLUMNS = frozenset[str]()
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
_BYTE_ORDER_MARK = "\ufeff"
# The formats that an option is for, and what other formats lack.
_FORMATS_BY_OPTION = {
    "sheet": ({"xlsx"}, "sheets"),
    "encoding": ({"csv", "json", "jsonl"}, "encoding"),
    "header": ({"csv", "xlsx"}, "header line"),
}
# The beginning of a JSON object, of a list of objects, or of an empty list. Other texts may be the
# header of a table.
_JSON_START = re.compile(r'\[\s*[{\]]|\{\s*["}]')
# A first line that may be a whole object: JSON lines.
_WHOLE_OBJECT = re.compile(r"\{.*\}\s*$", re.MULTILINE)
# A first line that ends with a carriage return alone.
_OLD_LINE_END = re.compile(r"[^\r\n]*\r(?!\n)")
_FORMAT_BY_SIGNATURE = {b"PAR1": "parquet", b"PK\x03\x04": "xlsx"}
# Patterns of the first bytes of archives, the names of the formats, and commands that unpack them.
# A workbook is a zip archive, too.
_ARCHIVE_BY_PATTERN = {
    rb"\x1f\x8b": ("a gzip archive", "gunzip <"),
    rb"BZh[1-9]1AY&SY": ("a bzip2 archive", "bunzip2 <"),
    rb"\xfd7zXZ\x00": ("an xz archive", "unxz <"),
    rb"\x28\xb5\x2f\xfd": ("a zstd archive", "unzstd <"),
    rb"7z\xbc\xaf\x27\x1c": ("a 7z archive", "7z x -so"),
    rb"Rar!\x1a\x07": ("a RAR archive", "unrar p -inul"),
    rb"PK\x03\x04.{26}(?!.*(?:xl/|\[Content_Types\]|mimetype))": ("a zip archive", "unzip -p"),
}
# The first bytes of an old .xls file or a workbook with a password, a PDF and an RTF document.
_DOCUMENT_SIGNATURES = (b"\xd0\xcf\x11\xe0", b"%PDF-", b"{\\rtf")
# The beginning of a page or document in HTML or XML, which programs also save as .xls or .csv.
_MARKUP_START = re.compile(r"<(?:!doctype|\?xml|html|head|body|table)\b", re.IGNORECASE)
# Characters that are checked for control characters.
_CHECKED_CHARS = 4_096
# Text has hardly any of these: control characters except tab, line ends, form feed and escape.
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0e-\x1a\x1c-\x1f]")
# More than this number and this share of control characters is no text. A text with some damaged
# rows has fewer; a tenth of compressed data are control characters.
_MAX_CONTROL_COUNT = 8
_MAX_CONTROL_SHARE = 0.05


class SourceTable(NamedTuple):
    """The columns and the rows of a file, as the function that opens its format returns them."""

    names: Sequence[str]
    read_rows: Callable[[], Iterator[ReadRow]]


class SourceFile:
    """A file with rows, or a folder of Parquet files.

    Attributes:
        format: "csv", "json", "jsonl", "xlsx" or "parquet".
        encoding: Python's codec of the text.
        notes: Notes for users about the whole file.
        parts: The Parquet files if the path is a folder of them, else the file itself.
        line_end: The characters that end a line: a line feed, or a carriage return.
        header_line: The line of the header, from 1, or 0 without a header; None if it is to be
            found.
        first_line: The line from which a table with a header is read.
        key_columns: The columns of the key, set by the caller. A column that is the whole key is
            not filled where it has merged cells.
    """

    def __init__(
        self,
        path: Path,
        hint: str,
        *,
        options: ReadOptions = DEFAULT_READ_OPTIONS,
        is_known_column: Callable[[str], bool] = NO_COLUMNS.__contains__,
        export_columns: Sequence[Collection[str]] = EXPORT_COLUMNS,
    ) -> None:
        """Detect the format, the encoding and the line end of a file, and check the options.

        Args:
            path: The file, or a folder of Parquet files.
            hint: The hint of errors: which files are accepted.
            options: Encoding, sheet and header that a user set.
            is_known_column: Returns whether a name is a known column. The delimiter that gives most
                known names is chosen, and a first row with a known name is accepted as the header.
            export_columns: Columns of exports, see `EXPORT_COLUMNS`. In CSV with these columns, the
                apostrophe that an export puts before a formula is removed.

        Raises:
            InputError: The file cannot be read, is not in a supported format, or an option does not
                fit it.
        """
        self.path = path
        self.options = options
        self.is_known_column = is_known_column
        self.export_columns = export_columns
        self.notes = list[str]()
        self.key_columns: Sequence[str] = ()
        self._hint = hint
        self.parts = files.list_parquet_files(path)
        if not self.parts:
            files.check_path_is_no_address(path, "nothing was read")
            reason = files.unreadable_reason(path) or "is not a regular file"
            raise self.make_error(f" {reason}", hint=files.make_path_hint(path))

        with self.translate_errors(OSError, UnicodeError):
            with self.parts[0].open("rb") as start_file:
                start = start_file.read(_START_BYTES)
            self._refuse_if_archive(start)
            # The user's encoding is ignored for Parquet, .xlsx and documents.
            is_text = not start.startswith((*_FORMAT_BY_SIGNATURE, *_DOCUMENT_SIGNATURES))
            self.encoding = "utf-8"
            if is_text and options.encoding:
                self.encoding = resolve_codec_name(options.encoding)
            elif is_text:
                self.encoding, note = detect_codec_and_note(self.parts[0], start)
                self.notes += filter(None, [note])

        start_text = start.decode(self.encoding, "ignore").strip()
        self.line_end = "\n"
        if _OLD_LINE_END.match(start_text):
            self.line_end = "\r"
        self.header_line = _parse_header_line(options.header)
        self.first_line = self.header_line or 1
        self.format = self._detect_format(start, start_text)
        for option_name in options.given_options:
            formats, noun = _FORMATS_BY_OPTION[option_name]
            if self.format not in formats:
                raise self.make_error(
                    f" is read as {self.format}, which has no {noun}",
                    hint=f"leave out {OptionHint(option_name)}, or {option_name}= in a task's file",
                )

    def _refuse_if_archive(self, start: bytes) -> None:
        """Raise InputError if a file begins like an archive; the hint unpacks it."""
        for pattern, (noun, command) in _ARCHIVE_BY_PATTERN.items():
            if re.match(pattern, start, re.DOTALL):
                raise self.make_error(
                    f" is {noun}",
                    hint=f"unpack it first, for example with `{command} {self.path} > table.csv`",
                )

    def open(self) -> TextIO:
        """Open the file as text for reading; the caller closes it."""
        return self.path.open(
            encoding=self.encoding,
            errors="surrogateescape",
            newline=self.line_end,
        )

    def read_lines(self, file: TextIO) -> Iterator[str]:
        """Yield each line of a file with its line end.

        A byte order mark at the beginning of a line is left out, as in files that were joined.

        Raises:
            InputError: A line is too long, or has bytes that the encoding of a user does not allow.
        """
        lines = iter(partial(file.readline, MAX_ROW_CHARS), "")
        for line_number, text in enumerate(lines, start=1):
            if len(text) == MAX_ROW_CHARS:
                raise self.make_length_error(line_number)
            if self.options.encoding and SURROGATES.search(text):
                raise self.make_error(
                    f", line {line_number}: a byte is not valid {self.options.encoding}",
                    hint=f"set {OptionHint('encoding')} to the file's encoding, or leave it out",
                )
            yield text.removeprefix(_BYTE_ORDER_MARK)

    def make_length_error(self, line_number: int) -> InputError:
        """Return the error that a row is too long, so that the next rows are uncertain."""
        return self.make_error(
            f", line {line_number}: longer than {MAX_ROW_CHARS:,} characters",
            hint="end each row with a line break, or shorten the row",
        )

    def make_error(self, reason: str, *, hint: str = "") -> InputError:
        """Return the error for this file; the reason follows its path immediately."""
        return InputError(f"{self.path}{reason}; nothing was read", hint=hint or self._hint)

    @contextlib.contextmanager
    def translate_errors(self, *error_classes: type[Exception], noun: str = "") -> Iterator[None]:
        """Raise an error of the block as InputError for the file.

        Args:
            error_classes: The classes of errors that a damaged or unreadable file causes.
            noun: The format in the message, such as "Parquet"; empty without a format.

        Raises:
            InputError: The block raised one of these errors.
        """
        try:
            yield
        except error_classes as error:
            reason = make_excerpt(str(getattr(error, "strerror", None) or error))
            as_format = f" as {noun}" if noun else ""
            hint = "check the file, or save it again as CSV"
            raise self.make_error(f" cannot be read{as_format}: {reason}", hint=hint) from None

    def _detect_format(self, start: bytes, text: str) -> str:
        """Return the format by the first bytes of the file, or else by its suffix.

        The content overrules the suffix:

        - Parquet and .xlsx are recognized by their first bytes.
        - A text that begins like a JSON object, a list of objects or an empty list is JSON:
          `[a],[b]` could be a header. A text that begins with `{` is JSON lines if its first line
          ends with `}`, or by its suffix. Else it is refused.
        - All other texts have the format of the suffix, or are CSV. A suffix of JSON or Parquet is
          refused.

        Args:
            start: The first bytes of the file.
            text: Their text, without surrounding white space.

        Raises:
            InputError: The file is empty, is a document, image or other binary file, or is a JSON
                object on several lines. Or the suffix is that of JSON or Parquet, and the content
                is another text.
        """
        for signature, name in _FORMAT_BY_SIGNATURE.items():
            if start.startswith(signature):
                return name
        checked = text[:_CHECKED_CHARS]
        control_count = len(_CONTROLS.findall(checked))
        is_binary = control_count > max(_MAX_CONTROL_COUNT, _MAX_CONTROL_SHARE * len(checked))
        is_document = start.startswith(_DOCUMENT_SIGNATURES) or _MARKUP_START.match(text)
        if is_binary or is_document:
            raise self.make_error(
                " is a binary file or a document, not a table",
                hint=(
                    "save a table as CSV, .xlsx without a password, JSON lines or Parquet; "
                    f"read a database with a SELECT and {OptionHint(source='sqlite:///…')}"
                ),
            )
        if not text:
            raise self.make_error(" is empty")

        suffix_format = _FORMAT_BY_SUFFIX.get(self.path.suffix.lower(), "csv")
        if _JSON_START.match(text):
            if text[0] == "[":
                return "json"
            if suffix_format == "jsonl" or _WHOLE_OBJECT.match(text):
                return "jsonl"
            raise self.make_error(
                " is a JSON object, not a list of objects",
                hint="save only the list with the rows, which is often a member of the object, or "
                "write each row on a line of its own",
            )
        if suffix_format in {"json", "parquet"}:
            raise self.make_error(
                f" is named {self.path.suffix}, but starts with {make_excerpt(text[:20])!r}",
            )
        return suffix_format


def _parse_header_line(header: int | str) -> int | None:
    """Return the line number of the setting `HEADER=`.

    Returns:
        The line from 1; 0 if the table has no header; None if the setting is empty.

    Raises:
        InputError: It is neither a line from 1 to MAX_NUMBER nor `none`.
    """
    text = str(header).strip().casefold()
    if not text:
        return None
    if text == NO_HEADER:
        return 0
    # An integer of too many digits cannot be parsed, but a float can.
    if not (text.isdecimal() and 1 <= float(text) <= MAX_NUMBER):
        raise InputError(
            f"{OptionHint('header')} is {make_excerpt(str(header))!r}, not a line number from 1 to "
            f"{MAX_NUMBER:,}; nothing was read",
            hint=(
                f"set {OptionHint(header=3)} for a header on line 3, "
                f"or {OptionHint(header=NO_HEADER)} for a file without a header"
            ),
        )
    return int(text)
