"""Rank what is found in a text by how much the text is about it, and tell what it only mentions in passing.

What a text begins with, a title above all, says what it is about. What is said once behind that counts where it is of
the same kind: a dentist's surgery, but not a costume maker's cheese grater.
"""

import functools
import itertools
import math
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, NamedTuple

from emulator.models import encoder
from emulator.models.tagging import listed
from emulator.models.vocabulary import MARKS, Found, Vocabulary

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NEAR = 40
"""Words after which the bonus for an early place has fallen to a third."""
_BEGINNING = 25
"""How many words behind the title say what a text is about: the first sentence or two."""
_KIN = 12
"""How many words behind a beginning of broad terms a narrower one's word may stand that means other things, too."""
_FIRST = 8
"""How many of them say so where a word stands for a term that it is no name of: "ferry", "kiln"."""
_SAID_OFTEN = 3
_ALIKE = 0.12
"""The likeness from which two terms belong together; of 22 pairs that do half reach it, of 24 that do not one."""
_WORDS = 4
_BRIEF = 30
"""Words behind the title of a text that lists what a person does, and tells no story."""


class Rank(NamedTuple):
    """How much a text is about one term; the highest stands first."""

    weight: float
    at: int
    name: str
    passing: bool
    is_telling: bool
    """Whether one word for it can hardly mean anything else."""
    is_titled: bool


def ranked(
    vocabulary: Vocabulary,
    founds: Sequence[Found],
    *,
    title: int,
    size: int,
    pace: int = 1,
    declared: Container[int] = (),
    opening: int = 0,
) -> list[Rank]:
    """Return how much is said of each term, the most first.

    The first `title` words of `size` are the text's title; `pace` of them make up a word of English. What stands at the
    places of `declared` is never in passing, nor is what says one thing alone in the `opening` words behind the title.
    """
    places: dict[str, list[Found]] = {}
    for found in founds:
        places.setdefault(found.name, []).append(found)
    never, roots = listed("never"), listed("roots")
    kinds = {name: {name, *vocabulary.ancestors(name)} - roots for name in places}
    said = [name for name in places if name not in never]
    titled = [name for name in said if places[name][0].at < title]
    first = title + (0 if title else _FIRST * pace)
    earliest = min((places[name][0].at for name in said), default=0)
    if not titled and earliest >= first:  # what a text says first is what it is about, though it begins elsewhere
        first = earliest + _FIRST * pace
    anchors = titled or [name for name in said if places[name][0].at < first]
    paired = _paired(vocabulary, founds)
    grace = (_KIN if listed("broad").issuperset(anchors) else 0) * pace, _BEGINNING * pace
    ranks = []
    for name, found_at in places.items():
        is_kin = any(name != other and not kinds[name].isdisjoint(kinds[other]) for other in anchors)
        term = vocabulary.terms.get(name)
        weight = _weight(
            found_at, is_specific=term is None or bool(term.parents), is_kin=is_kin or name in titled, pace=pace
        )
        is_opening = any(found.at < title + opening and _is_telling(found) for found in found_at)
        is_beside = bool(titled) and term is not None and not is_kin and not is_opening
        if is_beside:
            is_said = len(found_at) >= _SAID_OFTEN or size <= title + _BRIEF * pace
            near = is_said and any(map(_is_telling, found_at)) and _is_like_any(vocabulary, name, anchors)
            is_passing = not near
        else:
            is_passing = len(found_at) == 1 and _is_late(found_at[0], first=first, is_kin=is_kin, grace=grace)
        is_telling = any(map(_is_telling, found_at))
        is_sure = name in anchors or name in paired or any(found.at in declared for found in found_at)
        ranks.append(Rank(weight, found_at[0].at, name, is_passing and not is_sure, is_telling, name in titled))
    return sorted(ranks, key=lambda rank: (-rank.weight, rank.at, rank.name))


def _paired(vocabulary: Vocabulary, founds: Sequence[Found]) -> set[str]:
    """Return the terms that stand right beside a broader one of theirs: "développeur Android"."""
    pairs = [(one, other) for one, other in itertools.pairwise(founds) if one.at + one.size == other.at]
    both = pairs + [(other, one) for one, other in pairs]
    return {one.name for one, other in both if other.name in vocabulary.ancestors(one.name)}


def _weight(founds: Sequence[Found], *, is_specific: bool, is_kin: bool, pace: int) -> float:
    """Weigh one term: early, often, specific, said in several words, and in the company of its kind."""
    early = math.exp(-founds[0].at / (_NEAR * pace))
    several = 0.2 if max(found.size for found in founds) > 1 else 0.0
    return early + 0.5 * math.log(1 + len(founds)) + 0.4 * is_specific + several + 0.3 * is_kin


def _is_like_any(vocabulary: Vocabulary, name: str, others: Sequence[str]) -> bool:
    """Tell whether a term means something near to one of others."""
    meaning = _meaning(_telling_words(vocabulary, name))
    return any(float(meaning @ _meaning(_telling_words(vocabulary, other))) >= _ALIKE for other in others)


def _telling_words(vocabulary: Vocabulary, name: str) -> str:
    """Return the name of a term with its first English words."""
    term = vocabulary.terms.get(name)
    words = [alias.lstrip(MARKS) for alias in (term.aliases if term else ()) if alias.isascii()]
    return " ".join(dict.fromkeys([name, *words[:_WORDS]]))


@functools.lru_cache(maxsize=1 << 12)
def _meaning(words: str) -> "NDArray[np.float32]":
    """Return what some words mean, float32, (256,), of unit length."""
    import numpy as np

    meaning = encoder.encode([words])[:, : encoder.MEANING]
    unit: NDArray[np.float32] = meaning[0] / np.float32(np.linalg.norm(meaning) or 1)
    return unit


def _is_late(found: Found, *, first: int, is_kin: bool, grace: tuple[int, int]) -> bool:
    """Tell whether a term that is named once is so behind the beginning, where it must be of the first ones' kind.

    `grace` is how many words further a word may stand that means other things, too, and one that does not.
    """
    is_telling = _is_telling(found)
    further = grace[1] if is_telling else grace[0] * is_kin
    return found.at >= first + further and not (is_kin and is_telling)


def _is_telling(found: Found) -> bool:
    """Tell whether words stand for their term late in a text, too."""
    return found.size > 1 or (found.is_telling and found.name not in _little())


@functools.cache
def _little() -> frozenset[str]:
    """Return the terms of which one word says little where it stands late in a text."""
    return listed("broad") | listed("bywords")
