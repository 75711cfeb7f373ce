"""Detect the encoding of a text file: UTF-8, UTF-16 or a code page.

chardet guesses a code page by the letters of many languages. Files of spreadsheets are mostly in
cp1252, so another page of a Latin alphabet is chosen only if it fits clearly better.
"""

import codecs
import io
import re
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.text import SURROGATES
from pipeline.tables.row_findings import make_excerpt

CHUNK_BYTES = 1 << 20
DEFAULT_CODE_PAGE = "cp1252"
# Sampled lines with bytes beyond ASCII, and bytes of each.
MAX_SAMPLED_LINES = 1_000
MAX_SAMPLED_LINE_BYTES = 20_000
_LATIN_CODE_PAGES = (DEFAULT_CODE_PAGE, "cp1250", "cp1254", "cp1257")
_OTHER_ENCODINGS = ("cp1251", "cp1253", "cp1255", "cp932", "euc-jp", "cp949", "gb18030", "big5")
# A word with a letter beyond ASCII has more ASCII letters if it is in a Latin alphabet.
_MIN_OTHER_SHARE = 0.5
# How many times more probable than cp1252 another code page must be.
_MIN_CONFIDENCE_RATIO = 1.4
_UNICODE_CODECS = ("utf-8", "utf-16-le", "utf-16-be")
_WORD_BEYOND_ASCII = re.compile(rb"[A-Za-z]*[\x80-\xff][A-Za-z\x80-\xff]*")
_ASCII = bytes(range(0x80))


def find_encoding(path: Path, start: bytes) -> tuple[str, str]:
    """Return the codec of a text file, and a note for the user if it may surprise, else "".

    The first of these that applies is the encoding:

    - the encoding of the byte order mark; UTF-16 gets a note;
    - if `start` has a NUL: UTF-16 if it is detected, else UTF-8;
    - UTF-8 if the file begins like JSON, if all its lines are ASCII, or if at least half of the
      sampled lines beyond ASCII are valid UTF-8;
    - a guess of the code page, with a note that shows a word of the file.

    The lines are read from the file, up to MAX_SAMPLED_LINES lines beyond ASCII.

    Args:
        path: The file.
        start: Its first bytes.
    """
    if start.startswith(codecs.BOM_UTF8):
        return "utf-8-sig", ""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16", "read as UTF-16, because of its byte order mark"
    if b"\0" in start:
        from chardet import detect

        match = detect(start, include_encodings=_UNICODE_CODECS, no_match_encoding="utf-8")
        return match["encoding"] or "utf-8", ""
    if start.lstrip()[:1] in b"[{":
        return "utf-8", ""

    with path.open("rb") as file:
        lines = list(islice(_iterate_lines_beyond_ascii(file), MAX_SAMPLED_LINES))
    bad_lines = [(line_number, line) for line_number, line, is_utf_8 in lines if not is_utf_8]
    if 2 * len(bad_lines) <= len(lines):
        return "utf-8", ""

    codec, other_codec = guess_code_pages(b"\n".join(line for _, line in bad_lines))
    line_number, line = bad_lines[0]
    # The first characters of a long line may be ASCII.
    word, *_ = _WORD_BEYOND_ASCII.findall(line) or [line]
    excerpt = make_excerpt(word.decode(codec, "replace"))
    note = (
        f"read as {codec}, a guess: line {line_number} has {excerpt!r}; "
        f"if that is wrong, try {OptionHint(encoding=other_codec)}"
    )
    return codec, note


def find_codec(name: str) -> str:
    """Return Python's name of an encoding that a user named.

    It is `utf-8-sig` for UTF-8, so that a byte order mark is skipped.

    Raises:
        InputError: The encoding does not exist.
    """
    try:
        codec = codecs.lookup(io.TextIOWrapper(io.BytesIO(), name).encoding).name
    except (LookupError, ValueError):
        raise InputError(
            f"{OptionHint('encoding')} names {make_excerpt(name)!r}, which is not an encoding; "
            "nothing was read",
            hint="examples: utf-8, utf-16, cp1252, cp1250, cp1251, cp1253, cp1254, mac_roman",
        ) from None
    return {"utf-8": "utf-8-sig"}.get(codec, codec)


def _iterate_lines_beyond_ascii(file: BinaryIO) -> Iterator[tuple[int, bytes, bool]]:
    """Yield (line number, first bytes, is valid UTF-8) for each line that is not ASCII.

    Lines are numbered from 1. The first bytes are at most MAX_SAMPLED_LINE_BYTES. A line that is
    longer than a chunk is yielded once for each chunk of it that is not ASCII, with the first bytes
    of the chunk. A character that is cut by the end of a chunk is valid.
    """
    # The decoder keeps a character that is cut in two at the end of a chunk.
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    line_number = 1
    for chunk in iter(partial(file.readline, CHUNK_BYTES), b""):
        for line in chunk.splitlines(keepends=True):
            text = decoder.decode(line)
            if not line.isascii():
                yield line_number, line[:MAX_SAMPLED_LINE_BYTES], not SURROGATES.search(text)
            line_number += line.endswith((b"\n", b"\r"))


def guess_code_pages(text: bytes) -> tuple[str, str]:
    """Return the code page that fits a text best, and the second candidate.

    Encodings of other than Latin alphabets are candidates if at least half of the letters in words
    beyond ASCII are beyond ASCII.
    """
    from chardet import detect_all

    candidates = [*_LATIN_CODE_PAGES]
    letters = b"".join(_WORD_BEYOND_ASCII.findall(text))
    if len(letters.translate(None, _ASCII)) >= _MIN_OTHER_SHARE * len(letters):
        candidates += _OTHER_ENCODINGS
    matches = detect_all(text, include_encodings=candidates)
    confidences = {
        codecs.lookup(match["encoding"] or DEFAULT_CODE_PAGE).name: match["confidence"]
        for match in matches
    }
    default_confidence = confidences.pop(DEFAULT_CODE_PAGE, 0)
    other_codec = next(iter(confidences), "cp1250")
    if confidences.get(other_codec, 0) < _MIN_CONFIDENCE_RATIO * default_confidence:
        return DEFAULT_CODE_PAGE, other_codec
    return other_codec, DEFAULT_CODE_PAGE
