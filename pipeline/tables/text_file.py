"""Read a file as text: its encoding, and its physical lines.

Bytes that do not decode become the surrogates U+DC00 + byte, so that one bad row is found and named while the rest of
the file is read. A lone surrogate in a line therefore always means bad bytes.
"""

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from typing import NamedTuple, TextIO

from pipeline.core.text import BAD_TEXT

MAX_LINE = 4 << 20  # characters of a line, or of a value; a file without line ends must not fill the memory
_BAD = "findable-keep-bad-bytes"  # the name of our error handler for decoding
_PIECE = 1 << 16  # bytes of a file's beginning, or characters of a line's, that tell how it is text
_LOOKED_AT = 1000  # lines beyond ASCII that tell it
_MARKS = {  # the longer marks first: that of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_WESTERN = "cp1252"
_NOT_WESTERN = b"\x81\x8d\x8f\x90\x9d"  # bytes that it has no character for
# what spreadsheets write beside Unicode
_CANDIDATES = [_WESTERN, "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "koi8_r", "cp932",
               "cp949", "gb18030", "big5"]  # fmt: skip


def _keep_bad_bytes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "".join(chr(0xDC00 + byte) for byte in error.object[error.start : error.end]), error.end


codecs.register_error(_BAD, _keep_bad_bytes)


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
    note: str

    def open(self, path: Path) -> TextIO:
        """Open a file as text in which bad bytes are surrogates and no line end is translated."""
        return path.open(encoding=self.codec, errors=_BAD, newline=self.line_end)

    def lines(self, file: TextIO, *, max_line: int) -> Iterator[TextLine]:
        """Yield the lines of a file that was opened so; of one longer than `max_line` only the beginning."""
        for number in count(1):
            text = rest = file.readline(max_line)
            if not text:
                return
            while len(rest) == max_line and not rest.endswith(self.line_end):
                rest = file.readline(max_line)
            yield TextLine(number, text, rest is text)


def detect(path: Path) -> Encoding:
    """Return a file's encoding: that of its byte order mark, else UTF-8, as of all JSON, or what most lines need."""
    with path.open("rb") as file:
        start = file.read(_PIECE)
    codec, note = next((codec for mark, codec in _MARKS.items() if start.startswith(mark)), "utf-8"), ""
    end = re.search("\r\n?|\n", start.decode(codec, "ignore").lstrip())
    line_end = "\r" if end is not None and end[0] == "\r" else "\n"
    if codec.startswith(("utf-16", "utf-32")):
        note = f"read as {codec.upper()}, which its byte order mark says"
    elif (
        codec == "utf-8"
        and b"\0" not in start
        and start.lstrip()[:1] not in b"[{"
        and (guessed := _guess(path, line_end))
    ):
        codec, name = guessed, f"{guessed} (Windows-1252, Latin-1)" if guessed == _WESTERN else guessed
        note = f"read as {name}: most of its lines beyond ASCII are not valid UTF-8"
    return Encoding(codec, line_end, note)


def _guess(path: Path, line_end: str) -> str | None:
    """Return the encoding that the detector finds, Western European where that fits as well as another one.

    None where most lines beyond ASCII are UTF-8, and where none fits.
    """
    with path.open(encoding="utf-8", errors="surrogateescape", newline=line_end) as file:
        texts = (text for text in iter(partial(file.readline, _PIECE), "") if not text.isascii())
        looked_at = list(islice(texts, _LOOKED_AT))
    bad = [text for text in looked_at if BAD_TEXT.search(text)]
    if 2 * len(bad) <= len(looked_at):
        return None
    from charset_normalizer import from_bytes

    sample = "".join(bad).encode("utf-8", "surrogateescape")
    found = from_bytes(sample.translate(None, _NOT_WESTERN), cp_isolation=_CANDIDATES)
    if any(_WESTERN in one.could_be_from_charset and one.chaos <= found[0].chaos for one in found):
        return _WESTERN
    best = from_bytes(sample, cp_isolation=_CANDIDATES).best()
    return best.encoding if best is not None else None
