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
from typing import BinaryIO

from askrows.pipeline.core.command_hint import OptionHint
from askrows.pipeline.core.errors import InputError
from askrows.pipeline.core.text import SURROGATES
from askrows.pipeline.tables.row_findings import make_excerpt

CHUNK_BYTES = 1 << 20
DEFAULT_CODE_PAGE = "cp1252"
# Sampled lines with bytes beyond ASCII, and bytes of each.
MAX_SAMPLED_LINES = 1_000
MAX_SAMPLED_LINE_BYTES = 20_000
_LATIN_CODE_PAGES = (DEFAULT_CODE_PAGE, "cp1250", "cp1254", "cp1257")
_OTHER_ENCODINGS = ("cp1251", "cp1253", "cp1255", "cp932", "euc-jp", "cp949", "gb18030", "big5")
# Their letters are signs in cp1252. They are candidates for runs of different bytes beyond ASCII.
_RARE_CODE_PAGES = ("koi8-r", "cp1256", "cp866", "iso8859-5", "mac-cyrillic")
# Pages of DOS and Mac are never the second candidate.
_OLD_CODE_PAGES = frozenset({"cp866", "mac-cyrillic"})
# A word with a letter beyond ASCII has more ASCII letters if it is in a Latin alphabet.
_MIN_OTHER_SHARE = 0.5
# How many times more probable than cp1252 another code page must be.
_MIN_CONFIDENCE_RATIO = 1.4
# From this share of the best score on, another code page fits about equally well.
_EQUAL_SCORE_SHARE = 0.75
# Bytes by which a code page is guessed.
_MAX_GUESSED_BYTES = 50_000
_UNICODE_CODECS = ("utf-8", "utf-16-le", "utf-16-be")
_WORD_BEYOND_ASCII = re.compile(rb"[A-Za-z]*[\x80-\xff][A-Za-z\x80-\xff]*")
_RUN_BEYOND_ASCII = re.compile(rb"([\x80-\xff])(?!\1*(?:[^\x80-\xff]|$))[\x80-\xff]+")
_LETTERS = re.compile(r"[^\W\d_]+")
_ASCII = bytes(range(0x80))


def find_encoding(path: Path, start: bytes) -> tuple[str, str]:
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
        lines = list(islice(_iterate_lines_beyond_ascii(file), MAX_SAMPLED_LINES))
    bad_lines = [(line_number, line) for line_number, line, is_utf_8 in lines if not is_utf_8]
    if 2 * len(bad_lines) <= len(lines):
        return "utf-8", ""

    text = b"\n".join(line for _, line in bad_lines)[:_MAX_GUESSED_BYTES]
    codec, other_codec, differing_words = guess_code_pages(text)
    if differing_words:
        excerpts = [
            make_excerpt(differing_words[0].decode(name, "replace"))
            for name in (codec, other_codec)
        ]
        raise InputError(
            f"{path}: a word is {excerpts[0]!r} in {codec} and {excerpts[1]!r} in {other_codec}, "
            "which fit about equally well; nothing was read",
            hint=f"set {OptionHint(encoding=codec)} or {OptionHint(encoding=other_codec)}",
        )

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


def guess_code_pages(text: bytes) -> tuple[str, str, Sequence[bytes]]:
    """Return the code page that fits a text best, the second candidate, and differing words.

    Encodings of other than Latin alphabets are candidates if at least half of the letters in words
    beyond ASCII are beyond ASCII. cp1252 is the best page unless another fits clearly better. The
    second candidate is the best other page that reads a word differently. The words that differ are
    returned only if they are most words, none of the pages is cp1252, and both fit about equally
    well.
    """
    words = _WORD_BEYOND_ASCII.findall(text)
    letters = b" ".join(words)
    min_letters = _MIN_OTHER_SHARE * sum(map(len, words))
    candidates = [*_LATIN_CODE_PAGES]
    if len(letters.translate(None, _ASCII)) >= min_letters:
        candidates += _OTHER_ENCODINGS
    if sum(len(run[0]) for run in _RUN_BEYOND_ASCII.finditer(letters)) >= min_letters:
        candidates += _RARE_CODE_PAGES

    scores = dict.fromkeys(_LATIN_CODE_PAGES, 0.0)
    confidences = _measure_confidences(text, candidates)
    for name in confidences:
        # chardet knows languages by their small letters.
        lower_text = _lower_capitals(text, name)
        confidences[name] = _measure_confidences(lower_text, candidates).get(name, 0)
        scores[name] = confidences[name] * _measure_wholeness(words, name)

    ranking = sorted(scores, key=scores.__getitem__, reverse=True)
    codec = next(name for name in ranking if name != DEFAULT_CODE_PAGE)
    default_confidence = confidences.get(DEFAULT_CODE_PAGE, 0)
    if confidences.get(codec, 0) < _MIN_CONFIDENCE_RATIO * default_confidence:
        codec = DEFAULT_CODE_PAGE

    others = [name for name in ranking if name not in {codec, *_OLD_CODE_PAGES}]
    differing_others = (name for name in others if _list_differing_words(words, codec, name))
    other_codec = next(differing_others, others[0])
    differing_words = _list_differing_words(words, codec, other_codec)
    is_certain = (
        DEFAULT_CODE_PAGE in {codec, other_codec}
        or 2 * len(differing_words) <= len(words)
        or scores[other_codec] < _EQUAL_SCORE_SHARE * scores[codec]
    )
    return codec, other_codec, () if is_certain else differing_words


def _measure_confidences(text: bytes, candidates: Sequence[str]) -> dict[str, float]:
    """Return the confidence of each candidate that can decode a text."""
    from chardet import detect_all

    matches = detect_all(text, include_encodings=candidates, ignore_threshold=True)
    return {
        codecs.lookup(match["encoding"] or DEFAULT_CODE_PAGE).name: match["confidence"]
        for match in matches
    }


def _lower_capitals(text: bytes, codec: str) -> bytes:
    """Return a text with words in capitals in small letters; unchanged if that is impossible."""

    def lower_capitals(word: re.Match[str]) -> str:
        return word[0].lower() if word[0].isupper() else word[0]

    try:
        return _LETTERS.sub(lower_capitals, text.decode(codec)).encode(codec)
    except UnicodeError:
        return text


def _measure_wholeness(words: Sequence[bytes], codec: str) -> float:
    """Return the share of words that have only letters, and no capital after a small letter.

    Words of a single byte are left out. It is not 0, because any word may be a sign.
    """
    texts = [word.decode(codec, "replace") for word in words if len(word) > 1]
    whole_texts = [
        text
        for text in texts
        if text.isalpha() and text in {text.lower(), text.upper(), text.capitalize()}
    ]
    return (len(whole_texts) + 1) / (len(texts) + 1)


def _list_differing_words(words: Sequence[bytes], codec: str, other_codec: str) -> list[bytes]:
    return [
        word
        for word in words
        if word.decode(codec, "replace") != word.decode(other_codec, "replace")
    ]
