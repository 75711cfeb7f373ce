"""Find the subjects of a text: terms of a table that the text names, in any of several languages.

A line of `terms.tsv` has a term, its broader terms and its aliases: the words that name it. An
alias with a capital is found only in this spelling. Any other alias is found in any case and
number. If two terms have the same alias, it names the first.
"""

import functools
import re
import unicodedata
from collections.abc import Sequence
from importlib.resources import files
from itertools import chain
from typing import NamedTuple

from askrows.emulator.answers.text import CJK, blank_markup, stem_word

# A term counts half as much at this word as at the beginning.
_HALF_WEIGHT_WORDS = 20
# Terms with a smaller share of the greatest weight are left out.
_MIN_WEIGHT_SHARE = 0.5
# A word, also with the signs of C++, C# and .NET, or a sign that no alias crosses.
_WORD = re.compile(rf"[{CJK}]|\.?[^\W_{CJK}]{{1,48}}[+#]{{0,2}}|[^\w\s'\u2019/-]|\n")
_PLURAL = re.compile(r"(?<=\w\w\w)(?<![sui])s$")


class _TermTable(NamedTuple):
    """The content of `terms.tsv`."""

    # Terms by their aliases in the form in which they are compared.
    terms_by_alias: dict[str, str]
    # Broader terms of each term; a term without any is broad.
    broader_terms: dict[str, list[str]]
    max_alias_words: int


class _Word(NamedTuple):
    """A word of a text or an alias."""

    surface: str
    # Without accents, in lower case and in the singular.
    singular: str
    stem: str


def find_subjects(text: str) -> list[str]:
    """Return the terms that a text is about, the heaviest first, then their broader terms.

    A term weighs more the earlier and the more often it is named. Broad terms count only if the
    text names no other. The list is empty if the text names no term.
    """
    table = _load_terms()
    words = list(map(_make_word, _WORD.findall(blank_markup(text))))
    weights = dict[str, float]()
    index = 0
    while index < len(words):
        term, word_count = _find_term_at(table, words, index)
        if term:
            weight = _HALF_WEIGHT_WORDS / (_HALF_WEIGHT_WORDS + index)
            weights[term] = weights.get(term, 0) + weight
        index += word_count

    narrow_terms = [term for term in weights if table.broader_terms[term]]
    terms = sorted(narrow_terms or weights, key=lambda term: -weights[term])
    subjects = [term for term in terms if weights[term] >= _MIN_WEIGHT_SHARE * weights[terms[0]]]
    broader_terms = chain.from_iterable(table.broader_terms[term] for term in subjects)
    not_broad = (term for term in broader_terms if table.broader_terms.get(term))
    return list(dict.fromkeys([*subjects, *not_broad]))


def _find_term_at(table: _TermTable, words: Sequence[_Word], start: int) -> tuple[str | None, int]:
    """Return the term of the longest alias that begins at a word, and the alias' number of words.

    An exact spelling precedes the folded form. Without an alias the result is None and 1.
    """
    for word_count in range(table.max_alias_words, 0, -1):
        phrase = words[start : start + word_count]
        surface = " ".join(word.surface for word in phrase)
        term = table.terms_by_alias.get(surface) or table.terms_by_alias.get(_fold_phrase(phrase))
        if term:
            return term, len(phrase)
    return None, 1


def _fold_phrase(words: Sequence[_Word]) -> str:
    """Return the form in which aliases are compared: a word in the singular, or several stems."""
    if len(words) == 1:
        return words[0].singular
    return " ".join(word.stem for word in words)


def _make_word(surface: str) -> _Word:
    decomposed = unicodedata.normalize("NFKD", surface.lower())
    letters = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    return _Word(surface, _PLURAL.sub("", letters), stem_word(letters))


@functools.cache
def _load_terms() -> _TermTable:
    """Return the content of `terms.tsv`; an alias in lower case is stored in its folded form."""
    table = _TermTable({}, {}, 0)
    max_alias_words = 0
    path = files("askrows.emulator.answers").joinpath("terms.tsv")
    for line in path.read_text(encoding="utf-8").splitlines():
        term, broader_terms, aliases = line.split("\t")
        table.broader_terms[term] = list(filter(None, broader_terms.split(", ")))
        for alias in filter(None, aliases.split(", ")):
            surfaces = _WORD.findall(alias)
            key = " ".join(surfaces)
            if alias == alias.lower():
                key = _fold_phrase(list(map(_make_word, surfaces)))
            table.terms_by_alias.setdefault(key, term)
            max_alias_words = max(max_alias_words, len(surfaces))
    return table._replace(max_alias_words=max_alias_words)
