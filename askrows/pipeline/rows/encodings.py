"""Detect the encoding of a text file: UTF-8, UTF-16 or a code page.

chardet guesses a code page by the letters of many languages. Files of spreadsheets are mostly in
cp1252, so another page is chosen only if it fits clearly better. If two other pages fit about
equally well, the user decides.
"""

import codecs
import io
import re
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.text import SURROGATES
from askrows.pipeline.rows.row_findings import make_excerpt

CHUNK_BYTES = 1 << 20
DEFAULT_CODE_PAGE = "cp1252"
# Sampled lines with bytes beyond ASCII, and bytes of each.
MAX_SAMPLED_LINES = 1_000
MAX_SAMPLED_LINE_BYTES = 20_000
_LATIN_CODE_PAGES = (DEFAULT_CODE_PAGE, "cp1250", "cp1254", "cp1257")
_OTHER_ENCODINGS = (
    "cp1251",
    "cp1253",
    "cp1255",
    "cp932",
    "euc_jis_2004",
    "cp949",
    "gb18030",
    "big5hkscs",
    "koi8-r",
    "cp1256",
    "cp866",
    "iso8859-5",
    "mac-cyrillic",
)
# They are so common that a file is read with them, even if another page fits about equally well.
_COMMON_CODE_PAGES = frozenset({DEFAULT_CODE_PAGE, "cp1251"})
# Pages of DOS and Mac are never the second candidate.
_OLD_CODE_PAGES = frozenset({"cp866", "mac-cyrillic"})
# A word with a letter beyond ASCII has more ASCII letters if it is in a Latin alphabet.
_MIN_OTHER_SHARE = 0.5
# How many times better than cp1252, and clearly better than the second candidate, a page must fit.
_MIN_FIT_RATIO = 1.4
# Bytes by which a code page is guessed.
_MAX_GUESSED_BYTES = 50_000
_UNICODE_CODECS = ("utf-8", "utf-16-le", "utf-16-be")
_WORD_BEYOND_ASCII = re.compile(rb"[A-Za-z]*[\x80-\xff][A-Za-z\x80-\xff]*")
_WORD = re.compile(r"[A-Za-z\x80-\U0010ffff]+")
_ASCII = bytes(range(0x80))


def detect_codec_and_note(path: Path, start: bytes) -> tuple[str, str]:
    """Return the codec of a text file, and a note for the user if it may surprise, else "".

    The first of these that applies is the encoding:

    - the encoding of the byte order mark; UTF-16 gets a note;
    - if `start` has a NUL: UTF-16 if it is detected, else UTF-8;
    - UTF-8 if the file begins like JSON, if all its lines are ASCII, or if at least half of the
      sampled lines beyond ASCII are valid UTF-8;
    - a guess of the code page, with a note that shows a word of the file and the second candidate.

    The lines are read from the file, up to MAX_SAMPLED_LINES lines beyond ASCII.

    Args:
        path: The file.
        start: Its first bytes.

    Raises:
        InputError: Two code pages fit about equally well, and most words differ.
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
        sampled_lines = list(islice(_iterate_non_ascii_lines(file), MAX_SAMPLED_LINES))
    bad_lines = [line for line in sampled_lines if not line.is_utf_8]
    if 2 * len(bad_lines) <= len(sampled_lines):
        return "utf-8", ""

    text = b"\n".join(line.first_bytes for line in bad_lines)[:_MAX_GUESSED_BYTES]
    codec, other_codec, doubtful_words = guess_code_page(text)
    if doubtful_words:
        excerpt, other_excerpt = map(make_excerpt, doubtful_words[0])
        raise InputError(
            f"{path}: a word is {excerpt!r} in {codec} and {other_excerpt!r} in {other_codec}, "
            "which fit about equally well; nothing was read",
            hint=f"set {OptionHint(encoding=codec)} or {OptionHint(encoding=other_codec)}",
        )

    bad_line = bad_lines[0]
    # The first characters of a long line may be ASCII.
    word, *_ = _WORD_BEYOND_ASCII.findall(bad_line.first_bytes) or [bad_line.first_bytes]
    excerpt = make_excerpt(word.decode(codec, "replace"))
    note = (
        f"read as {codec}, a guess: line {bad_line.line_number} has {excerpt!r}; "
        f"if that is wrong, try {OptionHint(encoding=other_codec)}"
    )
    return codec, note


def resolve_codec_name(name: str) -> str:
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


class _NonAsciiLine(NamedTuple):
    """A line of a file that is not ASCII."""

    # From 1.
    line_number: int
    # At most MAX_SAMPLED_LINE_BYTES.
    first_bytes: bytes
    # Whether the whole line is valid UTF-8.
    is_utf_8: bool


def _iterate_non_ascii_lines(file: BinaryIO) -> Iterator[_NonAsciiLine]:
    """Yield each line that is not ASCII.

    A line that is longer than a chunk is yielded once for each chunk of it that is not ASCII, with
    the first bytes and the validity of the chunk. A character that is cut by the end of a chunk is
    valid.
    """
    # The decoder keeps a character that is cut in two at the end of a chunk.
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    line_number = 1
    for chunk in iter(partial(file.readline, CHUNK_BYTES), b""):
        for line in chunk.splitlines(keepends=True):
            text = decoder.decode(line)
            if not line.isascii():
                first_bytes = line[:MAX_SAMPLED_LINE_BYTES]
                is_utf_8 = not SURROGATES.search(text)
                yield _NonAsciiLine(line_number, first_bytes, is_utf_8)
            line_number += line.endswith((b"\n", b"\r"))


class CodePageGuess(NamedTuple):
    """The code page of a text, guessed."""

    codec: str
    # The second candidate.
    other_codec: str
    # Words that make the guess doubtful, as read by both.
    doubtful_words: Sequence[tuple[str, str]]


def guess_code_page(text: bytes) -> CodePageGuess:
    """Return the code page that fits a text best, the second candidate, and doubtful words.

    - Encodings of other than Latin alphabets are candidates if at least half of the letters in
      words beyond ASCII are beyond ASCII.
    - cp1252 is chosen unless the best page fits _MIN_FIT_RATIO times better. Of pages that read all
      words alike, cp1252 comes first, and pages of DOS and Mac come last.
    - The second candidate is the best other page that reads a word differently, or else the best
      other page. It is never a page of DOS or Mac.
    - Words that differ are doubtful, each with both readings, if the chosen page is not common and
      does not fit more than _MIN_FIT_RATIO times better than the second. If at most half of the
      words differ, none is doubtful, unless the chosen page is one of DOS or Mac: then every word
      that differs is doubtful.
    """
    words = _WORD_BEYOND_ASCII.findall(text)
    letters = b"".join(words)
    candidates = [*_LATIN_CODE_PAGES]
    if len(letters.translate(None, _ASCII)) >= _MIN_OTHER_SHARE * len(letters):
        candidates += _OTHER_ENCODINGS

    fit_by_page = {name: _measure_codec_fit(text, name, candidates) for name in candidates}
    ranking = sorted(candidates, key=fit_by_page.__getitem__, reverse=True)
    codec = ranking[0]
    if fit_by_page[codec] < _MIN_FIT_RATIO * fit_by_page[DEFAULT_CODE_PAGE]:
        codec = DEFAULT_CODE_PAGE

    readings = {name: [word.decode(name, "replace") for word in words] for name in candidates}
    # Of pages that read all words alike, the common one also reads letters that come later.
    common_pages = (DEFAULT_CODE_PAGE, *(name for name in ranking if name not in _OLD_CODE_PAGES))
    equal_pages = (name for name in common_pages if readings[name] == readings[codec])
    codec = next(equal_pages, codec)

    other_pages = [name for name in ranking if name not in {codec, *_OLD_CODE_PAGES}]
    # Of several with a difference, the first is returned.
    other_codec = max(other_pages, key=lambda name: readings[name] != readings[codec])
    if (
        codec in _COMMON_CODE_PAGES
        or fit_by_page[codec] > _MIN_FIT_RATIO * fit_by_page[other_codec]
    ):
        return CodePageGuess(codec, other_codec, ())

    pairs = zip(readings[codec], readings[other_codec], strict=True)
    doubtful_words = [pair for pair in pairs if len(set(pair)) > 1]
    if codec not in _OLD_CODE_PAGES and 2 * len(doubtful_words) <= len(words):
        return CodePageGuess(codec, other_codec, ())
    return CodePageGuess(codec, other_codec, doubtful_words)


def _measure_codec_fit(text: bytes, codec: str, candidates: Sequence[str]) -> float:
    """Return how well a candidate fits a text, from 0 to 1.

    It is the confidence of chardet, times the share of words that have only letters and digits, and
    no capital after the first letter, unless all letters are capitals. Words of a single character
    do not count for the share. The result is 0 if the candidate cannot decode the text.
    """
    from chardet import detect_all

    try:
        words: list[str] = _WORD.findall(text.decode(codec))
    except UnicodeError:
        return 0.0

    # chardet knows languages by their small letters.
    words = [word.lower() if word.isupper() else word for word in words]
    matches = detect_all(
        " ".join(words).encode(codec, "ignore"),
        include_encodings=candidates,
        ignore_threshold=True,
        compat_names=False,
    )
    confidences = {match["encoding"]: match["confidence"] for match in matches}
    # A single character may be a sign.
    has_word_shape = [_has_word_shape(word) for word in words if len(word) > 1]
    share = (sum(has_word_shape) + 1) / (len(has_word_shape) + 1)
    return confidences.get(codec, 0.0) * share


def _has_word_shape(word: str) -> bool:
    """Return whether a word has letters and digits only, and no capital after its first letter."""
    ending = word[1:]
    return word.isalnum() and ending == ending.lower()
