"""Tell in which encoding a text file is: by its byte order mark, as UTF-8 or UTF-16, or by a guess of its code page.

A code page is guessed by the letters beyond ASCII: each language has a few frequent ones. Files of spreadsheets are
mostly in cp1252, so another code page is taken only if the letters fit a language of it clearly better.
"""

import codecs
import io
import math
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.text import BAD_TEXT
from pipeline.tables.row_import import EXCERPT, excerpt

PIECE_BYTES = 1 << 20
USUAL = "cp1252"
# Lines beyond ASCII that are looked at, bytes of each, and different words in them.
MAX_LINES = 1_000
MAX_LINE_BYTES = 20_000
MAX_WORDS = 3_000
# Natural logarithms of how likely a character beyond ASCII is. A language's own letters share the rest.
_STRANGE = math.log(0.0005)
_LOAN_LETTER = math.log(0.003)
_PUNCTUATION = math.log(0.1)
_OTHER_SIGN = math.log(0.017)
# What is added for two such letters in a row in a Latin alphabet, and for one beside a Latin letter in another.
_RARE_NEIGHBOUR = math.log(0.1)
# By how much another code page must fit better: in total, and per character.
_MIN_GAIN = 5.0
_MIN_GAIN_EACH = 0.5
# A mean below this means that no language fits; nor does a Latin one, if most bytes are in a row of four.
_MIN_FIT = -4.2
_MAX_SHARE_IN_ROWS = 0.6
_LATIN = frozenset({USUAL, "cp1250", "cp1254", "cp1257"})
_EAST_ASIAN = ("cp932", "cp949", "gb18030", "big5")
_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# A third of the bytes at even (or odd) places is NUL in UTF-16 of any text with Latin letters.
_MIN_NUL_SHARE = 1 / 3
_FIRST_BEYOND_ASCII = 0x80
_WORD = re.compile(rb"[A-Za-z\x80-\xff]+")
_ROW = re.compile(rb"[\x80-\xff]{4,}")
_UNIT = re.compile(
    rb"(?:[kcdmn\xb5]?m|ft|in)[\xb2\xb3\xb9]|[nN]?[\xaa\xba\xb0]|[\xa2-\xa9\xae\xb5]"
)
_FIRST_OF_OTHER_ALPHABETS = "\u0370"
# Letters that any Latin text may have in a foreign word.
_LOANS = frozenset("éèêáíóñçöüäåøï")
_TEXT = Path(__file__).with_name("encodings.toml").read_text(encoding="utf-8")


class TextEncoding(NamedTuple):
    """The encoding of a file: Python's name of it, and what a user should know of it."""

    codec: str
    note: str = ""


def find_encoding(path: Path, start: bytes) -> TextEncoding:
    """Return the encoding of a file that begins with some bytes.

    It is what the byte order mark says, UTF-16 if every other byte is NUL, UTF-8 if most lines beyond ASCII are, and
    else a guess, whose note shows a line of the file.
    """
    marked = next((codec for mark, codec in _MARKS.items() if start.startswith(mark)), "")
    if marked == "utf-8-sig":
        return TextEncoding(marked)
    if marked:
        return TextEncoding(marked, f"read as {marked.upper()}, which its byte order mark says")
    if b"\0" in start:
        return TextEncoding(_utf_16_of(start) or "utf-8")
    if start.lstrip()[:1] in b"[{":
        return TextEncoding("utf-8")
    with path.open("rb") as file:
        lines = list(islice(_lines_beyond_ascii(file), MAX_LINES))
    bad_lines = [(number, line) for number, line, is_utf_8 in lines if not is_utf_8]
    if 2 * len(bad_lines) <= len(lines):
        return TextEncoding("utf-8")
    codec = guess_code_page(b"\n".join(line for _, line in bad_lines))
    number, line = bad_lines[0]
    name = "cp1252 (Windows-1252, Latin-1)" if codec == USUAL else codec
    text = line.decode(codec, "replace").strip()
    first = next((index for index, character in enumerate(text) if not character.isascii()), 0)
    shown = excerpt(text if first < EXCERPT * 3 // 4 else text[first - EXCERPT // 2 :])
    another = OptionHint(encoding="cp1250" if codec == USUAL else USUAL)
    return TextEncoding(
        codec,
        f"read as {name}, which is a guess: line {number} is {shown!r}; {another} reads another",
    )


def check_encoding(path: Path, name: str) -> str:
    """Return Python's name of an encoding that a user named, in which a file is read.

    Raises:
        InputError: there is no such encoding, or the file has bytes that are none of its characters.
    """
    try:
        codec = codecs.lookup(io.TextIOWrapper(io.BytesIO(), name).encoding).name
    except (LookupError, ValueError):
        message = f"{OptionHint('encoding')} names {excerpt(name)!r}, which is no encoding; nothing was read"
        hint = "utf-8, utf-16, cp1252, cp1250, cp1251, cp1253, cp1254 and mac_roman are some"
        raise InputError(message, hint=hint) from None

    decoder = codecs.getincrementaldecoder(codec)("strict")
    line_number = 1
    offset = 0
    with path.open("rb") as file:
        while True:
            piece = file.read(PIECE_BYTES)
            try:
                line_number += decoder.decode(piece, final=not piece).count("\n")
            except UnicodeError as error:
                # an error of UTF-16 without its mark has no place
                pending = piece
                start = 0
                if isinstance(error, UnicodeDecodeError):
                    pending = error.object
                    start = error.start
                line_number += pending[:start].decode(codec, "ignore").count("\n")
                byte = offset + len(piece) - len(pending) + start + 1
                message = f"{path}, line {line_number}: byte {byte:,} is no text in {name}; nothing was read"
                raise InputError(
                    message, hint=f"{OptionHint('encoding')} names the right one, or leave it out"
                ) from None
            if not piece:
                break
            offset += len(piece)
    return "utf-8-sig" if codec == "utf-8" else codec


def _utf_16_of(start: bytes) -> str:
    """Return UTF-16 without a byte order mark; empty if it is not."""
    even = start[::2]
    odd = start[1::2]
    for codec, with_nul, without in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if b"\0" not in without and with_nul.count(b"\0") > _MIN_NUL_SHARE * len(with_nul):
            return codec
    return ""


def _lines_beyond_ascii(file: BinaryIO) -> Iterator[tuple[int, bytes, bool]]:
    """Yield the number of each line that is not ASCII, its bytes, and whether they are UTF-8."""
    # The decoder keeps a character that is cut in two at the end of a piece.
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    number = 1
    for piece in iter(partial(file.readline, PIECE_BYTES), b""):
        text = decoder.decode(piece)
        if not piece.isascii():
            yield number, piece[:MAX_LINE_BYTES], not BAD_TEXT.search(text)
        number += piece.endswith(b"\n")


# ---- the guess


class _Language(NamedTuple):
    codec: str
    # Logarithms of how likely each letter is among the letters beyond ASCII.
    letters: Mapping[str, float]
    is_latin: bool


@cache
def _languages() -> Sequence[_Language]:
    """Return the languages; by Zipf's law the n-th letter is as likely as 1/n."""
    languages = list[_Language]()
    for codec, alphabets in tomllib.loads(_TEXT).items():
        for alphabet in alphabets.values():
            total = sum(1 / rank for rank in range(1, len(alphabet) + 1))
            letters = {
                letter: math.log(1 / rank / total) for rank, letter in enumerate(alphabet, start=1)
            }
            languages.append(_Language(codec, letters, alphabet[0] < _FIRST_OF_OTHER_ALPHABETS))
    return languages


def guess_code_page(text: bytes) -> str:
    """Return the code page that fits a text best, or cp1252 if none is clearly better.

    Languages with one byte per letter are scored by their letters. If none of them fits, East Asian ones are tried.
    """
    beyond_ascii = dict.fromkeys(word for word in _WORD.findall(text) if not word.isascii())
    words = [word for word in islice(beyond_ascii, MAX_WORDS) if not _UNIT.fullmatch(word)]
    count = sum(byte >= _FIRST_BEYOND_ASCII for word in words for byte in word)
    if not count:
        return USUAL
    by_codec = dict[str, float]()
    for language in _languages():
        fit = sum(_fit(word, language) for word in words)
        by_codec[language.codec] = max(fit, by_codec.get(language.codec, -math.inf))
    best = max(by_codec, key=lambda codec: by_codec[codec])
    in_rows = sum(len(row) for word in words for row in _ROW.findall(word))
    is_latin = best in _LATIN and in_rows > _MAX_SHARE_IN_ROWS * count
    if is_latin or by_codec[best] < _MIN_FIT * count:
        from charset_normalizer import from_bytes

        east_asian = from_bytes(text, cp_isolation=[*_EAST_ASIAN]).best()
        return USUAL if east_asian is None else east_asian.encoding
    gain = by_codec[best] - by_codec[USUAL]
    return best if gain >= max(_MIN_GAIN, _MIN_GAIN_EACH * count) else USUAL


def _fit(word: bytes, language: _Language) -> float:
    """Return the logarithm of how likely a word is in a language."""
    letters = word.decode(language.codec, "replace")
    total = 0.0
    for index, letter in enumerate(letters):
        before = letters[index - 1 : index] if index else ""
        if not letter.isascii():
            total += _fit_of_letter(letter, before, letters[index + 1 : index + 2], language)
        elif before and not before.isascii() and not language.is_latin:
            total += _RARE_NEIGHBOUR
    return total


def _fit_of_letter(letter: str, before: str, after: str, language: _Language) -> float:
    if not letter.isalpha():
        return _fit_of_sign(letter, before, after)
    is_late_capital = letter.isupper() and before.islower()
    is_rare_neighbour = before.isalpha() and before.isascii() != language.is_latin
    lower = letter if letter in language.letters else letter.lower()
    default = _LOAN_LETTER if lower in _LOANS and language.is_latin else _STRANGE
    fit = _STRANGE if is_late_capital else language.letters.get(lower, default)
    return fit + _RARE_NEIGHBOUR if is_rare_neighbour else fit


def _fit_of_sign(sign: str, before: str, after: str) -> float:
    category = unicodedata.category(sign)
    is_between = before.isalpha() and after.isalpha()
    if sign == "\ufffd" or category.startswith("M") or (sign in "¿¡" and before.isalpha()):
        return _STRANGE
    if category in {"Pd", "Pi", "Pf", "Ps", "Po", "Cf"}:
        return _PUNCTUATION
    return _STRANGE if is_between else _OTHER_SIGN
