r"""Which encoding a file of people is in, and its physical lines as text that remembers every bad byte.

Bytes that do not decode become the surrogates U+DC00 + byte, one for each, so that one bad record is found and named
while the rest of the file is read. A lone surrogate in the text therefore always means bad bytes.
"""

import codecs
import re
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO

BAD = "findable-keep-bad-bytes"  # the name of our error handler for decoding
MAX_LINE = 4 << 20  # characters; a biography is far below, and a file without line ends must not fill the memory
ENOUGH = 10_000  # characters beyond ASCII after which the encoding is settled

_MARKS = (  # the longer marks first: that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
# What stands in Western European text in Windows-1252: letters, quotation marks, dashes, a few signs. Not 0xFF, which
# is rare as a letter and common in broken files.
_LATIN = re.compile(rb"[\x80\x82\x84\x85\x8a\x8c\x8e\x91-\x97\x99\x9a\x9c\x9e-\xa1\xa3\xa7\xa9-\xab\xae\xb0\xb4\xb7"
                    rb"\xba-\xbd\xbf-\xd6\xd8-\xf6\xf8-\xfe]")  # fmt: skip
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")


def _keep_bad_bytes(error: UnicodeError) -> tuple[str, int]:
    """Return one surrogate for each byte that did not decode, and where decoding goes on."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in bad), error.end


codecs.register_error(BAD, _keep_bad_bytes)


@dataclass(frozen=True)
class Encoding:
    r"""How a file's bytes are text: Python's codec, the sign that ends a line (`\n`, or `\r` where there is no other).

    `note` says what a person should know, and is empty for plain UTF-8.
    """

    codec: str
    line_end: str
    note: str = ""

    def open(self, path: Path) -> TextIO:
        """Open a file as text in which bad bytes are surrogates and no line end is translated."""
        return path.open(encoding=self.codec, errors=BAD, newline=self.line_end)


@dataclass(frozen=True)
class Line:
    """One physical line with its line end; `number` is from 1. `is_whole` is false where it was too long to keep."""

    number: int
    text: str
    is_whole: bool = True


def detect(path: Path) -> Encoding:
    """Return a file's encoding: a byte order mark says it, else UTF-8, and Windows-1252 only when that does not fit.

    It does not fit when, of the characters beyond ASCII, more are plausible Western letters than valid UTF-8.
    """
    with path.open("rb") as file:
        start = file.read(4)
        marked = next((codec for mark, codec in _MARKS if start.startswith(mark)), None)
        file.seek(0)
        codec = marked or ("utf-8" if _is_utf8(file) else "cp1252")
    note = ""
    if codec == "cp1252":
        note = "read as Latin-1 (Windows-1252): most of its characters beyond ASCII are not valid UTF-8"
    elif marked and codec != "utf-8-sig":
        note = f"read as {codec.upper()}, which its byte order mark says"
    return Encoding(codec, _line_end(path, codec=codec), note)


def _line_end(path: Path, *, codec: str) -> str:
    r"""Return what ends the first line that is not blank: `\r` where no `\n` follows it, else `\n`."""
    with path.open(encoding=codec, errors=BAD, newline="") as file:
        text = file.read(1 << 16).lstrip()
    first = re.search("\r\n|\r|\n", text)
    return "\r" if first is not None and first[0] == "\r" and len(text) > first.end() else "\n"


def _is_utf8(file: BinaryIO) -> bool:
    """Return whether the first characters beyond ASCII speak for UTF-8; true where there are none."""
    valid = latin = odd = 0
    while valid + latin + odd < ENOUGH and (piece := file.readline(1 << 20)):
        if piece.isascii():
            continue
        rest, count = _UTF8.subn(b"", piece)
        valid += count
        beyond, plausible = len(_BEYOND_ASCII.findall(rest)), len(_LATIN.findall(rest))
        latin += plausible
        odd += beyond - plausible
    return latin <= valid + odd


class Lines:
    """The physical lines of a file, with a way back: what was looked at can be put before what comes next."""

    def __init__(self, lines: Iterator[Line]) -> None:
        """Read from an iterator of lines."""
        self._lines = lines
        self._ahead: deque[Line] = deque()

    def take(self) -> Line | None:
        """Return the next line, or None at the end."""
        return self._ahead.popleft() if self._ahead else next(self._lines, None)

    def put_back(self, lines: Sequence[Line]) -> None:
        """Have these lines come next, in this order."""
        self._ahead.extendleft(reversed(lines))


def physical_lines(file: TextIO, *, line_end: str) -> Iterator[Line]:
    """Yield the lines of a file; of one longer than `MAX_LINE` only the beginning, marked as not whole."""
    number = 0
    while text := file.readline(MAX_LINE):
        number += 1
        is_whole = text.endswith(line_end) or len(text) < MAX_LINE
        rest = text
        while not is_whole and rest and not rest.endswith(line_end):
            rest = file.readline(MAX_LINE)
        # a file of bare carriage returns may hold a few pairs; their second half is no part of the next line
        yield Line(number, text.removeprefix("\n") if line_end == "\r" else text, is_whole=is_whole)
