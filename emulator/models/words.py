"""Cut a text into the words that the tagger compares, and say when two words are the same.

"React.js", "ReactJS" and "react js" become the same two words; so do "front-end" and "front end". Chinese, Japanese
and Korean characters are words of their own, because nothing else says where a word ends.
"""

import functools
import re
import threading
import unicodedata
from typing import Any, NamedTuple

LONGEST = 48
"""Longer runs of letters are cut here: no term is as long, and stemming them takes seconds."""

CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
_PIECE = re.compile(
    rf"(?P<word>\.net\b|[{CJK}]|[^\W_{CJK}]+(?:\+\+|#(?!\w))?)(?:['\u2019]s\b)?"
    r"|(?P<stop>\n|[.!?\u2026]+(?=[\s\"')\]]|$)|[\u3002\uff01\uff1f])"
    r"|(?P<pause>[,;:()|\u2022\u00b7\u2013\u2014\u3001\u00bf\u00a1]+)",
    re.IGNORECASE,
)
_PLURALS = (("ies", "y"), ("sses", "ss"), ("xes", "x"), ("ches", "ch"), ("shes", "sh"), ("s", ""))
_TOO_SHORT = 3
"""Letters that a word must exceed before its "s" is taken for a plural: "bus", "aws", "ios"."""
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_EVENTS = frozenset({"Camp", "Con", "Conf", "Day", "Days", "Fest", "Summit"})
"""What names of events end with: "DrupalCamp"."""
_FIRST_SIGN = CJK[0]
_CYRILLIC = re.compile("[\u0400-\u04ff]")
_stemming = threading.Lock()


class Word(NamedTuple):
    """One word of a text, or a break between words (`plain` is empty then)."""

    surface: str
    """As it stands in the text; of a break, `.` for the end of a sentence and `,` for a pause."""
    plain: str
    """Lower case, without accents, singular."""
    stem: str


def cut(text: str) -> list[Word]:
    """Return the words of `text` and the breaks between them, in order."""
    words: list[Word] = []
    for match in _PIECE.finditer(text):
        surface = match["word"]
        if surface is None:
            words.append(Word("." if match["stop"] else ",", "", ""))
        else:
            words.append(_word(surface[:LONGEST]))
    return words


def is_sign(surface: str) -> bool:
    """Tell whether a word is one Chinese, Japanese or Korean character."""
    return surface >= _FIRST_SIGN


def humps(surface: str) -> list[Word]:
    """Return the words inside a camel-cased one ("MachineLearning"); any other word, and an event's name, as it is."""
    parts = _HUMP.split(surface)
    return [_word(surface)] if parts[-1] in _EVENTS else [_word(part) for part in parts]


@functools.lru_cache(maxsize=1 << 16)
def _word(surface: str) -> Word:
    """Return `surface` with its two forms for comparing."""
    folded = unicodedata.normalize("NFKD", surface.casefold())
    bare = "".join(sign for sign in folded if not unicodedata.combining(sign))
    if _CYRILLIC.match(bare):  # a noun of ten forms has no other singular than its stem
        stemmed = stem(bare, "russian") or surface
        return Word(surface, stemmed, stemmed)
    return Word(surface, singular(bare) or surface, stem(bare) or surface)


def singular(word: str) -> str:
    """Return `word` without a plural ending; good enough for comparing, not for reading."""
    if len(word) <= _TOO_SHORT or word.endswith(("ss", "us", "is")):
        return word
    for ending, singular in _PLURALS:
        if word.endswith(ending):
            return word.removesuffix(ending) + singular
    return word


def stem(word: str, language: str = "english") -> str:
    """Return the stem of a word, of an English one unless told."""
    with _stemming:  # a stemmer keeps the word it works on in itself
        return str(_stemmer(language).stemWord(word))


@functools.cache
def _stemmer(language: str) -> Any:
    """Return the stemmer of a language; it must be called under the lock."""
    import snowballstemmer

    return snowballstemmer.stemmer(language)
