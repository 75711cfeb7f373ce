"""Suggest how a word of a question is spelt that no entry has, where some have one that is a single typing error away.

It is said and not searched for: a word that no entry has may be right all the same, and is found by its meaning.
"""

import re
from collections.abc import Container, Iterator
from string import ascii_lowercase
from typing import TYPE_CHECKING

from pipeline.core.answer_paths import leaves
from pipeline.index.terms import fold, spans_of, terms_of, terms_of_question

if TYPE_CHECKING:
    from pipeline.index.postings import Postings
    from pipeline.index.reader import Index

LETTERS = range(5, 25)  # of a word: what differs from a shorter one by one of them is another word more often than not
SHARE = 3  # terms of a question of which such a word is one, at most: a longer one has others to go by
MOST = 4  # such words: a question that has more is of another language, or of none
READ = 20  # entries in which the spelling of a stem is looked for
_WORD = re.compile(r"[^\W\d_]+")


def suggested_spelling(index: "Index", question: str) -> str:
    """Return a question with such words as an entry has them, empty where it has none or the build has no words."""
    words, terms = index.words, terms_of_question(question)
    if words is None or not terms:
        return ""
    likely = {term for word in map(fold, _WORD.findall(question)) if _may_be_misspelt(word) for term in terms_of(word)}
    unknown = {term for term, held in zip(terms, words.held(terms).tolist(), strict=True) if not held} & likely
    if len(unknown) * SHARE < len(terms) or len(unknown) > MOST:
        return ""
    better = _WORD.sub(lambda found: _better(index, words, found[0], unknown), question)
    return better if better != question else ""


def _may_be_misspelt(word: str) -> bool:
    return len(word) in LETTERS and word.isascii()


def _better(index: "Index", words: "Postings", word: str, unknown: Container[str]) -> str:
    """Return what most entries have of the words one error from one that none has; any other word as it is."""
    folded = fold(word)
    if not any(term in unknown for term in terms_of(folded)):
        return word
    near = {one: terms[0] for one in _one_error_away(folded) if len(terms := terms_of(one)) == 1}
    stems = list(set(near.values()))
    counts = dict(zip(stems, words.held(stems).tolist(), strict=True))
    likely = sorted((stem for stem in stems if counts[stem]), key=lambda stem: (-counts[stem], stem))
    written = (one for stem in likely for one in _as_written(index, words, stem) if fold(one) in near)
    return next(written, word)


def _as_written(index: "Index", words: "Postings", stem: str) -> Iterator[str]:
    """Yield the words of a stem as some entries have them."""
    for row in words.holding([stem])[:READ].tolist():
        text = "\n".join(value for _, value in leaves(index.metadata_at(row)) if isinstance(value, str))
        yield from (text[start:end] for start, end, _ in spans_of(text, {stem}))


def _one_error_away(word: str) -> Iterator[str]:
    """Yield what has a letter more, less or another, or two swapped, but for the first one.

    Few typing errors are in a word's first letter, and with another one it is another word.
    """
    for at in range(1, len(word) + 1):
        before, after = word[:at], word[at:]
        yield from (f"{before}{letter}{after}" for letter in ascii_lowercase)
        if after:
            yield before + after[1:]
            yield from (f"{before}{letter}{after[1:]}" for letter in ascii_lowercase)
        if len(after) > 1:
            yield before + after[1] + after[0] + after[2:]
