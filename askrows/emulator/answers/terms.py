"""Find the subjects of a text: terms of a table that the text names, in any of several languages.

A line of `terms.tsv` has a term, its broader terms and its aliases: the words that name it. An
alias with a capital is found only in this spelling, any other alias in any case. If two terms have
the same alias, it names the first.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import chain
from typing import NamedTuple

from askrows.emulator.answers.text import CJK, blank_markup

# A term counts half as much at this word as at the beginning.
_HALF_WEIGHT_WORDS = 20
# Terms with a smaller share of the greatest weight are left out.
_MIN_WEIGHT_SHARE = 0.5
# Words of the longest alias; each Chinese or Japanese character is a word.
_MAX_ALIAS_WORDS = 5
# A word, also with the signs of C++, C# and .NET, or a sign that no alias crosses.
_WORD = re.compile(rf"[{CJK}]|\.?[^\W_{CJK}]{{1,48}}[+#]{{0,2}}|[^\w\s'\u2019/-]|\n")


class _Terms(NamedTuple):
    """The table of terms."""

    # The term that an alias names; aliases also with a final s.
    term_by_alias: dict[str, str]
    # The broader terms of each term.
    broader_terms: dict[str, list[str]]


def find_terms_and_broader_terms(text: str) -> list[str]:
    """Return the terms that a text is about, the heaviest first, then their broader terms.

    A term weighs more the earlier and the more often it is named. Terms with less than
    _MIN_WEIGHT_SHARE of the greatest weight are left out. Broad terms (without broader terms) count
    only if the text names no other, and are not added as broader terms. The list is empty if the
    text names no term.
    """
    terms_by_alias, broader_terms = _load_terms()
    words = _WORD.findall(blank_markup(text))
    weights = dict[str, float]()
    index = 0
    while index < len(words):
        following_words = words[index : index + _MAX_ALIAS_WORDS]
        word_count, term = _match_longest_alias_or_skip_word(terms_by_alias, following_words)
        if term:
            weights[term] = weights.get(term, 0) + 1 / (_HALF_WEIGHT_WORDS + index)
        index += word_count

    terms = [term for term in weights if broader_terms[term]] or list(weights)
    terms.sort(key=lambda term: -weights[term])
    subjects = [term for term in terms if weights[term] >= _MIN_WEIGHT_SHARE * weights[terms[0]]]
    more_terms = chain.from_iterable(broader_terms[term] for term in subjects)
    return list(dict.fromkeys([*subjects, *filter(broader_terms.get, more_terms)]))


def _match_longest_alias_or_skip_word(
    terms_by_alias: Mapping[str, str], words: Sequence[str]
) -> tuple[int, str]:
    """Return the number of words and the term of the longest alias at the beginning.

    An exact spelling precedes lower case. Without an alias the result is 1 and "".
    """
    for word_count in range(len(words), 0, -1):
        phrase = " ".join(words[:word_count])
        term = terms_by_alias.get(phrase) or terms_by_alias.get(phrase.lower())
        if term:
            return word_count, term
    return 1, ""


@functools.cache
def _load_terms() -> _Terms:
    """Read the table of terms; if several terms have an alias, it names the first of them.

    The table is read once.
    """
    terms_by_alias = dict[str, str]()
    broader_terms = dict[str, list[str]]()
    path = files("askrows.emulator.answers").joinpath("terms.tsv")
    for line in path.read_text(encoding="utf-8").splitlines():
        term, broader, aliases = line.split("\t")
        broader_terms[term] = list(filter(None, broader.split(", ")))
        for alias in filter(None, aliases.split(", ")):
            phrase = " ".join(_WORD.findall(alias))
            terms_by_alias.setdefault(phrase, term)
            terms_by_alias.setdefault(f"{phrase}s", term)
    return _Terms(terms_by_alias, broader_terms)
