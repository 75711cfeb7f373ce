"""An opened file with rows: its path, encoding, limits and options; and its table.

Undecodable bytes become the surrogates U+DC00 + byte, so a lone surrogate in a row always means
invalid bytes.
"""

import codecs
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from pipeline.core.errors import InputError
from pipeline.tables.row_findings import Finding, SourceRow

BYTE_ORDER_MARK = "\ufeff"
# The name of this module's error handler for decoding.
_BAD_BYTES_HANDLER = "findable-keep-bad-bytes"
_BAD_BYTE_OFFSET = 0xDC00


@dataclass(frozen=True, kw_only=True)
class InputFile:
    """A file whose encoding is known, and how to read it."""

    path: Path
    # The Parquet files if the path is a folder of them, else the file itself.
    parts: Sequence[Path]
    # Python's codec of the text.
    encoding: str
    # The characters that end a line: a line feed, or a carriage return.
    line_end: str
    # Characters from which a row is too long.
    max_line_chars: int
    # The hint of errors: which files are accepted.
    hint: str
    # The name of the sheet that a user set; may be empty.
    sheet: str
    # The line of the header, from 1, or 0 without a header; None if it is to be found.
    header_line: int | None
    # Returns whether a name is a known column, which proves that a record is the header. None if
    # there are no known columns.
    is_known_column: Callable[[str], bool] | None

    def open(self) -> TextIO:
        """Open the file as text for reading; the caller closes it."""
        return self.path.open(
            encoding=self.encoding,
            errors=_BAD_BYTES_HANDLER,
            newline=self.line_end,
        )

    def read_lines(self, file: TextIO) -> Iterator[str]:
        """Yield each line of a file with its line end; the rest of an over-long line is skipped.

        A byte order mark at the beginning of a line is left out, as in files that were joined.
        """
        while text := file.readline(self.max_line_chars):
            chunk = text
            while len(chunk) == self.max_line_chars and not chunk.endswith(self.line_end):
                chunk = file.readline(self.max_line_chars)
            yield text.removeprefix(BYTE_ORDER_MARK)

    def has_known_column(self, names: Sequence[str]) -> bool:
        """Return whether one of the names is a known column."""
        return self.is_known_column is not None and any(map(self.is_known_column, names))

    def make_error(self, reason: str, *, hint: str = "") -> InputError:
        """Return the error for this file; the reason follows its path immediately."""
        return InputError(f"{self.path}{reason}; nothing was read", hint=hint or self.hint)


class Table(Protocol):
    """The table in a file; its columns are found when it is created.

    Attributes:
        names: The names of the columns. A column without a name is called `column_4` by its
            position, or has an empty name if all its cells are blank. For JSON they are the names
            in the first rows.
        notes: Notes for users about the table.
    """

    names: list[str]
    notes: list[str]

    def read_rows(self) -> Iterator[SourceRow | Finding]:
        """Yield each row, and a finding for each faulty row, in the order of the file."""


def find_line_end(text: str) -> str:
    r"""Return the line end of a text: "\r" if the first line ends with that alone, else "\n"."""
    line_end = re.search("\r\n?|\n", text)
    return "\r" if line_end is not None and line_end[0] == "\r" else "\n"


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
