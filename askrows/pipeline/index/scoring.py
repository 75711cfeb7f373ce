"""Rank the entries of a build by words, by vectors or by both.

To rank by both, the scores by words and by vectors are normalised, and added with their weights:
the share of words, and the rest for the vectors. A mask says for each row of the build whether it
may be returned.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from askrows.pipeline.core.ranking import RankMode

if TYPE_CHECKING:
    from askrows.pipeline.index.build_reader import Index, Mask
    from askrows.pipeline.index.query import SearchQuery

Scores = NDArray[np.float32]
RowNumbers = NDArray[np.int64]

# Best entries of each side; scores are normalised over their union.
MIN_FUSED_ENTRIES = 1000
# The best entries whose vectors are added to that of the query, and the weight of their mean.
# Tried on the questions of docs/search.md, Cranfield, CISI, CACM and NPL.
FEEDBACK_ENTRIES = 5
FEEDBACK_SHARE = 0.6


class RankedEntries(NamedTuple):
    """Row numbers and scores of entries, best first; all arrays have the same length."""

    rows: RowNumbers
    # Scores by which the entries are sorted.
    scores: Scores
    # BM25 scores, or None if entries were ranked by vectors only.
    word_scores: Scores | None = None
    # Cosines, NaN for untagged rows; or None if entries were ranked by words only.
    similarities: Scores | None = None


def rank_entries(index: "Index", query: "SearchQuery", k: int) -> RankedEntries:
    """Return the `k` best entries for a query, ranked by words, by vectors or by both.

    A query without a vector is ranked by words, any other query by its `rank`. A ranking by
    words returns only entries that contain a term. Fewer than `k` are returned if fewer pass the
    query's mask. Entries with equal scores are in row order.

    Args:
        index: The build to search.
        query: The query.
        k: Maximum number of entries.
    """
    terms = query.terms or ()
    mask = query.mask
    if query.vector is None:
        scores_by_row = _score_best_passing_rows(index, terms, k, mask)
        rows = np.fromiter(
            scores_by_row,
            np.int64,
            len(scores_by_row),
        )
        scores = np.fromiter(
            scores_by_row.values(),
            np.float32,
            len(scores_by_row),
        )
        return RankedEntries(rows, scores, word_scores=scores)
    if query.rank is RankMode.VECTORS:
        similarities, rows = index.find_nearest_entries(query.vector, k, mask)
        return RankedEntries(rows, similarities, similarities=similarities)
    return _rank_by_words_and_vectors(
        index,
        terms,
        query.vector,
        k,
        mask,
    )


def _score_best_passing_rows(
    index: "Index",
    terms: Sequence[str],
    limit: int,
    mask: "Mask | None",
) -> dict[int, float]:
    """Return the BM25 scores by row of the `limit` best entries that pass, best first."""
    if mask is None:
        return index.score_rows_by_words(terms, limit=limit)
    scores_by_row = index.score_rows_by_words(terms)
    passing_scores = [(row, score) for row, score in scores_by_row.items() if mask[row]]
    return dict(passing_scores[:limit])


def _rank_by_words_and_vectors(
    index: "Index",
    terms: Sequence[str],
    query_vector: Scores,
    k: int,
    mask: "Mask | None",
) -> RankedEntries:
    """Return the `k` best entries by the weighted sum of their normalised scores, best first.

    The best entries show what the query is about. They are ranked first, the mean of their vectors
    is added to the vector of the query, and all entries are ranked again. The similarities of the
    result are those to the query itself; an untagged row has no vector and gets NaN.

    Query terms that more than half of the entries contain are ignored, unless there are no others:
    vectors rank better than such words.

    Args:
        query_vector: The vector of the query.
        mask: The entries that may be returned; None for all.
    """
    depth = max(k, MIN_FUSED_ENTRIES)
    scores_by_row = _score_best_passing_rows(
        index,
        index.drop_common_terms(terms),
        depth,
        mask,
    )
    best = _rank_by_fused_scores(index, scores_by_row, query_vector, depth, mask)
    best_rows = best.rows[best.rows < len(index)][:FEEDBACK_ENTRIES]
    if len(best_rows):
        mean_vector = index.faiss.reconstruct_batch(best_rows).mean(axis=0)
        near_vector = query_vector + FEEDBACK_SHARE * mean_vector
        best = _rank_by_fused_scores(index, scores_by_row, near_vector, depth, mask)

    rows = best.rows[:k]
    has_vector = rows < len(index)
    similarities = np.full(len(rows), np.nan, np.float32)
    similarities[has_vector] = index.faiss.reconstruct_batch(rows[has_vector]) @ query_vector
    word_scores = cast(Scores, best.word_scores)
    return RankedEntries(rows, best.scores[:k], word_scores[:k], similarities)


def _rank_by_fused_scores(
    index: "Index",
    word_scores_by_row: Mapping[int, float],
    vector: Scores,
    depth: int,
    mask: "Mask | None",
) -> RankedEntries:
    """Return entries by the weighted sum of their normalised scores, best first.

    The sum is over the BM25 score and the similarity, with the weights of the build. The candidates
    are the union of the best entries by words and the best by vectors. Entries with equal sums are
    in row order. An untagged row has no vector, so its similarity is NaN and counts as the mean of
    the candidates.

    Args:
        word_scores_by_row: BM25 scores of the best entries by words.
        vector: The vector of the query.
        depth: Number of the best entries by vectors.
        mask: The entries that may be returned; None for all.
    """
    near_similarities, near_rows = index.find_nearest_entries(vector, depth, mask)

    # Entries that were found by words only need their similarities, too.
    is_found_by_words_only = np.zeros(index.row_count, bool)
    other_rows = word_scores_by_row.keys() - set(near_rows.tolist())
    is_found_by_words_only[list(other_rows)] = True
    word_only_similarities, word_only_rows = index.find_nearest_entries(
        vector,
        len(word_scores_by_row),
        is_found_by_words_only,
    )
    is_untagged = is_found_by_words_only[len(index) :]
    untagged_rows = np.flatnonzero(is_untagged) + len(index)
    untagged_similarities = np.full(len(untagged_rows), np.nan, np.float32)

    rows = np.concatenate([near_rows, word_only_rows, untagged_rows])
    similarities = np.concatenate(
        [near_similarities, word_only_similarities, untagged_similarities]
    )
    # The stable sort below then keeps equal entries in row order.
    row_order = np.argsort(rows)
    rows = rows[row_order]
    similarities = similarities[row_order]
    word_scores = np.array(
        [word_scores_by_row.get(row, 0.0) for row in rows.tolist()],
        np.float32,
    )

    word_share = index.ranking.share
    weighted_words = word_share * _compute_z_scores(word_scores)
    weighted_similarities = (1 - word_share) * _compute_z_scores(similarities)
    fused_scores = weighted_words + weighted_similarities
    best = np.argsort(-fused_scores, kind="stable")
    return RankedEntries(
        rows[best],
        fused_scores[best],
        word_scores[best],
        similarities[best],
    )


def _compute_z_scores(scores: Scores) -> Scores:
    """Return z-scores: scores minus their mean, divided by their deviation; zeros if all equal.

    A score that is NaN gets the z-score of the mean, 0.
    """
    is_known = ~np.isnan(scores)
    known_scores = scores[is_known]
    z_scores = np.zeros_like(scores)
    deviation = float(known_scores.std()) if len(known_scores) else 0.0
    if deviation > 0:
        z_scores[is_known] = (known_scores - float(known_scores.mean())) / deviation
    return z_scores
