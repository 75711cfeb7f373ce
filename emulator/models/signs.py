"""Tell whether Chinese or Japanese signs that stand for a term are a word of their own, or a part of a longer one.

Nothing in the script says where a word ends, but its words have their head last: what follows the name of a field makes
it something else ("海洋工程", marine engineering, is no oceanography), unless it says who works in it, or what is done
with it ("物理研究員"); and what stands before the name of an act makes it another one ("工作坊設計", workshop design).
"""

import functools
from collections.abc import Sequence

from emulator.models.tagging import listed, words
from emulator.models.vocabulary import ASIDES, Found
from emulator.models.words import Word, is_sign

_LONG = 3
"""Signs from which on a term is hardly ever part of another word."""
_REACH = 3
"""Signs of the longest word that follows a field."""


def whole(founds: Sequence[Found], said: Sequence[Word]) -> list[Found]:
    """Return what is found without short terms in signs that are a part of a longer word."""
    begins = {found.at for found in founds}
    ends = {found.at + found.size for found in founds}
    return [found for found in founds if not _is_part(found, said, begins=begins, ends=ends)]


def _is_part(found: Found, said: Sequence[Word], *, begins: set[int], ends: set[int]) -> bool:
    """Tell whether a term is in signs and what stands beside it makes it another word."""
    end = found.at + found.size
    if found.size >= _LONG or found.name in ASIDES or not is_sign(said[found.at].surface):
        return False
    if found.name not in listed("acts"):
        return _is_sign_at(said, end) and end not in begins and not _is_followed(said, end)
    is_wide = found.name in listed("roots") and found.at not in ends
    return is_wide and _is_sign_at(said, found.at - 1) and said[found.at - 1].surface not in _before()


def _is_sign_at(said: Sequence[Word], at: int) -> bool:
    return 0 <= at < len(said) and is_sign(said[at].surface)


def _is_followed(said: Sequence[Word], at: int) -> bool:
    """Tell whether what stands behind a field leaves it what it is."""
    reach = [word.surface for word in said[at : at + _REACH]]
    return any("".join(reach[:size]) in _behind() for size in range(1, len(reach) + 1))


@functools.cache
def _behind() -> frozenset[str]:
    return frozenset([*words("particles"), *words("behind")])


@functools.cache
def _before() -> frozenset[str]:
    return frozenset([*words("particles"), *words("before")])
