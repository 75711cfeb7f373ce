"""Tag a text with the domains it speaks of: terms of a controlled vocabulary, and fields that it names itself.

Only what the text says comes out, ranked by how early, how often and how specifically it says it: one tag may be all,
and none. What says little of a person ("science") is never a tag, broad terms are where there is nothing else, and
leisure and the names of organisations count for nothing. The same text gives the same tags.
"""

import functools
import math
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from emulator.models import encoder, tagging
from emulator.models.asides import about_work, worded
from emulator.models.fields import declared, fields
from emulator.models.markup import plain
from emulator.models.vocabulary import ASIDES, Found, Term, Vocabulary, everything
from emulator.models.words import Word, cut

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NEAR = 40
"""Words after which the bonus for an early place has fallen to a third."""
_BEGINNING = 25
"""How many words behind the title say what a text is about: the first sentence or two."""
_FIRST = 8
"""How many of them say so where a word stands for a term that it is no name of: "ferry", "kiln"."""
_LONGEST_TITLE = 15
"""Words; a longer line is no title."""
_TOUCHED_ON = 0.8
"""Below this weight a term named once is only touched on."""
_FEW = 2
"""Broad terms, and such as are only touched on, where there is nothing else."""
_LOOKED_AT = 4000
"""Characters that the search by meaning reads: what a text is about is said by then."""
_building = threading.Lock()


class _Rank(NamedTuple):
    """How much a text is about one term; the highest stands first."""

    weight: float
    at: int
    name: str
    passing: bool


def tags(text: str, *, allowed: Iterable[str] | None = None, at_least: int = 0, at_most: int = 8) -> list[str]:
    """Return the domains `text` speaks of, the surest first, each once: none where it speaks of none.

    `at_least` says how many there must be wherever the text is not blank and enough terms exist: broader terms of what
    was found follow, then the nearest in meaning. `allowed` restricts them to the given names, in their own casing and
    without regard to it when comparing; names that the vocabulary does not know are looked for as they stand.
    """
    if not text.strip() or at_most < 1:
        return []
    spelled = {name.strip().lower(): name for name in allowed} if allowed is not None else None
    vocabulary = everything() if spelled is None else _restricted(tuple(sorted(spelled)))
    cleaned = plain(text)
    names = _said(vocabulary, cleaned, is_open=spelled is None)
    if len(names) < at_least:
        names += [up for name in names for up in vocabulary.ancestors(name)]
        names = list(dict.fromkeys(names))[:at_least]
    if len(names) < at_least:
        names = _topped_up(vocabulary, names, text=cleaned if cleaned.strip() else text, wanted=at_least)
    names = names[:at_most]
    return names if spelled is None else [spelled[name] for name in names]


def _said(vocabulary: Vocabulary, text: str, *, is_open: bool) -> list[str]:
    """Return the terms that a text is about, the most first; with `is_open` also fields that it names itself."""
    title = _words_of_title(text)
    words = vocabulary.unfold(worded(text))
    pastimes = _listed("pastimes")
    founds = _found(vocabulary, words, is_open=is_open, title=title)
    ranks = _ranked(vocabulary, about_work(founds, words, pastimes), title=title)
    if not is_open:
        return [rank.name for rank in sorted(ranks, key=lambda rank: rank.passing)]
    return _worth_saying(ranks, _declared(words, founds))


def _declared(words: Sequence[Word], founds: Sequence[Found]) -> list[str]:
    """Return what a text declares that the person knows, where it names no term and no field."""
    asides = [found for found in founds if found.name in ASIDES]
    said = sorted([*asides, *declared(words)], key=lambda found: found.at)
    return list(dict.fromkeys(found.name for found in about_work(said, words, ())))[:_FEW]


def _words_of_title(text: str) -> int:
    """Return how many words the first line has where it is a title, else 0."""
    first, _, rest = text.partition("\n")
    title = len(cut(first)) if rest.strip() else 0
    return title if title <= _LONGEST_TITLE else 0


def _found(vocabulary: Vocabulary, words: Sequence[Word], *, is_open: bool, title: int) -> list[Found]:
    """Return what words stand for, in order: a field that the text names itself takes the place of its last words'."""
    founds = vocabulary.find(words)
    if not is_open:
        return founds
    named = [one for one in fields(words, vocabulary.words, title=title) if not _is_said(one, founds)]
    begins = {_end(one): one.at for one in named}
    kept = [found for found in founds if found.at < begins.get(_end(found), found.at + 1)]
    return sorted([*kept, *named], key=lambda found: found.at)


def _end(found: Found) -> int:
    return found.at + found.size


def _is_said(field: Found, founds: Sequence[Found]) -> bool:
    """Tell whether a term of the vocabulary says what a field says: all of it, or all but a last word that is empty."""
    begun = [found for found in founds if found.at <= field.at < _end(found)]
    is_empty = field.name.rpartition(" ")[2] in _listed("empty")
    return any(found.size > 1 or _end(found) >= _end(field) - is_empty for found in begun)


def _worth_saying(ranks: Sequence[_Rank], declared: Sequence[str]) -> list[str]:
    """Return the names of what is worth a tag, from ranks in order: what is declared before what says little."""
    never, broad = _listed("never"), _listed("broad")
    said = [rank for rank in ranks if rank.name not in never]
    specific = [rank.name for rank in said if rank.name not in broad and not rank.passing]
    touched_on = [rank.name for rank in said if rank.name not in broad]
    return specific or [*declared, *touched_on][:_FEW] or [rank.name for rank in said][:_FEW]


def _ranked(vocabulary: Vocabulary, founds: Sequence[Found], *, title: int) -> list[_Rank]:
    """Return how much is said of each term, the most first."""
    places: dict[str, list[Found]] = {}
    for found in founds:
        places.setdefault(found.name, []).append(found)
    kin = Counter(up for name in places for up in (name, *vocabulary.ancestors(name)))
    ranks = [_rank(vocabulary, name, founds=founds, kin=kin, title=title) for name, founds in places.items()]
    return sorted(ranks, key=lambda rank: (-rank.weight, rank.at, rank.name))


def _rank(vocabulary: Vocabulary, name: str, *, founds: Sequence[Found], kin: Counter[str], title: int) -> _Rank:
    """Weigh one term: early, often, specific, said in several words, and in the company of its kind.

    In passing is what is named once, not at the beginning, and alone of its kind: a costume maker's cheese grater.
    """
    first = founds[0].at
    alone = all(kin[up] == 1 for up in (name, *vocabulary.ancestors(name)))
    term = vocabulary.terms.get(name)
    specific = 0.4 if term is None or term.parents else 0.0
    several = 0.2 if max(found.size for found in founds) > 1 else 0.0
    company = 0.0 if alone else 0.3
    often = 0.5 * math.log(1 + len(founds))
    weight = math.exp(-first / _NEAR) + often + specific + several + company
    is_telling = several > 0 or (any(found.is_telling for found in founds) and name not in _said_of_much())
    late = first >= title + (_BEGINNING if is_telling else _FIRST)
    passing = len(founds) == 1 and late and (alone or not is_telling or weight < _TOUCHED_ON)
    return _Rank(weight, first, name, passing)


def _topped_up(vocabulary: Vocabulary, names: list[str], *, text: str, wanted: int) -> list[str]:
    """Return `names` and as many of the nearest terms as are missing, relatives of `names` before all others."""
    order, vectors = _vectors(vocabulary)
    likeness = vectors @ _meaning([text[:_LOOKED_AT] if text[:_LOOKED_AT].strip() else text])[0]
    nearest = [order[place] for place in (-likeness).argsort(kind="stable")]
    nearest.sort(key=lambda name: not vocabulary.terms[name].plain)  # "react" is near to any talk of reacting
    kin = {up for name in names for up in (name, *vocabulary.ancestors(name))}
    related = [name for name in nearest if not kin.isdisjoint((name, *vocabulary.ancestors(name)))]
    return list(dict.fromkeys([*names, *related, *nearest]))[:wanted]


@functools.cache
def _said_of_much() -> frozenset[str]:
    """Return the terms that one word late in a text says nothing of."""
    return _listed("broad") | _listed("bywords")


@functools.cache
def _listed(table: str) -> frozenset[str]:
    return frozenset(tagging.names(table))


def _meaning(texts: Sequence[str]) -> "NDArray[np.float32]":
    """Return the semantic half of the vectors of `texts`, float32, (n, 256)."""
    return encoder.encode(texts)[:, : encoder.MEANING]


@functools.lru_cache(maxsize=16)
def _restricted(names: tuple[str, ...]) -> Vocabulary:
    """Return a vocabulary of `names` alone (lower case): our own aliases where we know the name, else the name."""
    known = everything().terms
    terms = [known.get(name, Term(name, (), (name,))) for name in names if name]
    return Vocabulary([term for term in terms if any(word.plain for word in cut(term.aliases[0]))])


def _vectors(vocabulary: Vocabulary) -> "tuple[list[str], NDArray[np.float32]]":
    """Return the names of the terms and their vectors, computed once for each vocabulary."""
    with _building:
        return _computed(vocabulary)


@functools.lru_cache(maxsize=16)
def _computed(vocabulary: Vocabulary) -> "tuple[list[str], NDArray[np.float32]]":
    """Encode every term with its first aliases: float32, (terms, 256), in the order of the names."""
    names = list(vocabulary.terms)
    if not names:
        return names, _meaning(["nothing"])[:0]
    texts = [" ".join((name, *vocabulary.terms[name].aliases[:6])) for name in names]
    return names, _meaning(texts)
