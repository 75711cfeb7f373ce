"""Read the text of a file line by line, with invalid bytes marked.

Undecodable bytes become the surrogates U+DC00 + byte, so a lone surrogate in a row always means
invalid bytes.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from pipeline.core.errors import InputError

BYTE_ORDER_MARK = "\ufeff"
# The name of this module's error handler for decoding.
_BAD_BYTES_HANDLER = "findable-keep-bad-bytes"
_BAD_BYTE_OFFSET = 0xDC00


@dataclass(frozen=True)
class TextFile:
    """A text file whose encoding is known."""

    path: Path
    # Python's codec of the text.
    encoding: str
    # The characters that end a line: a line feed, or a carriage return.
    line_end: str
    # Characters from which a row is too long.
    max_line_chars: int
    # The hint of errors: which files are accepted.
    file_hint: str

    def open(self) -> TextIO:
        """Open the file for reading; the caller closes it."""
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

    def make_error(self, reason: str, *, hint: str = "") -> InputError:
        """Return the error for this file; the reason follows its path immediately."""
        return InputError(f"{self.path}{reason}; nothing was read", hint=hint or self.file_hint)


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
