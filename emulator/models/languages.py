"""Tell by its little words whether a text is in English: what goes by English words and their order asks first."""

import functools
from collections.abc import Sequence

from emulator.models import tagging
from emulator.models.words import Word, is_sign

_SIGNS = 2
"""Chinese, Japanese and Korean characters that say as much as a word of other scripts."""


def is_foreign(said: Sequence[Word]) -> bool:
    """Tell whether more little words of other languages stand in a text than English ones."""
    lower = [word.surface.lower() for word in said if word.plain]
    english, other = _little("english"), _little("other")
    return sum(word in other for word in lower) > sum(word in english for word in lower)


def pace_of(said: Sequence[Word]) -> int:
    """Return how many words of a text say as much as one of English."""
    signs = sum(is_sign(word.surface) for word in said)
    return _SIGNS if 2 * signs > len(said) else 1


def without_false_friends(said: Sequence[Word]) -> list[Word]:
    """Return the words of a text that is not in English, with breaks for those that mean something else in it."""
    friends = _little("friends")
    return [Word(",", "", "") if word.surface.lower() in friends else word for word in said]


@functools.cache
def _little(table: str) -> frozenset[str]:
    return frozenset(tagging.words(table))
