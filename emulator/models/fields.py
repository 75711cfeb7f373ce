"""Find fields that a text names itself: one or two words before a word that ends the name of a field.

"Groundwater modeling" and "museum photography" stand in no vocabulary, and are what a person knows. English alone: the
rules go by the order of its words. A capitalised word is taken for a name unless the vocabulary knows it.
"""

import functools
import re
from collections.abc import Container, Iterator, Sequence

from emulator.models.tagging import names, spelled, words
from emulator.models.vocabulary import Found
from emulator.models.words import Word, cut

_MOST = 2
"""Words before the last one."""
_SHORTEST = 3
_ADJECTIVE = re.compile(r".{3,}(?:al|ic|ary|ous|ine|ular)")
_PREFIXES = frozenset({"non", "cross", "post", "pre", "multi", "anti", "co", "re", "sub", "inter", "micro", "macro"})
_VERBAL = re.compile(r".{2,}(?:ing|ed)")
_ENGLISH = re.compile(r"[a-z]+")


def fields(said: Sequence[Word], known: Container[str]) -> Iterator[Found]:
    """Yield the fields that `said` names, from left to right; `known` are words that are no names of people."""
    heads = _heads()
    for at, word in enumerate(said):
        endings = heads.get(word.plain)
        if endings is None:
            continue
        ending, size = _ending(said, at, endings)
        if size == 0:
            continue
        before = _before(said, at - size + 1, known)
        if before or size > 1:
            start = at - size + 1 - len(before)
            yield Found(_shown([*before, *ending]), start, len(before) + size)


def _ending(said: Sequence[Word], at: int, endings: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], int]:
    """Return the longest ending that is over at a place, and its size; 0 where there is none."""
    for ending in endings:
        start = at - len(ending) + 1
        if start >= 0 and all(said[start + turn].plain == _plain(part) for turn, part in enumerate(ending[:-1])):
            return ending, len(ending)
    return (), 0


def _before(said: Sequence[Word], head: int, known: Container[str]) -> list[str]:
    """Return the words before a head that say which field it is, in order."""
    found: list[str] = []
    place = head - 1
    while place >= 0 and len(found) < _MOST and _says_which(said[place], known):
        lower = said[place].surface.lower()
        if found and not (_ADJECTIVE.fullmatch(lower) or lower in _PREFIXES):
            break
        found.insert(0, lower)
        place -= 1
    while found and (found[0] in _PREFIXES) and len(found) == 1:
        found.pop(0)
    return found


def _says_which(word: Word, known: Container[str]) -> bool:
    """Tell whether a word may stand before a head."""
    lower = word.surface.lower()
    if not _ENGLISH.fullmatch(lower) or lower in _weak() or word.plain in _weak():
        return False
    if lower in _modifiers() or lower in _PREFIXES:
        return True
    is_form = _VERBAL.fullmatch(lower) or (lower.endswith("s") and not lower.endswith("ss")) or lower.endswith("ly")
    if is_form or len(lower) < _SHORTEST or lower.endswith(("er", "ist", "or")) and lower not in known:
        return False
    return word.surface.islower() or word.plain in known


def _shown(parts: Sequence[str]) -> str:
    """Return a name as it is shown: one spelling, prefixes with their hyphens."""
    shown = ""
    for part in parts:
        shown += part + ("-" if part in _PREFIXES else " ")
    return shown.strip()


@functools.cache
def _heads() -> dict[str, list[tuple[str, ...]]]:
    """Return the endings of fields by the plain form of their last word, the longest first."""
    found: dict[str, list[tuple[str, ...]]] = {}
    for name in names("heads"):
        parts = tuple(name.split())
        found.setdefault(_plain(parts[-1]), []).append(parts)
    for other, shown in spelled().items():
        found.setdefault(_plain(other), []).append((shown,))
    for endings in found.values():
        endings.sort(key=len, reverse=True)
    return found


def _plain(word: str) -> str:
    return cut(word)[0].plain


@functools.cache
def _weak() -> frozenset[str]:
    return frozenset(words("weak"))


@functools.cache
def _modifiers() -> frozenset[str]:
    return frozenset(words("modifiers"))
