"""Rank the entries of a build by words, by vectors, or by both: each side's scores, normalised, and added by weight."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import InputError
from pipeline.index.reader import Hit

if TYPE_CHECKING:
    from pipeline.index.columns import Mask
    from pipeline.index.reader import Index

Scores = NDArray[np.float32]
Rows = NDArray[np.int64]
DEPTH = 1000  # of the best of each side, over whose union scores are normalised


class Spread(NamedTuple):
    """The mean of some scores and their deviation, by which they are normalised; 0 where all are equal."""

    mean: float
    deviation: float

    def normalised(self, scores: Scores) -> Scores:
        """Return scores less the mean, over the deviation; zeros where all are equal, for that says nothing."""
        return (scores - self.mean) / self.deviation if self.deviation > 0 else np.zeros_like(scores)


class Ranked(NamedTuple):
    """Entries, best first: their rows, what they are ranked by, and the scores of each side that was asked.

    Where both were, also how the scores of each were spread that were fused, words before similarities.
    """

    rows: Rows
    scores: Scores
    words: Scores | None = None
    similarities: Scores | None = None
    spreads: tuple[Spread, Spread] | None = None


def rank_entries(
    index: "Index", *, terms: Sequence[str] | None, vector: Scores | None, k: int, mask: "Mask | None" = None
) -> Ranked:
    """Return the `k` best entries for the terms of a question, for its vector, shape (dim,), or for both.

    Fewer where there are fewer; by words alone those that have some; with a mask, bool (entries,), those that pass.
    Equal ones are in vector order.

    Raises:
        InputError: the build has no words, and there is no vector.
        InconsistentError: the vector is of another width than the build, or the words are of another version's terms.
    """
    if terms is None or index.words is None:
        if vector is None:
            raise InputError("the index in service has no words yet", hint="run `make index`, or leave RANK= out")
        similarities, rows = index.nearest(vector, k, mask)
        return Ranked(rows, similarities, similarities=similarities)
    words = index.words.scores(terms)
    if vector is None:
        rows = _ordered(words, _best_by_words(words, k, mask))
        return Ranked(rows, words[rows], words=words[rows])
    similar, near = index.nearest(vector, max(k, DEPTH), mask)
    by_words = _best_by_words(words, max(k, DEPTH), mask)
    by_words[near] = False  # whose similarities are known
    others = np.flatnonzero(by_words)
    rows = np.concatenate([near, others])
    similarities = np.concatenate([similar, index.similarities(vector, others)])
    order = np.argsort(rows)  # in which equal ones are ranked
    rows = rows[order]
    return _fused(rows, words[rows], similarities[order], share=index.words.ranking.share, k=k)


def rank_many(
    index: "Index",
    *,
    terms: Sequence[Sequence[str] | None],
    vectors: Scores | None,
    k: int,
    masks: "Sequence[Mask | None]",
) -> Iterator[Ranked]:
    """Yield the same for each of some questions, whose vectors, shape (questions, dim), pass over the entries once.

    Raises:
        InputError, InconsistentError: as for one question.
    """
    postings = index.words
    if vectors is None or postings is None or None in terms:
        for number, (one, mask) in enumerate(zip(terms, masks, strict=True)):
            yield rank_entries(index, terms=one, vector=None if vectors is None else vectors[number], k=k, mask=mask)
        return
    for one, similarities, mask in zip(terms, index.all_similarities(vectors), masks, strict=True):
        words = postings.scores(one or ())
        by_vectors = among_best(similarities, max(k, DEPTH), mask)
        rows = np.flatnonzero(_best_by_words(words, max(k, DEPTH), mask) | by_vectors)
        yield _fused(rows, words[rows], similarities[rows], share=postings.ranking.share, k=k)


def _fused(rows: Rows, words: Scores, similarities: Scores, *, share: float, k: int) -> Ranked:
    """Return the `k` best of some entries by both scores as one; words count `share` of 1."""
    spreads = _spread(words), _spread(similarities)
    fused = _weighed(words, similarities, spreads, share=share)
    order = np.argsort(-fused, kind="stable")[:k]
    return Ranked(rows[order], fused[order], words[order], similarities[order], spreads)


def fuse(words: Scores, similarities: Scores, *, share: float) -> Scores:
    """Return both scores of some entries as one: each less its mean, over its deviation; words count `share` of 1."""
    return _weighed(words, similarities, (_spread(words), _spread(similarities)), share=share)


def _weighed(words: Scores, similarities: Scores, spreads: tuple[Spread, Spread], *, share: float) -> Scores:
    of_words, of_vectors = spreads[0].normalised(words), spreads[1].normalised(similarities)
    fused: Scores = share * of_words + (1 - share) * of_vectors
    return fused


def _spread(scores: Scores) -> Spread:
    return Spread(float(scores.mean()), float(scores.std())) if len(scores) else Spread(0, 0)


def found_entries(index: "Index", ranked: Ranked) -> list[Hit]:
    """Return ranked entries with what the build holds of them."""
    nothing = np.full(len(ranked.rows), np.nan)
    words, similarities = (nothing if side is None else side for side in (ranked.words, ranked.similarities))
    found = zip(*(one.tolist() for one in (ranked.rows, ranked.scores, similarities, words)), strict=True)
    return [
        Hit(rank, similarity, index.metadata_at(row), score, word)
        for rank, (row, score, similarity, word) in enumerate(found, start=1)
    ]


def best(scores: Scores, k: int, mask: "Mask | None" = None) -> Rows:
    """Return the rows of the `k` highest scores, of those that pass, highest first, equal ones in order."""
    return _ordered(scores, among_best(scores, k, mask))


def among_best(scores: Scores, k: int, mask: "Mask | None" = None) -> "Mask":
    """Return which rows these are, bool (rows,)."""
    passing = scores if mask is None else scores[mask]
    if not 0 < k < len(passing):
        return np.full(len(scores), k > 0) if mask is None else mask & (k > 0)
    least = np.partition(passing, -k)[-k]
    held: Mask = scores >= least if mask is None else mask & (scores >= least)
    if more := np.count_nonzero(held) - k:
        held[np.flatnonzero(held & (scores == least))[-more:]] = False
    return held


def _best_by_words(words: Scores, k: int, mask: "Mask | None") -> "Mask":
    """Return the same of those that have a word of the question."""
    return among_best(words, k, mask) & (words > 0)


def _ordered(scores: Scores, held: "Mask") -> Rows:
    """Return the rows that are held, highest score first, equal ones in order."""
    rows = np.flatnonzero(held)
    return rows[np.argsort(-scores[rows], kind="stable")]
