"""Detect the encoding of a text file: UTF-8, UTF-16 or a code page.

A code page is guessed by the letters beyond ASCII, because each language has a few frequent such
letters. Files of spreadsheets are mostly in cp1252, so another code page is chosen only if the
letters fit a language of it clearly better. A score is the natural logarithm of a probability. A
character is strange in a language if it hardly occurs there; its probability is 1 in 2,000.
"""

import codecs
import io
import math
import re
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import islice, zip_longest
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pipeline.core.command_hint import OptionHint
from pipeline.core.errors import InputError
from pipeline.core.text import SURROGATES
from pipeline.tables.row_findings import MAX_EXCERPT_CHARS, make_excerpt

CHUNK_BYTES = 1 << 20
DEFAULT_CODE_PAGE = "cp1252"
# Sampled lines with bytes beyond ASCII, bytes of each, and different words in them.
MAX_SAMPLED_LINES = 1_000
MAX_SAMPLED_LINE_BYTES = 20_000
MAX_SAMPLED_WORDS = 3_000
# Natural logarithms of the probabilities of characters beyond ASCII that are not letters of the
# language. The language's own letters share the remaining probability.
_LOG_P_STRANGE = math.log(0.0005)
_LOG_P_LOAN_LETTER = math.log(0.003)
_LOG_P_PUNCTUATION = math.log(0.1)
_LOG_P_OTHER_SIGN = math.log(0.017)
# Added for two letters beyond ASCII in a row in a Latin alphabet, and for a letter beyond ASCII
# next to a Latin letter in another alphabet.
_LOG_P_RARE_NEIGHBOUR = math.log(0.1)
# How much better another code page must fit than cp1252: in total, and per character that differs.
_MIN_GAIN = 4.0
_MIN_GAIN_PER_CHARACTER = 0.5
# If the mean score is lower, no language fits.
_MIN_MEAN_SCORE = -4.2
# If a larger share of the bytes is in runs of four or more, the text is in no Latin alphabet.
_MAX_SHARE_IN_RUNS = 0.6
_LATIN_CODE_PAGES = frozenset({DEFAULT_CODE_PAGE, "cp1250", "cp1254", "cp1257"})
# A text in a Latin alphabet has a smaller share of bytes beyond ASCII.
_MIN_EAST_ASIAN_SHARE = 0.25
_JAPANESE_ENCODINGS = ("cp932", "euc_jp")
_EAST_ASIAN_ENCODINGS = (*_JAPANESE_ENCODINGS, "cp949", "gb18030", "big5")
# Of the letters beyond ASCII of a Japanese text.
_MIN_KANA_SHARE = 0.25
_KANA = re.compile("[\u3040-\u30ff]")
_CODEC_BY_MARK = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# A third of the bytes at even (or odd) offsets is NUL in UTF-16 of any text with Latin letters.
_MIN_NUL_SHARE = 1 / 3
_FIRST_BEYOND_ASCII = 0x80
_WORD = re.compile(rb"[A-Za-z\x80-\xff]+")
_RUN_BEYOND_ASCII = re.compile(rb"[\x80-\xff]{4,}")
# Units and signs that occur in texts of any language, such as `m²`, `°` and `©`.
_UNIT_OR_SIGN = re.compile(
    rb"(?:[kcdmn\xb5]?m|ft|in)[\xb2\xb3\xb9]|[nN]?[\xaa\xba\xb0]|[\xa2-\xa9\xae\xb5]",
)
_FIRST_NON_LATIN_LETTER = "\u0370"
# Letters that any Latin text may have in a foreign word.
_LOAN_LETTERS = frozenset("éèêáíóñçöüäåøï")
_ALPHABETS_TOML = Path(__file__).with_name("encodings.toml").read_text(encoding="utf-8")


class TextEncoding(NamedTuple):
    """The encoding of a file."""

    # Python's name of the codec.
    codec: str
    # A note for users about how the encoding was found; empty if nothing is uncertain.
    note: str = ""


def find_encoding(path: Path, start: bytes) -> TextEncoding:
    """Return the encoding of a text file, with a note for the user if it may surprise.

    The first of these that applies is the encoding:

    - the encoding of the byte order mark; UTF-16 gets a note;
    - if `start` has a NUL: UTF-16 if `_detect_utf_16` detects it, else UTF-8;
    - UTF-8 if the file begins like JSON, if all its lines are ASCII, or if at least half of the
      sampled lines beyond ASCII are valid UTF-8;
    - a guess of the code page, with a note that shows a line of the file.

    The lines are read from the file, up to MAX_SAMPLED_LINES lines beyond ASCII.

    Args:
        path: The file.
        start: Its first bytes.
    """
    marked_codec = next(
        (codec for mark, codec in _CODEC_BY_MARK.items() if start.startswith(mark)),
        "",
    )
    if marked_codec == "utf-8-sig":
        return TextEncoding(marked_codec)
    if marked_codec:
        note = f"read as {marked_codec.upper()}, because of its byte order mark"
        return TextEncoding(marked_codec, note)

    if b"\0" in start:
        return TextEncoding(_detect_utf_16(start) or "utf-8")
    if start.lstrip()[:1] in b"[{":
        return TextEncoding("utf-8")

    with path.open("rb") as file:
        lines = list(islice(_iterate_lines_beyond_ascii(file), MAX_SAMPLED_LINES))
    bad_lines = [(line_number, line) for line_number, line, is_utf_8 in lines if not is_utf_8]
    if 2 * len(bad_lines) <= len(lines):
        return TextEncoding("utf-8")

    codec, other_codec = guess_code_pages(b"\n".join(line for _, line in bad_lines))
    line_number, line = bad_lines[0]
    # The first character beyond ASCII is shown, also if it is far behind the beginning of the line.
    text = line.decode(codec, "replace").strip()
    first_index = next((index for index, letter in enumerate(text) if not letter.isascii()), 0)
    excerpt = make_excerpt(text[max(0, first_index - MAX_EXCERPT_CHARS * 3 // 4) :])
    name = "cp1252 (Windows-1252, Latin-1)" if codec == DEFAULT_CODE_PAGE else codec
    note = (
        f"read as {name}, a guess: line {line_number} is {excerpt!r}; "
        f"if that is wrong, try {OptionHint(encoding=other_codec)}"
    )
    return TextEncoding(codec, note)


def check_encoding(path: Path, name: str) -> str:
    """Check that a file is valid text in an encoding that a user named.

    Reads the whole file.

    Returns:
        Python's name of the codec; `utf-8-sig` for UTF-8, so that a byte order mark is skipped.

    Raises:
        InputError: The encoding does not exist, or the file has bytes that are invalid in it. The
            message names the line of the first invalid bytes.
    """
    try:
        codec = codecs.lookup(io.TextIOWrapper(io.BytesIO(), name).encoding).name
    except (LookupError, ValueError):
        raise InputError(
            f"{OptionHint('encoding')} names {make_excerpt(name)!r}, which is not an encoding; "
            "nothing was read",
            hint="examples: utf-8, utf-16, cp1252, cp1250, cp1251, cp1253, cp1254, mac_roman",
        ) from None

    decoder = codecs.getincrementaldecoder(codec)("strict")
    line_count = 0
    with path.open("rb") as file:
        for line in iter(partial(file.readline, CHUNK_BYTES), b""):
            try:
                decoder.decode(line)
            except UnicodeError:
                raise InputError(
                    f"{path}, line {line_count + 1}: a byte is not valid {name}; nothing was read",
                    hint=f"set {OptionHint('encoding')} to the file's encoding, or leave it out",
                ) from None
            line_count += line.endswith(b"\n")
    return "utf-8-sig" if codec == "utf-8" else codec


def _detect_utf_16(start: bytes) -> str:
    """Return "utf-16-le" or "utf-16-be" for UTF-16 without a byte order mark, else "".

    Each character has a high and a low byte, in the order of the codec. More than a third of the
    high bytes must be NUL, as for Latin letters, and none of the low bytes may be NUL.
    """
    even_bytes = start[::2]
    odd_bytes = start[1::2]
    for codec, high_bytes, low_bytes in (
        ("utf-16-le", odd_bytes, even_bytes),
        ("utf-16-be", even_bytes, odd_bytes),
    ):
        has_many_nuls = high_bytes.count(b"\0") > _MIN_NUL_SHARE * len(high_bytes)
        if has_many_nuls and b"\0" not in low_bytes:
            return codec
    return ""


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


class _Language(NamedTuple):
    """The letters beyond ASCII of a language in a code page."""

    codec: str
    # Logarithm of the probability of each letter among the letters beyond ASCII.
    log_p_by_letter: Mapping[str, float]
    is_latin: bool


@cache
def _load_languages() -> Sequence[_Language]:
    """Return the languages of `encodings.toml`, with the probabilities of their letters.

    The file lists the letters beyond ASCII of each language by frequency, the commonest first. By
    Zipf's law the n-th letter's probability is proportional to 1/n. The file is parsed once.
    """
    languages = list[_Language]()
    for codec, alphabets in tomllib.loads(_ALPHABETS_TOML).items():
        for alphabet in alphabets.values():
            total_weight = sum(1 / rank for rank in range(1, len(alphabet) + 1))
            log_p_by_letter = {
                letter: math.log(1 / rank / total_weight)
                for rank, letter in enumerate(alphabet, start=1)
            }
            languages.append(
                _Language(
                    codec,
                    log_p_by_letter,
                    is_latin=alphabet[0] < _FIRST_NON_LATIN_LETTER,
                ),
            )
    return languages


def guess_code_pages(text: bytes) -> tuple[str, str]:
    """Return the code page that fits a text best, and the second candidate.

    The distinct words with bytes beyond ASCII are scored by the letters of each language. cp1252 is
    the best if no other page is clearly better, if no language fits, or if there are no such words.

    A text with a large share of bytes beyond ASCII may be in an East Asian encoding. It is if it
    has kana, if no language fits, or if a Latin page fits best, but the words have long runs of
    bytes beyond ASCII, which is unusual for Latin letters.
    """
    words_beyond_ascii = dict.fromkeys(word for word in _WORD.findall(text) if not word.isascii())
    words = [
        word
        for word in islice(words_beyond_ascii, MAX_SAMPLED_WORDS)
        if not _UNIT_OR_SIGN.fullmatch(word)
    ]
    score_by_codec = _score_codecs(words)
    best_codec, second_codec, *_ = sorted(
        score_by_codec, key=lambda codec: score_by_codec[codec], reverse=True
    )

    best_score = score_by_codec[best_codec]
    character_count = sum(map(_count_beyond_ascii, words))
    is_misfit = best_score < _MIN_MEAN_SCORE * character_count
    bytes_in_runs = sum(map(_count_bytes_in_runs, words))
    has_long_runs = bytes_in_runs > _MAX_SHARE_IN_RUNS * character_count
    may_be_east_asian = is_misfit or (best_codec in _LATIN_CODE_PAGES and has_long_runs)
    if _count_beyond_ascii(text) > _MIN_EAST_ASIAN_SHARE * len(text):
        codec = _find_east_asian_encoding(text, only_japanese=not may_be_east_asian)
        if codec:
            return codec, DEFAULT_CODE_PAGE

    differing_count = sum(
        len(_list_differing_letters(word, best_codec, DEFAULT_CODE_PAGE)) for word in words
    )
    min_gain = max(_MIN_GAIN, _MIN_GAIN_PER_CHARACTER * differing_count)
    gain = best_score - score_by_codec[DEFAULT_CODE_PAGE]
    if is_misfit or gain < min_gain:
        return DEFAULT_CODE_PAGE, second_codec if best_codec == DEFAULT_CODE_PAGE else best_codec
    return best_codec, second_codec


def _score_codecs(words: Sequence[bytes]) -> dict[str, float]:
    """Return the score of words by code page.

    It is the score in the language of the page that fits all words best, or, for a text in several
    languages, in the language that fits each word best, minus the logarithm of their number.
    """
    scores_by_codec = dict[str, list[list[float]]]()
    for language in _load_languages():
        word_scores = [_score_word(word, language) for word in words]
        scores_by_codec.setdefault(language.codec, []).append(word_scores)
    return {
        codec: max(
            *map(sum, scores),
            sum(map(max, zip(*scores, strict=True))) - math.log(len(scores)) * len(words),
        )
        for codec, scores in scores_by_codec.items()
    }


def _find_east_asian_encoding(text: bytes, *, only_japanese: bool) -> str:
    """Return the East Asian encoding that fits a text, or "" if none fits.

    A text with a large share of kana is Japanese.
    """
    for codec in _JAPANESE_ENCODINGS:
        letters = text.decode(codec, "replace")
        kana_count = len(_KANA.findall(letters))
        letter_count = sum(not letter.isascii() for letter in letters)
        if "\ufffd" not in letters and kana_count > _MIN_KANA_SHARE * letter_count:
            return codec
    if only_japanese:
        return ""
    from charset_normalizer import from_bytes

    east_asian_match = from_bytes(text, cp_isolation=[*_EAST_ASIAN_ENCODINGS]).best()
    return "" if east_asian_match is None else east_asian_match.encoding


def _list_differing_letters(word: bytes, codec: str, other_codec: str) -> list[str]:
    """Return the letters of a word in an encoding that differ in another encoding."""
    letters = word.decode(codec, "replace")
    other_letters = word.decode(other_codec, "replace")
    return [letter for letter, other in zip_longest(letters, other_letters) if letter != other]


def _count_beyond_ascii(word: bytes) -> int:
    return sum(byte >= _FIRST_BEYOND_ASCII for byte in word)


def _count_bytes_in_runs(word: bytes) -> int:
    """Return how many bytes of a word are in runs of four or more bytes beyond ASCII."""
    return sum(map(len, _RUN_BEYOND_ASCII.findall(word)))


def _score_word(word: bytes, language: _Language) -> float:
    """Return the logarithm of the probability of a word in a language.

    The word is decoded by the code page of the language. The result is the sum over its characters
    beyond ASCII. In an alphabet that is not Latin, each ASCII character that follows a character
    beyond ASCII lowers the score.
    """
    letters = word.decode(language.codec, "replace")
    score = 0.0
    for index, letter in enumerate(letters):
        previous_letter = letters[index - 1 : index] if index else ""
        if not letter.isascii():
            next_letter = letters[index + 1 : index + 2]
            score += _score_character(letter, previous_letter, next_letter, language)
        elif previous_letter and not previous_letter.isascii() and not language.is_latin:
            score += _LOG_P_RARE_NEIGHBOUR
    return score


def _score_character(
    character: str,
    previous_letter: str,
    next_letter: str,
    language: _Language,
) -> float:
    """Return the logarithm of the probability of a character beyond ASCII in a language.

    - A sign that is not a letter is scored by `_score_sign`.
    - A letter of the language has its probability. A letter that foreign words bring into any Latin
      text has a small one. Any other letter, and a capital after a small letter, has the smallest.
    - The score of a letter is lowered if the letter before it is rare there. If the language has a
      Latin alphabet, this is a letter beyond ASCII. If it has another alphabet, this is an ASCII
      letter.

    Args:
        character: The character.
        previous_letter: The character before it; empty at the beginning of the word.
        next_letter: The character after it; empty at the end of the word. It matters only if
            `character` is a sign.
        language: The language, with the probabilities of its letters beyond ASCII.
    """
    if not character.isalpha():
        return _score_sign(character, previous_letter, next_letter)

    known_letters = language.log_p_by_letter
    letter = character if character in known_letters else character.lower()
    is_loan_letter = letter in _LOAN_LETTERS and language.is_latin
    default_score = _LOG_P_LOAN_LETTER if is_loan_letter else _LOG_P_STRANGE
    score = known_letters.get(letter, default_score)
    if character.isupper() and previous_letter.islower():
        score = _LOG_P_STRANGE

    if previous_letter.isalpha() and previous_letter.isascii() != language.is_latin:
        score += _LOG_P_RARE_NEIGHBOUR
    return score


def _score_sign(sign: str, previous_letter: str, next_letter: str) -> float:
    """Return the logarithm of the probability of a character beyond ASCII that is not a letter.

    - Punctuation, except an opening `¿` or `¡` after a letter, is the most probable.
    - An invalid byte, a combining mark, such an opening `¿` or `¡`, and any other sign between two
      letters are the least probable.
    - All other signs are in between.

    The language does not matter.

    Args:
        sign: The character.
        previous_letter: The character before it; empty at the beginning of the word.
        next_letter: The character after it; empty at the end of the word.
    """
    category = unicodedata.category(sign)
    is_late_opening_mark = sign in "¿¡" and previous_letter.isalpha()
    if sign == "\ufffd" or category.startswith("M") or is_late_opening_mark:
        return _LOG_P_STRANGE
    if category in {"Pd", "Pi", "Pf", "Ps", "Po", "Cf"}:
        return _LOG_P_PUNCTUATION

    is_between_letters = previous_letter.isalpha() and next_letter.isalpha()
    if is_between_letters:
        return _LOG_P_STRANGE
    return _LOG_P_OTHER_SIGN
