"""Say of hits what a reader asks next: which sentence matched, which tags, whether it is any good, and why."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isnan
from typing import TYPE_CHECKING

from pipeline.index.fusion import Ranked, found_entries
from pipeline.index.reader import Hit
from pipeline.index.snippet import Place, best_snippet
from pipeline.index.terms import spans_of, terms_of
from pipeline.index.why import Why, sides_of

if TYPE_CHECKING:
    from pipeline.core.task import Collection
    from pipeline.index.reader import Index


def described_hits(
    index: "Index", collection: "Collection", ranked: Ranked, terms: Sequence[str], *, why: bool, is_judged: bool
) -> list[Hit]:
    """Return ranked entries as hits; `why` adds the arithmetic, and where the ranking `is_judged` each may be weak."""
    words = index.words
    weights = {term: words.idf(term) if words else 1.0 for term in dict.fromkeys(terms)}
    return [
        replace(
            hit,
            snippet=best_snippet(collection.texts(hit.metadata), weights, _places),
            tags=tuple(tag for tag in collection.tags(hit.metadata) if not weights.keys().isdisjoint(terms_of(tag))),
            is_weak=is_weak(index, hit) if is_judged else None,
            why=_why(index, ranked, hit, row, terms) if why else None,
        )
        for hit, row in zip(found_entries(index, ranked), ranked.rows.tolist(), strict=True)
    ]


def is_weak(index: "Index", hit: Hit) -> bool | None:
    """Return whether a hit is below the floor of its build; None where that cannot be said."""
    floor = index.manifest.floor
    if floor is None or isnan(hit.similarity) or isnan(hit.words_score):
        return None
    return floor.is_weak(hit.similarity, hit.words_score)


def _why(index: "Index", ranked: Ranked, hit: Hit, row: int, terms: Sequence[str]) -> Why:
    parts = index.words.parts(row, terms) if index.words is not None and ranked.words is not None else []
    if index.words is None or ranked.spreads is None:
        return Why(parts)
    share = index.words.ranking.share
    return Why(parts, sides_of(hit.words_score, hit.similarity, ranked.spreads, share=share))


def _places(text: str) -> Iterator[Place]:
    return (Place(*span) for span in spans_of(text))
