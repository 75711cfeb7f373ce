"""Rank the entries of a build by words, by vectors, or by both: each side's scores, normalised, and added by weight."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.index.reader import Hit

if TYPE_CHECKING:
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


def rank_entries(index: "Index", *, terms: Sequence[str] | None, vector: Scores | None, k: int) -> Ranked:
    """Return the `k` best entries for the terms of a question, for its vector, shape (dim,), or for both.

    Fewer where there are fewer; by words alone those that have some. Equal ones are in vector order.

    Raises:
        InputError: the build has no words, and there is no vector.
        InconsistentError: the vector is of another width than the build, or the words are of another version's terms.
    """
    postings = index.words if terms is not None else None
    if postings is None and vector is None:
        raise InputError("the index in service has no words yet", hint="run `make index`, or leave RANK= out")
    if postings is None or terms is None:
        assert vector is not None  # noqa: S101 - looked at above
        similarities, rows = index.nearest(vector, k)
        return Ranked(rows, similarities, similarities=similarities)
    words = postings.scores(terms)
    if vector is None:
        rows = best(words, k)
        return Ranked(rows, words[rows], words=words[rows])
    rows = np.union1d(best(words, max(k, DEPTH)), index.nearest(vector, max(k, DEPTH))[1])
    similarities = index.similarities(vector, rows)
    fused = fuse(words[rows], similarities, share=postings.ranking.share)
    order = np.argsort(-fused, kind="stable")[:k]
    return Ranked(rows[order], fused[order], words[rows[order]], similarities[order])


def found_entries(index: "Index", ranked: Ranked) -> list[Hit]:
    """Return ranked entries with what the build holds of them."""
    nothing = np.full(len(ranked.rows), np.nan)
    words, similarities = (nothing if side is None else side for side in (ranked.words, ranked.similarities))
    found = zip(*(one.tolist() for one in (ranked.rows, ranked.scores, similarities, words)), strict=True)
    return [
        Hit(rank, similarity, index.metadata_at(row), score, word)
        for rank, (row, score, similarity, word) in enumerate(found, start=1)
    ]


def best(scores: Scores, k: int) -> Rows:
    """Return the rows of the `k` highest scores above zero, highest first, equal ones in order."""
    rows = np.flatnonzero(scores > 0)
    if len(rows) > k > 0:
        least = np.partition(scores[rows], -k)[-k]
        rows = rows[scores[rows] >= least]
    return rows[np.argsort(-scores[rows], kind="stable")[: max(k, 0)]]


def fuse(words: Scores, similarities: Scores, *, share: float) -> Scores:
    """Return both scores of some entries as one: each less its mean, over its deviation; words count `share` of 1.

    Where all are equal, that side says nothing.
    """
    fused: Scores = share * _normalised(words) + (1 - share) * _normalised(similarities)
    return fused


def _normalised(scores: Scores) -> Scores:
    deviation = scores.std() if len(scores) else 0
    return (scores - scores.mean()) / deviation if deviation > 0 else np.zeros_like(scores)
