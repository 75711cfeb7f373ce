"""Tell by its little words whether a text is in English: what goes by English words and their order asks first."""

import functools
from collections.abc import Sequence

from emulator.models import tagging
from emulator.models.vocabulary import Found
from emulator.models.words import Word, is_sign

_BEGINNING = 200
"""Words that are enough to tell."""
_BEFORE = 2
"""Words between a word of being and what the person is, itself included."""
_SIGNS = 2
"""Chinese, Japanese and Korean characters that say as much as a word of other scripts."""


def is_foreign(said: Sequence[Word]) -> bool:
    """Tell whether more little words of other languages stand in the beginning of a text than English ones."""
    beginning = {word.surface.lower() for word in said[:_BEGINNING]}
    return len(beginning & _little("other")) > len(beginning & _little("english"))


def pace_of(said: Sequence[Word]) -> int:
    """Return how many words of a text say as much as one of English."""
    beginning = said[:_BEGINNING]
    signs = sum(is_sign(word.surface) for word in beginning)
    return _SIGNS if 2 * signs > len(beginning) else 1


def stated(founds: Sequence[Found], said: Sequence[Word]) -> list[Found]:
    """Return what stands right behind a word of being in a text that is not in English: "je suis actuellement ..."."""
    cues = _little("being")
    return [found for found in founds if any(word.surface.lower() in cues for word in _before(said, found.at))]


def _before(said: Sequence[Word], at: int) -> Sequence[Word]:
    """Return the few words before a place that no break stands behind."""
    first = at
    while first > max(0, at - _BEFORE) and said[first - 1].plain:
        first -= 1
    return said[first:at]


def is_false_friend(phrase: Sequence[Word]) -> bool:
    """Tell whether a word alone, hyphens or none, means something else in a text that is not in English."""
    return "".join(word.surface.lower() for word in phrase) in _little("friends")


@functools.cache
def _little(table: str) -> frozenset[str]:
    return frozenset(tagging.words(table))
