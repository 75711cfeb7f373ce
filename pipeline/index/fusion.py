"""Rank the entries of a build by words, by vectors, or by both: each side's scores, normalised, and added by weight.

And say of what is ranked what a reader asks next: which sentence matched, which tags, and whether it is any good.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import starmap
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.index.reader import Hit
from pipeline.index.snippet import Place, best_snippet
from pipeline.index.terms import kept_terms, spans_of

if TYPE_CHECKING:
    from pipeline.engine.task import Indexed
    from pipeline.index.question import Mask
    from pipeline.index.reader import Index

Scores = NDArray[np.float32]
Rows = NDArray[np.int64]
DEPTH = 1000  # of the best of each side, over whose union scores are normalised


class Ranked(NamedTuple):
    """Entries, best first: their rows, what they are ranked by, and the scores of each side that was asked."""

    rows: Rows
    scores: Scores
    words: Scores | None = None
    similarities: Scores | None = None


def rank_entries(
    index: "Index", *, terms: Sequence[str] | None, vector: Scores | None, k: int, mask: "Mask | None" = None
) -> Ranked:
    """Return the `k` best entries for the terms of a question, for its vector, shape (dim,), or for both.

    Fewer where there are fewer; by words alone those that have some; with a mask, bool (entries,), those that pass.
    Equal ones are in vector order.

    Raises:
        InconsistentError: the vector is of another width than the build, or the words are of another version's terms.
    """
    if terms is None and vector is not None:
        similarities, rows = index.nearest(vector, k, mask)
        return Ranked(rows, similarities, similarities=similarities)
    depth = k if vector is None else max(k, DEPTH)
    telling = terms or () if vector is None else index.words.telling(terms or ())  # what is added to vectors is as good
    found = index.words.scores(telling, most=depth if mask is None else -1)
    if mask is not None:
        found = dict([one for one in found.items() if mask[one[0]]][:depth])
    if vector is None:
        words = np.fromiter(found.values(), np.float32, len(found))
        return Ranked(np.fromiter(found, np.int64, len(found)), words, words=words)
    similar, near = index.nearest(vector, depth, mask)
    others = np.fromiter(found.keys() - set(near.tolist()), np.int64)
    rows = np.concatenate([near, others])
    similarities = np.concatenate([similar, index.similarities(vector, others)])
    order = np.argsort(rows)  # in which equal ones are ranked
    rows, similarities = rows[order], similarities[order]
    words = np.array([found.get(row, 0.0) for row in rows.tolist()], np.float32)
    share = index.words.ranking.share
    fused = share * _normalised(words) + (1 - share) * _normalised(similarities)
    best = np.argsort(-fused, kind="stable")[:k]
    return Ranked(rows[best], fused[best], words[best], similarities[best])


def _normalised(scores: Scores) -> Scores:
    """Return scores less the mean, over the deviation; zeros where all are equal, for that says nothing."""
    deviation = float(scores.std()) if len(scores) else 0.0
    return (scores - float(scores.mean())) / deviation if deviation > 0 else np.zeros_like(scores)


def found_hits(index: "Index", collection: "Indexed", ranked: Ranked, terms: Sequence[str] | None = None) -> list[Hit]:
    """Return ranked entries with what the build holds of them, and of the terms of a question whether each is weak.

    One that has what was asked for its tag is not. Words count where vectors alone rank, too: they cost nothing.
    """
    rows, scores = ranked.rows.tolist(), ranked.scores.tolist()
    similarities = [None] * len(rows) if ranked.similarities is None else ranked.similarities.tolist()
    hits = [
        Hit(rank, similarity, index.metadata_at(row), score)
        for rank, (row, score, similarity) in enumerate(zip(rows, scores, similarities, strict=True), start=1)
    ]
    floor = index.manifest.floor
    if terms is None or floor is None:
        return hits
    given = index.words.scores(terms) if ranked.words is None else dict(zip(rows, ranked.words.tolist(), strict=True))
    told, asked = index.words.told(terms), set(terms)
    return [
        replace(
            hit,
            is_weak=floor.is_weak(hit.similarity, given.get(row, 0.0), told)
            and not any(asked == set(kept_terms(tag)) for tag in collection.tags(hit.metadata)),
        )
        for hit, row in zip(hits, rows, strict=True)
    ]


def described_hits(
    index: "Index", collection: "Indexed", ranked: Ranked, hits: Sequence[Hit], words: Mapping[str, str]
) -> list[Hit]:
    """Return hits with why they were found, and the sentence and the tags in which words stand, by their terms."""
    weights, rows, floor = {term: index.words.idf(term) for term in words}, ranked.rows.tolist(), index.manifest.floor
    held = {term: index.words.holding([term], rows) for term in words}

    def places(text: str) -> Iterator[Place]:
        return starmap(Place, spans_of(text, weights.keys()))

    def why(hit: Hit, row: int) -> str:
        said = dict.fromkeys(word for term, word in words.items() if row in held[term])
        is_close = hit.similarity is not None and not hit.is_weak and (floor is None or hit.similarity >= floor.cosine)
        near = ["close in meaning"] if is_close or not (said or hit.is_weak) else []
        return "; ".join([*(["weak"] if hit.is_weak else []), *([f"words: {', '.join(said)}"] if said else []), *near])

    return [
        replace(
            hit,
            why=why(hit, row),
            snippet=best_snippet(collection.texts(hit.metadata), weights, places),
            tags=tuple(tag for tag in collection.tags(hit.metadata) if not weights.keys().isdisjoint(kept_terms(tag))),
        )
        for hit, row in zip(hits, rows, strict=True)
    ]
