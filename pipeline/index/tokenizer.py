"""Split texts into terms, the same for entries and questions, on every database: pure, and fixed under its name.

A term is a case-folded Unicode word without accents, an English or Russian stem, or two neighbouring characters of a
script that has no spaces; stop words of the languages listed here are none. The one thing to know: what is a term of
which text may not change under one name, or questions miss what builds of before hold.

A text is first cut at ASCII characters that are neither letters nor digits, in one pass over its bytes. The same pieces
come again and again, so what looks at many texts remembers the terms of each.
"""

import re
import unicodedata
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import cache, lru_cache
from itertools import chain, pairwise
from typing import Any

NAME = "words@1"
LANGUAGES = (  # whose stop words are left out, as bm25s lists them
    *(
        "EN_PLUS",
        "DANISH",
        "DUTCH",
        "FRENCH",
        "GERMAN",
        "ITALIAN",
        "NORWEGIAN",
        "PORTUGUESE",
        "RUSSIAN",
        "SPANISH",
    ),
    "SWEDISH",
)
KEPT = (  # stop words of one of them that stand for a subject, a name or a thing in another
    "ad ai art ben c ci come dan dog door dove ed em end era eu ge ha han hat io li man men met mine mod non os par "
    "sea sean si sin sit son sur till ton un van ville want war"
)
ASKING = (  # words of a question that say nothing of what is asked for, whatever is searched
    "advise anybody anyone connait conoce experienced find finden kennt know knowing knows looking need needs person "
    "please quien recommend sabe somebody someone wer"
)
STEMMED = range(
    3, 41
)  # characters of words that may have another stem than themselves; longer ones are no words

_SPACE = ord(" ")
_CUT = bytes(
    ord(chr(code).lower()) if chr(code).isalnum() else _SPACE for code in range(128)
) + bytes(range(128, 256))
_RUN = re.compile(r"\S+")
_ACCENTS = re.compile("(?<![\u0400-\u04ff])[\u0300-\u036f]+")  # of any letters but Cyrillic ones
_CYRILLIC = re.compile("[\u0400-\u04ff]+")
_UNSPACED = re.compile(  # Thai to Burmese, Khmer, kana, Han, Hangul, and Han beyond
    "([\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]+)"
)


def terms_of(text: str) -> list[str]:
    """Return the terms of a text in order, each as often as it comes."""
    return [
        *chain.from_iterable(
            map(_terms_of_piece, text.encode("utf-8", "replace").translate(_CUT).split())
        )
    ]


@lru_cache(maxsize=1 << 17)
def _terms_of_piece(piece: bytes) -> tuple[str, ...]:
    text = piece.decode("utf-8")
    words = (text,) if text.isascii() else words_of(text)
    return tuple(_stem(word) for word in words if word not in _stop_words())


def terms_of_question(question: str, *, asking: str = "") -> list[str]:
    """Return the terms of a question without words of asking, `asking` among them, or all where it has no others."""
    terms = terms_of(question)
    return [term for term in terms if term not in _dropped(asking)] or terms


@cache
def _dropped(asking: str) -> frozenset[str]:
    return frozenset((*terms_of(ASKING), *terms_of(asking)))


def spans_of(text: str, among: AbstractSet[str]) -> Iterator[tuple[int, int, str]]:
    """Yield where each of some terms stands in a text, in order: start, end, term; pairs of characters overlap."""
    for run in _RUN.finditer(text.translate(_KINDS)):
        at = run.start()
        for part in _UNSPACED.split(run[0]):
            width = 2 if is_unspaced(part[:1]) and len(part) > 1 else len(part)
            for shift in range(len(part) - width + 1) if part else ():
                for term in kept_terms(part[shift : shift + width]):
                    if term in among:
                        yield at + shift, at + shift + width, term
            at += len(part)


@lru_cache(maxsize=1 << 14)
def kept_terms(text: str) -> tuple[str, ...]:
    """Return the terms of a word, a pair of characters or a tag; kept, for texts that are shown have the same ones."""
    return tuple(terms_of(text))


def is_unspaced(text: str) -> bool:
    """Return whether a text begins with a character of a script that has no spaces."""
    return _UNSPACED.match(text) is not None


def fold(text: str) -> str:
    """Return a text as its words are compared: without case, accents, and forms of one character."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return unicodedata.normalize("NFC", _ACCENTS.sub("", unicodedata.normalize("NFD", folded)))


def words_of(text: str) -> Iterator[str]:
    """Yield the words of a text of any script, folded; of a script without spaces its pairs of characters."""
    for run in fold(text).translate(_KINDS).split():
        for part in _UNSPACED.split(run):
            if part and _UNSPACED.match(part) and len(part) > 1:
                yield from map("".join, pairwise(part))
            elif part:
                yield part


class _Kinds(dict[int, int]):
    """Characters as they stand in words, by their codes; a space in the place of all others."""

    def __missing__(self, code: int) -> int:
        """Look a character up that was not met before: letters, numbers and their marks are of words."""
        self[code] = code if unicodedata.category(chr(code))[0] in "LNM" else _SPACE
        return self[code]


_KINDS = _Kinds()


def _stem(word: str) -> str:
    """Return the stem of a word: of English in Latin letters, of Russian in Cyrillic ones, none of other scripts."""
    if len(word) not in STEMMED or not word.isalpha():
        return word
    if word.isascii():
        return str(_stemmer("english").stemWord(word))
    return str(_stemmer("russian").stemWord(word)) if _CYRILLIC.fullmatch(word) else word


@cache
def _stemmer(language: str) -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer(language)


@cache
def _stop_words() -> frozenset[str]:
    from bm25s import stopwords

    listed = (
        word for language in LANGUAGES for word in getattr(stopwords, f"STOPWORDS_{language}")
    )
    pieces = " ".join(listed).encode().translate(_CUT).split()
    return frozenset(
        word for piece in pieces for word in words_of(piece.decode("utf-8"))
    ).difference(KEPT.split())
