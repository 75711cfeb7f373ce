"""Say of hits what a reader asks next: which sentence matched, which tags, whether it is any good, and why."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from functools import partial
from itertools import starmap
from typing import TYPE_CHECKING

from pipeline.index.fusion import Ranked, found_entries
from pipeline.index.reader import Hit
from pipeline.index.snippet import Place, best_snippet
from pipeline.index.terms import kept_terms, spans_of
from pipeline.index.why import Why, sides_of

if TYPE_CHECKING:
    from pipeline.core.task import Collection
    from pipeline.index.reader import Index


def described_hits(
    index: "Index", collection: "Collection", ranked: Ranked, terms: Sequence[str], *, why: bool, is_judged: bool
) -> list[Hit]:
    """Return ranked entries as hits; `why` adds the arithmetic, and where the ranking `is_judged` each may be weak."""
    hits = judged_hits(index, collection, ranked, terms) if is_judged else found_entries(index, ranked)
    words = index.words
    weights = {term: words.idf(term) if words else 1.0 for term in dict.fromkeys(terms)}
    return [
        replace(
            hit,
            snippet=best_snippet(collection.texts(hit.metadata), weights, partial(_places, weights.keys())),
            tags=tuple(tag for tag in collection.tags(hit.metadata) if not weights.keys().isdisjoint(kept_terms(tag))),
            why=_why(index, ranked, hit, row, terms) if why else None,
        )
        for hit, row in zip(hits, ranked.rows.tolist(), strict=True)
    ]


def judged_hits(index: "Index", collection: "Collection", ranked: Ranked, terms: Sequence[str]) -> list[Hit]:
    """Return ranked entries with whether each is weak; one that has what was asked for its tag is not."""

    def is_tagged(hit: Hit) -> bool:
        return any(set(terms) == set(kept_terms(tag)) for tag in collection.tags(hit.metadata))

    weak = _weak_ones(index, ranked, terms)
    return [
        replace(hit, is_weak=is_weak and not is_tagged(hit))
        for hit, is_weak in zip(found_entries(index, ranked), weak, strict=True)
    ]


def _weak_ones(index: "Index", ranked: Ranked, terms: Sequence[str]) -> list[bool | None]:
    """Return of each ranked entry whether it is below the floor of its build; None where that cannot be said.

    Words count where vectors alone rank, too: they cost nothing.
    """
    floor, words = index.manifest.floor, index.words
    if floor is None or words is None:
        return [None] * len(ranked.rows)
    found = words.scores(terms)[ranked.rows] if ranked.words is None else ranked.words
    if ranked.similarities is None:
        told = words.told(terms)
        return [floor.is_weak_alone(score, told) for score in found.tolist()]
    return list(map(floor.is_weak, ranked.similarities.tolist(), found.tolist()))


def _why(index: "Index", ranked: Ranked, hit: Hit, row: int, terms: Sequence[str]) -> Why:
    parts = index.words.parts(row, terms) if index.words is not None and ranked.words is not None else []
    if index.words is None or ranked.spreads is None:
        return Why(parts)
    share = index.words.ranking.share
    return Why(parts, sides_of(hit.words_score, hit.similarity, ranked.spreads, share=share))


def _places(among: AbstractSet[str], text: str) -> Iterator[Place]:
    return starmap(Place, spans_of(text, among))
