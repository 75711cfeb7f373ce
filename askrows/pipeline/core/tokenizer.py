"""Split texts into search terms, in the same way for entries and queries.

The text is folded first: case and accents are removed. A term is one of these:

- a word in any script, case-folded and without accents, as its English or Russian stem;
- two neighbouring characters of a script that has no spaces;
- a joined word: a word with an apostrophe or "&" inside, such as "O'Reilly", without that sign.

Stop words of the languages below are not terms. The terms of a text depend on the text only, not on
the database. They may only change together with TERMS_VERSION, because queries would otherwise miss
words of existing builds.

For speed, a text is first cut at ASCII characters that are neither letters nor digits, in a single
pass over its bytes. The same pieces are frequent, so the terms of each piece are cached.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from functools import cache, lru_cache
from itertools import chain, pairwise
from typing import Any

TERMS_VERSION = "words@2"

# Languages as bm25s names its lists of stop words.
STOP_WORD_LANGUAGES = (
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
    "SWEDISH",
)

# Stop words of a language that are a subject, a name or a thing in another language.
EXEMPT_STOP_WORDS = (
    "ad ai art ben c ci come dan dog door dove ed em end era eu ge ha han hat io li man men met "
    "mine mod non os par sea sean si sin sit son sur till ton un van ville want war"
)

# Words of a query that do not describe its subject, in any indexed task.
QUERY_FILLER_WORDS = (
    "advise anybody anyone connait conoce experienced find finden kennt know knowing knows looking "
    "need needs person please quien recommend sabe somebody someone wer"
)

# Shorter words are their own stems, and longer runs of letters are not words.
STEMMABLE_LENGTHS = range(3, 41)  # characters

_SPACE = ord(" ")
# Table for bytes.translate: ASCII letters become small, other ASCII except digits becomes spaces.
_ASCII_TABLE = re.sub(rb"[^a-z0-9\x80-\xff]", b" ", bytes(range(256)).lower())
_NON_SPACE_RUN = re.compile(r"\S+")
# A long run of letters is read once: each match begins a word, and gives no letter back.
_JOINED_WORD = re.compile(r"(?<!\w)\w++(?:[&'\u2019\uff06\uff07]\w++)++")
_WORD_JOINED_BY_AMPERSAND = re.compile(r"(?<!\w)\w++(?:&\w++)++")
# Accents after any letter except a Cyrillic letter.
_ACCENTS = re.compile("(?<![\u0400-\u04ff])[\u0300-\u036f]+")
_CYRILLIC = re.compile("[\u0400-\u04ff]+")
# Thai to Burmese, Khmer, kana, Han, Hangul, and supplementary Han.
_UNSPACED_SCRIPT = re.compile(
    "([\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
    "\U00020000-\U0003ffff]+)",
)

_SCRIPT_PATTERNS = {
    "unspaced": _UNSPACED_SCRIPT,
    "cyrillic": _CYRILLIC,
    # Greek to Phonetic Extensions, Tifinagh to Ethiopic, Yi to Meetei, Hebrew and Arabic forms.
    "other": re.compile(
        "[\u0370-\u1cff\u2d30-\u2ddf\ua000-\uabff\ufb1d-\ufdff\ufe70-\ufefc]",
    ),
}
SCRIPTS = ("latin", *_SCRIPT_PATTERNS)


def extract_terms(text: str) -> list[str]:
    """Return the terms of a text in order, with repetitions."""
    pieces = text.encode("utf-8", "replace").translate(_ASCII_TABLE).split()
    return list(chain.from_iterable(map(_extract_piece_terms, pieces)))


@lru_cache(maxsize=1 << 17)
def _extract_piece_terms(piece: bytes) -> tuple[str, ...]:
    """Return the terms of a UTF-8 piece that contains no ASCII separator."""
    text = piece.decode("utf-8")
    words: Iterable[str] = (text,) if text.isascii() else iterate_folded_words_or_pairs(text)
    return tuple(
        stem_word(word) for word in words if word not in _collect_stop_words_of_languages()
    )


def extract_entry_terms(text: str) -> list[str]:
    """Return the terms of an entry's text, and the terms of its joined words."""
    joined_terms = [term for _, _, term in find_joined_terms(text)]
    return extract_terms(text) + joined_terms


def find_joined_terms(
    text: str, pattern: re.Pattern[str] = _JOINED_WORD
) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, term) of each joined word in a text, if its parts lack this term.

    Words that are joined by apostrophes, and of which each part is a stop word, have no term:
    "she'll" is no shell.

    Args:
        pattern: Matches a joined word.
    """
    for word in pattern.finditer(text):
        part_terms = extract_terms(word[0])
        joined_word = "".join(filter(str.isalnum, word[0]))
        # "att" is a stop word of Swedish, but AT&T is none.
        for term in split_stems(joined_word):
            if term not in part_terms and (part_terms or "&" in word[0]):
                yield *word.span(), term


def extract_query_terms(query: str, *, filler_words: str = "") -> list[str]:
    """Return the terms of a query without filler words, or all its terms if no others remain.

    A word with an apostrophe is searched by its parts, and a word such as "AT&T" also joined.

    Args:
        query: The text of the query.
        filler_words: Words of the indexed task that are ignored in addition to QUERY_FILLER_WORDS.
    """
    joined_terms = [term for _, _, term in find_joined_terms(query, _WORD_JOINED_BY_AMPERSAND)]
    terms = extract_terms(query) + joined_terms
    return [term for term in terms if term not in _extract_filler_terms(filler_words)] or terms


@cache
def _extract_filler_terms(filler_words: str) -> frozenset[str]:
    return frozenset(
        chain(
            extract_terms(QUERY_FILLER_WORDS),
            extract_terms(filler_words),
        ),
    )


def find_term_spans(
    text: str,
    terms: AbstractSet[str],
) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, term) for each occurrence of the given terms in a text, in text order.

    Offsets are in characters of the text. Pairs of characters of a script without spaces overlap.
    Joined words come last.
    """
    for run in _NON_SPACE_RUN.finditer(text.translate(_WORD_CHARACTERS)):
        offset = run.start()
        for part in _UNSPACED_SCRIPT.split(run[0]):
            yield from _find_term_spans_in_part(part, offset, terms)
            offset += len(part)
    for start, end, term in find_joined_terms(text):
        if term in terms:
            yield start, end, term


def _find_term_spans_in_part(
    part: str,
    part_offset: int,
    terms: AbstractSet[str],
) -> Iterator[tuple[int, int, str]]:
    """Yield (start, end, term) of wanted terms in a word or in text of a script without spaces.

    In such a script, each pair of neighbouring characters is looked up, so spans overlap. A single
    character is looked up alone.

    Args:
        part: The word or the unspaced text, cut out of a longer text.
        part_offset: Offset of the part in that text; it is added to the spans.
        terms: The wanted terms, in the form that the tokenizer gives them.
    """
    if not part:
        return

    is_pairs = is_unspaced(part[:1]) and len(part) > 1
    width = 2 if is_pairs else len(part)
    for shift in range(len(part) - width + 1):
        start = part_offset + shift
        for term in extract_terms_cached(part[shift : shift + width]):
            if term in terms:
                yield start, start + width, term


@lru_cache(maxsize=1 << 14)
def extract_terms_cached(text: str) -> tuple[str, ...]:
    """Return the terms of a word, a character pair or a tag, in order, from an in-memory cache."""
    return tuple(extract_terms(text))


def is_unspaced(text: str) -> bool:
    """Return whether a text begins with a character of a script that has no spaces."""
    return _UNSPACED_SCRIPT.match(text) is not None


def find_script(text: str) -> str:
    """Return the script of a text, one of SCRIPTS.

    It is `unspaced` if the text has a character of a script without spaces, else `cyrillic` if it
    has a Cyrillic letter, else `other` if it has a letter of another script that is not Latin.
    """
    matching_scripts = (
        script for script, pattern in _SCRIPT_PATTERNS.items() if pattern.search(text)
    )
    return next(matching_scripts, "latin")


def fold_text(text: str) -> str:
    """Return a text without case, accents and compatibility forms, for the index and queries.

    Compatibility forms are other forms of the same character, such as full-width letters; they are
    replaced by the ordinary form. Cyrillic letters keep their accents, because these make other
    letters. The length of the text can change. `core.folding`, which finds quotations, keeps all
    accents.
    """
    if text.isascii():
        return text.lower()

    compatible = unicodedata.normalize("NFKC", text)
    folded = unicodedata.normalize("NFKC", compatible.casefold())
    decomposed = unicodedata.normalize("NFD", folded)
    return unicodedata.normalize(
        "NFC",
        _ACCENTS.sub("", decomposed),
    )


def iterate_folded_words_or_pairs(text: str) -> Iterator[str]:
    """Yield the words of a text in order, without case and accents, not stemmed.

    A script without spaces, such as Chinese, has no words: each pair of neighbouring characters is
    yielded instead, so pairs overlap. A character without a neighbour is yielded as it is.
    """
    for run in fold_text(text).translate(_WORD_CHARACTERS).split():
        for part in _UNSPACED_SCRIPT.split(run):
            if len(part) > 1 and is_unspaced(part):
                yield from map("".join, pairwise(part))
            elif part:
                yield part


class _WordCharacters(dict[int, int]):
    """Table for str.translate: letters, digits and their marks stay, others become spaces."""

    def __missing__(self, code: int) -> int:
        """Classify a character on first use and remember it."""
        is_word_character = unicodedata.category(chr(code))[0] in "LNM"
        self[code] = code if is_word_character else _SPACE
        return self[code]


_WORD_CHARACTERS = _WordCharacters()


def split_stems(text: str) -> list[str]:
    """Return the stems of all words of a text in order, also of stop words."""
    return [stem_word(word) for word in iterate_folded_words_or_pairs(text)]


@lru_cache(maxsize=1 << 17)
def stem_word(word: str) -> str:
    """Return the English stem of an ASCII word, the Russian stem of a Cyrillic word, else the word.

    Words with digits, and words shorter or longer than STEMMABLE_LENGTHS, are returned as they are.
    """
    if len(word) not in STEMMABLE_LENGTHS or not word.isalpha():
        return word
    if word.isascii():
        return str(_load_stemmer("english").stemWord(word))
    if _CYRILLIC.fullmatch(word):
        return str(_load_stemmer("russian").stemWord(word))
    return word


@cache
def _load_stemmer(language: str) -> Any:
    import snowballstemmer

    return snowballstemmer.stemmer(language)


@cache
def _collect_stop_words_of_languages() -> frozenset[str]:
    """Return the folded stop words of all STOP_WORD_LANGUAGES, without EXEMPT_STOP_WORDS.

    An exempt word is a stop word of one language and a subject or name in another. The set is
    computed once.
    """
    from bm25s import stopwords

    word_lists = [getattr(stopwords, f"STOPWORDS_{name}") for name in STOP_WORD_LANGUAGES]
    joined_words = " ".join(chain.from_iterable(word_lists))
    pieces = joined_words.encode().translate(_ASCII_TABLE).split()
    words = chain.from_iterable(
        iterate_folded_words_or_pairs(piece.decode("utf-8")) for piece in pieces
    )
    return frozenset(words).difference(EXEMPT_STOP_WORDS.split())
