"""Say which concepts a text speaks of, each with the words of the text that show it.

The candidates of `phrases` are ranked by what YAKE looks at (Campos et al., "YAKE! Keyword extraction from single
documents using multiple local features", 2020): how early, how often, in how many sentences and in which casing a
phrase stands, and how its words recur in others. Those need nothing but the one text, so that the same text gives the
same concepts alone, in a batch and in the next process. The type follows from the last word. Nothing is invented:
names are words of the text, quotes are slices of it.
"""

import bisect
import functools
import heapq
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from emulator.models.concept_types import TYPES, is_unknown, type_by_context, type_by_form, type_of
from emulator.models.markup import blanked
from emulator.models.phrase_words import is_broad
from emulator.models.phrases import Phrase, Place, phrases, single_words
from emulator.models.quotations import quotes_of, sentences_of

_SUREST, _LEAST_SURE = 0.95, 0.5
_STEP = 0.035
"""How much less sure each further concept is: 0.95 for the first, 0.5 for the fourteenth."""
_CANDIDATES, _NEARLY_ALL = 6.5, 0.9685
"""Of so many candidates 61 % of all concepts are told that may be, of twice as many 84 %; nearly all of very many."""
_SAME_HEAD = 0.6
"""What a phrase is worth after one that ends with the same word, and again after each further one."""
_LENGTHS = {1: 0.6, 2: 1.0, 3: 0.9}
"""People name most key phrases in two or three words; one word alone is rarely telling, four are often an accident."""
_LONG = 0.6
_STEM = 4
"""Letters that are left of a word at least when its ending is taken off."""
_OFTEN = 0.7
"""The power of how often it stands there by which a phrase weighs."""
_ABBREVIATED, _UNTYPED = 2.5, 0.7
"""What a phrase is worth that the text gives an acronym, and one of which no rule knows the type."""
_MENTIONED = 0.5
"""What one word is worth that stands there once, in small letters."""
_BROAD_END = 0.8
"""What a phrase is worth that ends with a word of no meaning: "case", "level"."""
_NEAR = 6
"""Sentences after which the bonus for an early place has fallen to a third."""
_BEFORE = 20
"""Characters before a word that say whether it begins a sentence."""
_AROUND = 60
"""Characters before and behind a name that are looked at for its type."""
_TWICE_QUOTED = 4
"""How many of the first concepts have a second quote where the text has one."""
_QUICK, _QUICK_QUOTE = 6, 120
_QUICK_WORD = re.compile(r"[^\W\d_]{4,40}")
_ANY_WORD = re.compile(r"[^\W\d_]\w{0,39}")


@dataclass
class _Candidate:
    """Something the text may be about, and everywhere it stands."""

    words: tuple[str, ...]
    places: list[Place] = field(default_factory=list)
    acronym: str = ""
    capital: bool = False
    length: int = 1
    weight: float = 0.0


def concepts(text: str, *, at_least: int = 4, at_most: int = 14) -> list[dict[str, Any]]:
    """Return the concepts of `text`, the surest first: name, type, aliases, confidence (0.5 to 0.95), quotes.

    There are at most `at_most`, and `at_least` wherever the text has as many words that are no stop words; at least one
    (if `at_most` allows it) wherever it has a word with a letter, none elsewhere. Every quote is a slice of `text`, and
    the first holds the name as it is written there.
    """
    readable = blanked(text)
    found = phrases(readable)
    sentences = sentences_of(readable)
    ranked = _ranked(found, sentences)
    wanted = max(at_least, round(_NEARLY_ALL * at_most * (1 - math.exp(-len(ranked) / _CANDIDATES))))
    chosen = _distinct(ranked, wanted=min(wanted, at_most), fewest=at_least)
    if len(chosen) < min(at_least, at_most):
        chosen = _topped_up(chosen, single_words(readable) or single_words(text), wanted=min(at_least, at_most))
    names = _Names(text, readable)
    return [
        _concept(text, candidate, rank=rank, names=names, sentences=sentences) for rank, candidate in enumerate(chosen)
    ]


def quick_concepts(text: str, *, at_least: int = 4, at_most: int = 14) -> list[dict[str, Any]]:
    """Return the first long words of `text` as concepts, each with the words from there on as its quote.

    For rehearsals of size, where the answers only have to be of the right form and their quotes real. They have every
    type in turn.
    """
    wanted = min(max(at_least, _QUICK), at_most)
    places: dict[str, tuple[int, int]] = {}
    for pattern in (_QUICK_WORD, _ANY_WORD):
        for match in pattern.finditer(text):
            if len(places) >= wanted:
                break
            if any(map(str.isalpha, match[0])):
                places.setdefault(match[0].lower(), match.span())
    return [
        {
            "name": name,
            "type": TYPES[rank % len(TYPES)],
            "aliases": [],
            "confidence": round(max(_SUREST - _STEP * rank, _LEAST_SURE), 3),
            "quotes": [text[start : max(end, text.rfind(" ", start, start + _QUICK_QUOTE))]],
        }
        for rank, (name, (start, end)) in enumerate(places.items())
    ]


def _ranked(found: Sequence[Phrase], sentences: Sequence[int]) -> list[_Candidate]:
    """Return what the phrases say, each once, what the text is most about first."""
    candidates: dict[tuple[str, ...], _Candidate] = {}
    for phrase in found:
        candidate = candidates.setdefault(phrase.words, _Candidate(phrase.words, length=phrase.length))
        candidate.places.append(phrase.place)
        candidate.acronym = candidate.acronym or phrase.acronym
        candidate.capital = candidate.capital or phrase.capital
    for candidate in candidates.values():
        candidate.weight = _weight(candidate, sentences=sentences)
    return sorted(candidates.values(), key=lambda each: (-each.weight, each.places[0], each.words))


def _weight(candidate: _Candidate, *, sentences: Sequence[int]) -> float:
    """Weigh one candidate: often, early, of the length of a name, of a known type, with an acronym."""
    times = len(candidate.places)
    early = 1 + 0.5 * math.exp(-bisect.bisect_right(sentences, candidate.places[0].start) / _NEAR)
    form = _LENGTHS.get(candidate.length, _LONG) * (_BROAD_END if is_broad(candidate.words[-1]) else 1)
    if is_unknown(candidate.words):
        form *= _UNTYPED
    if candidate.length == times == 1 and not candidate.capital:
        form *= _MENTIONED
    return math.pow(times, _OFTEN) * early * form * (_ABBREVIATED if candidate.acronym else 1)


def _distinct(ranked: Sequence[_Candidate], *, wanted: int, fewest: int) -> list[_Candidate]:
    """Return the first `wanted` candidates of which none is part of another; such a part only to reach `fewest`.

    Of phrases with one last word the further ones count for less, so that a text's other subjects have their place.
    """
    chosen: list[_Candidate] = []
    parts: list[_Candidate] = []
    heads: Counter[str] = Counter()
    queue = [(-candidate.weight, at) for at, candidate in enumerate(ranked)]
    while queue and len(chosen) < wanted:
        weight, at = heapq.heappop(queue)
        candidate = ranked[at]
        worth = -candidate.weight * _SAME_HEAD ** heads[candidate.words[-1]]
        if worth > weight:
            heapq.heappush(queue, (worth, at))
        elif any(_akin(candidate.words, other.words) for other in chosen):
            parts.append(candidate)
        else:
            chosen.append(candidate)
            heads[candidate.words[-1]] += 1
    return chosen + parts[: max(0, min(fewest, wanted) - len(chosen))]


def _akin(words: tuple[str, ...], others: tuple[str, ...]) -> bool:
    """Tell whether of two phrases one is part of the other, or they share most of their words."""
    ours, theirs = set(map(_stem, words)), set(map(_stem, others))
    shared = len(ours & theirs)
    same = "".join(words) == "".join(others)
    return same or shared == min(len(ours), len(theirs)) or 3 * shared >= 2 * len(ours | theirs)


@functools.lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    """Return a word without `ing`, `ed` and `e` at its end and with a single last consonant: model, modelling."""
    stem = word
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= _STEM:
            stem = word.removesuffix(ending)
    stem = stem.removesuffix("e")
    return stem[:-1] if stem[-2:-1] == stem[-1:] else stem


def _topped_up(chosen: list[_Candidate], singles: Sequence[Phrase], *, wanted: int) -> list[_Candidate]:
    """Return the chosen and as many single words as are missing."""
    topped = list(chosen)
    known = {candidate.words for candidate in chosen}
    for phrase in singles:
        if len(topped) >= wanted:
            break
        if phrase.words not in known:
            known.add(phrase.words)
            topped.append(_Candidate(phrase.words, [phrase.place]))
    return topped


class _Names:
    """How to write a concept: as the text does inside its sentences."""

    def __init__(self, text: str, readable: str) -> None:
        """Take names from `text`, whose sentences are those of `readable`."""
        self._text = text
        self._readable = readable

    def surface(self, place: Place) -> str:
        """Return what stands at a place, in one line."""
        return " ".join(self._text[place.start : place.end].split())

    def of(self, candidate: _Candidate) -> str:
        """Return how it is written most often; a capital that only begins a sentence becomes a small letter."""
        surfaces = [self.surface(place) for place in candidate.places]
        if candidate.acronym:
            return max(surfaces, key=len)
        counted = Counter(surfaces)
        first = min(counted, key=lambda surface: (-counted[surface], surface[:1].isupper(), len(surface), surface))
        return first if self._is_name(first, candidate) else first[:1].lower() + first[1:]

    def _is_name(self, surface: str, candidate: _Candidate) -> bool:
        """Tell whether a first capital is part of the name: there are more, or it begins no sentence."""
        head, _, rest = surface.partition(" ")
        if not head[:1].isupper() or head[1:] != head[1:].lower() or rest != rest.lower():
            return True
        return any(
            self._readable[max(0, place.start - _BEFORE) : place.start].rstrip(" \n\t*_`#\"'(")[-1:]
            not in ("", ".", "!", "?", ":", "\0", "-")
            for place in candidate.places[:3]
        )


def _concept(text: str, candidate: _Candidate, *, rank: int, names: _Names, sentences: Sequence[int]) -> dict[str, Any]:
    """Return a candidate as an answer has it; `rank` counts from 0."""
    name = names.of(candidate)
    places = sorted(candidate.places, key=lambda place: names.surface(place).lower() != name.lower())
    return {
        "name": name,
        "type": _type(text, candidate),
        "aliases": [candidate.acronym] if candidate.acronym else [],
        "confidence": round(max(_SUREST - _STEP * rank, _LEAST_SURE), 3),
        "quotes": quotes_of(text, places, sentences=sentences, most=2 if rank < _TWICE_QUOTED else 1),
    }


def _type(text: str, candidate: _Candidate) -> str:
    """Return the type by the concept's own words, else by what stands around it first."""
    kind = type_of(candidate.words)
    if kind != "other":
        return kind
    start, end = candidate.places[0]
    kind = type_by_form(text[start:end])
    if kind != "other":
        return kind
    around = text[max(0, start - _AROUND) : start], text[end : end + _AROUND]
    return type_by_context(*around, is_name=candidate.capital)
