"""Read a file as text: its encoding, and its physical lines.

Bytes that do not decode become the surrogates U+DC00 + byte, so that one bad row is found and named while the rest of
the file is read. A lone surrogate in a line therefore always means bad bytes.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import NamedTuple, TextIO

MAX_LINE = 4 << 20  # characters of a line, or of a value; a file without line ends must not fill the memory
BAD = "findable-keep-bad-bytes"  # the name of our error handler for decoding
BAD_TEXT = re.compile("[\ud800-\udfff]")  # what no text holds: bytes that did not decode, or half a character
ENOUGH = 256 << 10  # bytes of lines that are not UTF-8, after which the encoding is settled

_MARKS = (  # the longer marks first: that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_WESTERN = "cp1252"
_NOT_WESTERN = b"\x81\x8d\x8f\x90\x9d"  # bytes that it has no character for
# what spreadsheets write beside Unicode
_CANDIDATES = [_WESTERN, "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r", "cp932",
               "cp949", "gb18030", "big5"]  # fmt: skip
_NEARLY = 0.8  # of the best one's likeness to a language, from which on Western European is taken


def _keep_bad_bytes(error: UnicodeError) -> tuple[str, int]:
    """Return one surrogate for each byte that did not decode, and where decoding goes on."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    bad = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in bad), error.end


codecs.register_error(BAD, _keep_bad_bytes)


class TextLine(NamedTuple):
    """One physical line with its line end; `number` is from 1. `is_whole` is false where it was too long to keep."""

    number: int
    text: str
    is_whole: bool = True


@dataclass(frozen=True)
class Encoding:
    r"""How a file's bytes are text: Python's codec, the sign that ends a line (`\n`, or `\r` where there is no other).

    `note` says what a user should know, and is empty for plain UTF-8.
    """

    codec: str
    line_end: str
    note: str = ""

    def open(self, path: Path) -> TextIO:
        """Open a file as text in which bad bytes are surrogates and no line end is translated."""
        return path.open(encoding=self.codec, errors=BAD, newline=self.line_end)

    def lines(self, file: TextIO, *, max_line: int) -> Iterator[TextLine]:
        """Yield the lines of a file that was opened so; of one longer than `max_line` only the beginning."""
        for number in count(1):
            text = rest = file.readline(max_line)
            if not text:
                return
            while len(rest) == max_line and not rest.endswith(self.line_end):
                rest = file.readline(max_line)
            # a file of bare carriage returns may hold a few pairs; their second half is no part of the next line
            yield TextLine(number, text.removeprefix("\n") if self.line_end == "\r" else text, rest is text)


def detect(path: Path, *, guesses: bool) -> Encoding:
    """Return a file's encoding: that of its byte order mark, else UTF-8; with `guesses`, what most lines need."""
    with path.open("rb") as file:
        start = file.read(1 << 12)
    codec, note = next((codec for mark, codec in _MARKS if start.startswith(mark)), "utf-8"), ""
    if codec.startswith(("utf-16", "utf-32")):
        note = f"read as {codec.upper()}, which its byte order mark says"
    elif codec == "utf-8" and guesses and b"\0" not in start and (guessed := _guess(path)):
        codec, name = guessed, f"{guessed} (Windows-1252, Latin-1)" if guessed == _WESTERN else guessed
        note = f"read as {name}: most of its lines beyond ASCII are not valid UTF-8"
    return Encoding(codec, _line_end(path, codec=codec), note)


def _guess(path: Path) -> str | None:
    """Return the encoding of a file most of whose lines beyond ASCII are not UTF-8; None where they are."""
    bad: list[bytes] = []
    good = size = 0
    decoder = codecs.getincrementaldecoder("utf-8")()  # a piece of a long line may end within a character
    with path.open("rb") as file:
        while size < ENOUGH and (line := file.readline(ENOUGH)):
            if line.isascii():
                continue
            try:
                decoder.decode(line)
                good += 1
            except UnicodeDecodeError:
                decoder.reset()
                bad.append(line)
                size += len(line)
    return _most_likely(b"".join(bad)) if len(bad) > good else None


def _most_likely(sample: bytes) -> str | None:
    """Return the encoding that the detector finds most likely, Western European where that is one; None for none."""
    from charset_normalizer import from_bytes

    found = from_bytes(sample.translate(None, _NOT_WESTERN), cp_isolation=_CANDIDATES)
    for match in found:
        is_nearly = match.chaos <= found[0].chaos and match.coherence >= _NEARLY * found[0].coherence
        if is_nearly and _WESTERN in match.could_be_from_charset:
            return _WESTERN
    best = from_bytes(sample, cp_isolation=_CANDIDATES).best()
    return best.encoding if best is not None else None


def _line_end(path: Path, *, codec: str) -> str:
    r"""Return what ends the first line that is not blank: `\r` where no `\n` follows it, else `\n`."""
    with path.open(encoding=codec, errors=BAD, newline="") as file:
        text = file.read(1 << 16).lstrip()
    first = re.search("\r\n|\r|\n", text)
    return "\r" if first is not None and first[0] == "\r" and len(text) > first.end() else "\n"
