"""Tag a text with the domains it speaks of, from a controlled vocabulary.

What the text says comes first, ranked by how early, how often and how specifically it says it. Where that is too
little, broader terms of what was found follow, then what stands in a sentence about leisure, then the terms nearest
in meaning. Only terms of the vocabulary can come out, so never a person's name. The same text gives the same tags.
"""

import functools
import math
import re
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from emulator.models import encoder
from emulator.models.markup import plain
from emulator.models.vocabulary import Found, Term, Vocabulary, everything
from emulator.models.words import Word, cut

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_NEAR = 40
"""Words after which the bonus for an early place has fallen to a third."""
_BEGINNING = 12
"""How many words say what a text is about: a job title and the first few after it."""
_TOUCHED_ON = 0.8
"""Below this weight a term named once is only touched on."""
_LOOKED_AT = 4000
"""Characters that the search by meaning reads: what a text is about is said by then."""
_LEISURE = re.compile(
    r"\b(?:in|during) (?:his|her|my|their|our|your) (?:free|spare|leisure) time\b"
    r"|\b(?:outside|away from|out) (?:of )?"
    r"(?:work|coding|the office|tech|programming|his|her|the keyboard|the computer)\b"
    r"|\bwhen (?:not|he is not|he's not|she is not|she's not|i'm not|i am not|they're not|they are not)\b"
    r"|\b(?:spare|free) time\b|\boff[- ]hours\b|\bhobb(?:y|ies)\b|\bafter hours\b|\bnights and weekends\b"
    r"|\b(?:when|while) (?:he|she|i|they)(?:'s| is|'m| am|'re| are)? ?n[o']t\b|\bin (?:meiner|seiner|ihrer) freizeit\b"
    r"|\baficiones\b|\bpasatiempos?\b|\btiempo libre\b|\btemps libre\b",
    re.IGNORECASE,
)
_SENTENCE = re.compile(r"[^.!?\n\u3002]*(?:[.!?](?=\S)[^.!?\n\u3002]*)*(?:[.!?\u3002]+|\n|$)")
_NEAR_ENOUGH = 0.3
"""Below this likeness a term and a text have nothing to do with each other (read by hand, docs/local-engine.md)."""
_BROADEST = ("communication", "business", "technology")
_building = threading.Lock()


class _Rank(NamedTuple):
    """How much a text is about one term; the highest stands first."""

    weight: float
    at: int
    name: str
    passing: bool


def tags(text: str, *, allowed: Iterable[str] | None = None, at_least: int = 3, at_most: int = 8) -> list[str]:
    """Return the domains `text` speaks of, the surest first, each once.

    There are `at_least` to `at_most` of them wherever the text is not blank and enough terms exist; none for a
    blank text. `allowed` restricts them to the given names, in their own casing and without regard to it when
    comparing; names that the vocabulary does not know are looked for as they stand.
    """
    if not text.strip() or at_most < 1:
        return []
    spelled = {name.strip().lower(): name for name in allowed} if allowed is not None else None
    vocabulary = everything() if spelled is None else _restricted(tuple(sorted(spelled)))
    cleaned = plain(text)
    work, leisure = _split(cleaned)
    names, passing = _ranked(vocabulary, work)
    if len(names) < at_least:
        names += [up for name in names for up in vocabulary.ancestors(name)]
        free_time, mentioned = _ranked(vocabulary, leisure)
        names = list(dict.fromkeys([*names, *passing, *free_time, *mentioned]))[: max(at_least, 0)]
    if len(names) < at_least:
        names = _topped_up(vocabulary, names, text=cleaned if cleaned.strip() else text, wanted=at_least)
    names = names[:at_most]
    return names if spelled is None else [spelled[name] for name in names]


def _split(text: str) -> tuple[list[Word], list[Word]]:
    """Return the words about work and the words about leisure: sentences that name free time, from there on."""
    if not _LEISURE.search(text):
        return cut(text), []
    work: list[str] = []
    leisure: list[str] = []
    for sentence in _SENTENCE.findall(text):
        found = _LEISURE.search(sentence)
        work.append(sentence[: found.start()] if found else sentence)
        leisure.append(sentence[found.start() :] if found else "")
    return cut("\n".join(work)), cut("\n".join(leisure))


def _ranked(vocabulary: Vocabulary, words: Sequence[Word]) -> tuple[list[str], list[str]]:
    """Return the terms that `words` are about, the most first, and those they only mention in passing.

    In passing is what is named once, not at the beginning, and alone of its kind: a costume maker's cheese grater.
    """
    places: dict[str, list[Found]] = {}
    for found in vocabulary.find(vocabulary.unfold(words)):
        places.setdefault(found.name, []).append(found)
    kin = Counter(up for name in places for up in (name, *vocabulary.ancestors(name)))
    ranks = [_rank(vocabulary, name, founds=founds, kin=kin) for name, founds in places.items()]
    ranks.sort(key=lambda rank: (-rank.weight, rank.at, rank.name))
    return [rank.name for rank in ranks if not rank.passing], [rank.name for rank in ranks if rank.passing]


def _rank(vocabulary: Vocabulary, name: str, *, founds: Sequence[Found], kin: Counter[str]) -> _Rank:
    """Weigh one term: early, often, specific, said in several words, and in the company of its kind."""
    first = founds[0].at
    alone = all(kin[up] == 1 for up in (name, *vocabulary.ancestors(name)))
    specific = 0.4 if vocabulary.terms[name].parents else 0.0
    several = 0.2 if max(found.size for found in founds) > 1 else 0.0
    company = 0.0 if alone else 0.3
    often = 0.5 * math.log(1 + len(founds))
    weight = math.exp(-first / _NEAR) + often + specific + several + company
    passing = len(founds) == 1 and first >= _BEGINNING and (alone or weight < _TOUCHED_ON)
    return _Rank(weight, first, name, passing)


def _topped_up(vocabulary: Vocabulary, names: list[str], *, text: str, wanted: int) -> list[str]:
    """Return `names` and as many of the nearest terms as are missing, relatives of `names` before all others.

    Where nothing is near, the broadest terms are the least wrong.
    """
    order, vectors = _vectors(vocabulary)
    likeness = vectors @ _meaning([text[:_LOOKED_AT] if text[:_LOOKED_AT].strip() else text])[0]
    nearest = [order[place] for place in (-likeness).argsort(kind="stable")]
    nearest.sort(key=lambda name: not vocabulary.terms[name].plain)  # "react" is near to any talk of reacting
    kin = {name for known in names for name in (known, *vocabulary.ancestors(known))}
    chosen = names + [name for name in nearest if not kin.isdisjoint((name, *vocabulary.ancestors(name)))]
    if likeness.max(initial=-1) < _NEAR_ENOUGH:
        chosen += [name for name in _BROADEST if name in vocabulary.terms]
    for name in nearest[:wanted]:
        chosen += (name, *vocabulary.ancestors(name))
    return list(dict.fromkeys(chosen + nearest))[:wanted]


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
