"""Tag a text with the domains it speaks of: terms of a controlled vocabulary, and fields that it names itself.

Only what the text says comes out, ranked by how early, how often and how specifically it says it: one tag may be all,
and none. What says little of a person ("science") is never a tag, broad terms are where there is nothing else, and
leisure and the names of organisations count for nothing. The same text gives the same tags.
"""

import functools
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from emulator.models import encoder
from emulator.models.fields import declared, fields
from emulator.models.languages import is_false_friend, is_foreign, pace_of, stated
from emulator.models.leisure import about_work, unlearnt, worded
from emulator.models.markup import plain
from emulator.models.ranking import Rank, ranked
from emulator.models.signs import whole
from emulator.models.tagging import listed
from emulator.models.vocabulary import ASIDES, Found, Term, Vocabulary, everything
from emulator.models.words import Word, cut

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LONGEST_TITLE = 15
"""Words; a longer line is no title."""
_FEW = 2
"""Broad terms, and such as are only touched on, where there is nothing else."""
_TEACHES = ["teaching"]
"""Who teaches is taken to teach what was learnt; else that is asked where no title says what the person is."""
_OPENING = 15
"""Words behind a title in another language than English that say what a person does, too: titles are vague there."""
_LOOKED_AT = 4000
"""Characters that the search by meaning reads: what a text is about is said by then."""
_building = threading.Lock()


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
    foreign = is_foreign(words)
    pastimes = _pastimes(vocabulary)
    known = vocabulary.find(words, is_foreign=is_open and foreign)
    if is_open and not foreign:
        known = _named(vocabulary, words, known, title=title)
    founds = whole(known, words, spared=vocabulary.is_software)
    if foreign:
        founds = [found for found in founds if not is_false_friend(words[found.at : _end(found)])]
    told = _declared(words, founds) if is_open and not foreign else []
    places = {found.at for found in (stated(founds, words) if foreign else told)}
    at_work = about_work(founds, words, pastimes)
    now = unlearnt(at_work, founds, words)
    pace = pace_of(words)
    for chosen in [now, at_work] if len(now) < len(at_work) else [at_work]:
        opening = _OPENING if foreign else 0
        ranks = ranked(vocabulary, chosen, title=title, size=len(words), pace=pace, declared=places, opening=opening)
        if not is_open:
            names = [rank.name for rank in sorted(ranks, key=lambda rank: rank.passing)]
        else:
            names = _worth_saying(vocabulary, ranks, list(dict.fromkeys(found.name for found in told)))
        if names != _TEACHES and (names or title):
            break
    return names


@functools.lru_cache(maxsize=16)
def _pastimes(vocabulary: Vocabulary) -> frozenset[str]:
    """Return the terms that are pastimes, and those of which all that is broader is one: "craft beer"."""
    known, wide = listed("pastimes"), listed("never")
    terms = vocabulary.terms.items()
    return known.union(name for name, term in terms if term.parents and (known - wide).issuperset(term.parents))


def _declared(words: Sequence[Word], founds: Sequence[Found]) -> list[Found]:
    """Return what a text declares outside asides that the person knows."""
    told = list(declared(words))
    asides = [found for found in founds if found.name in ASIDES]
    return about_work(sorted([*asides, *told], key=lambda found: found.at), words, ()) if told else []


def _words_of_title(text: str) -> int:
    """Return how many words the first line has where it is a title, else 0."""
    first, _, rest = text.partition("\n")
    title = len(cut(first)) if rest.strip() else 0
    return title if title <= _LONGEST_TITLE else 0


def _named(vocabulary: Vocabulary, words: Sequence[Word], founds: Sequence[Found], *, title: int) -> list[Found]:
    """Return what words stand for, in order: a field that the text names itself takes the place of its last words'."""
    named = [one for one in fields(words, vocabulary.words, title=title) if not _is_said(one, founds)]
    begins = {_end(one): one.at for one in named}
    kept = [found for found in founds if found.at < begins.get(_end(found), found.at + 1)]
    return sorted([*kept, *named], key=lambda found: found.at)


def _end(found: Found) -> int:
    return found.at + found.size


def _is_said(field: Found, founds: Sequence[Found]) -> bool:
    """Tell whether a term of the vocabulary says what a field says: all of it, or all but a last word that is empty."""
    begun = [found for found in founds if found.at <= field.at < _end(found)]
    is_empty = field.name.rpartition(" ")[2] in listed("empty")
    return any(found.size > 1 or _end(found) >= _end(field) - is_empty for found in begun)


def _worth_saying(vocabulary: Vocabulary, ranks: Sequence[Rank], declared: Sequence[str]) -> list[str]:
    """Return the names of what is worth a tag, from ranks in order: what is declared before what says little."""
    never, broad = listed("never"), listed("broad")
    said = [rank for rank in ranks if rank.name not in never]
    sure = [rank for rank in said if not rank.passing]
    touched_on = [rank for rank in said if rank.name not in broad and rank.is_telling]
    specific = _with_title(vocabulary, sure, [rank for rank in sure if rank.name not in broad])
    if specific:
        return specific
    if declared or touched_on:
        return [*declared[:_FEW], *_with_title(vocabulary, sure, touched_on)][:_FEW]
    return _narrowest(vocabulary, [rank.name for rank in sure or said])[:_FEW]


def _with_title(vocabulary: Vocabulary, ranks: Sequence[Rank], narrow: Sequence[Rank]) -> list[str]:
    """Return the names of terms without the bywords for others of them, and a broad title that is none of theirs."""
    bywords = listed("bywords")
    above = {up for rank in narrow for up in vocabulary.ancestors(rank.name)}
    first = min((rank.at for rank in ranks), default=0)
    kept = [rank for rank in narrow if rank.at == first or not (rank.name in bywords and rank.name in above)]
    if narrow and not any(rank.is_titled for rank in narrow):
        over = above | listed("vague")
        kept += [rank for rank in ranks if rank.is_titled and rank.name not in over and rank not in narrow]
    return [rank.name for rank in sorted(kept, key=lambda rank: -rank.weight)]


def _narrowest(vocabulary: Vocabulary, names: Sequence[str]) -> list[str]:
    """Return those of some terms of which no other of them is a narrower one; of two of one meaning the first."""
    ups = {name: set(vocabulary.ancestors(name)) for name in names}
    return [
        name
        for place, name in enumerate(names)
        if not any(
            name in ups[other] and (other not in ups[name] or at < place)
            for at, other in enumerate(names)
            if at != place
        )
    ]


def _topped_up(vocabulary: Vocabulary, names: list[str], *, text: str, wanted: int) -> list[str]:
    """Return `names` and as many of the nearest terms as are missing, relatives of `names` before all others."""
    order, vectors = _vectors(vocabulary)
    likeness = vectors @ _meaning([text[:_LOOKED_AT] if text[:_LOOKED_AT].strip() else text])[0]
    nearest = [order[place] for place in (-likeness).argsort(kind="stable")]
    nearest.sort(key=lambda name: not vocabulary.terms[name].plain)  # "react" is near to any talk of reacting
    kin = {up for name in names for up in (name, *vocabulary.ancestors(name))}
    related = [name for name in nearest if not kin.isdisjoint((name, *vocabulary.ancestors(name)))]
    return list(dict.fromkeys([*names, *related, *nearest]))[:wanted]


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
