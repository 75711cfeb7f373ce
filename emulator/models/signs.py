"""Tell whether Chinese or Japanese signs that stand for a term are a word of their own, or a part of a longer one.

Nothing in the script says where a word ends, but its words have their head last: what follows the name of a field makes
it something else ("海洋工程", marine engineering, is no oceanography), unless it says who works in it, or what is done
with it ("物理研究員"); and what stands before the name of an act makes it another one ("工作坊設計", workshop design).
"""

import functools
from collections.abc import Callable, Sequence

from emulator.models.languages import pace_of
from emulator.models.tagging import listed, words
from emulator.models.vocabulary import ASIDES, Found
from emulator.models.words import Word, is_sign

_LONG = 3
"""Signs from which on a term is hardly ever part of another word."""
_REACH = 3
"""Signs of the longest word that follows a field."""


def whole(founds: Sequence[Found], said: Sequence[Word], *, spared: Callable[[str], bool]) -> list[Found]:
    """Return what is found without what is a part of a longer word in signs, or of a name among them.

    Terms that are `spared` stand in names by right: "Google Kubernetes".
    """
    begins = {found.at for found in founds}
    ends = {found.at + found.size for found in founds}
    kept = [found for found in founds if not _is_part(found, said, begins=begins, ends=ends)]
    if pace_of(said) == 1:
        return kept
    return [found for found in kept if spared(found.name) or not _is_of_name(found, said)]


def _is_of_name(found: Found, said: Sequence[Word]) -> bool:
    """Tell whether a word stands in Latin letters beside another one, both capitalised: "Adobe Systems"."""
    beside = [said[at].surface for at in (found.at - 1, found.at + 1) if 0 <= at < len(said)]
    is_capital = said[found.at].surface[:1].isupper() and said[found.at].surface[1:].islower()
    return found.size == 1 and is_capital and any(word[:1].isupper() for word in beside)


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
