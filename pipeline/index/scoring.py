"""Rank the entries of a build by words, by vectors or by both, and describe the hits.

To rank by both, the scores of each side are normalised and added with their weights.

A hit is described by the reason why it was found, its best sentence and its matching tags, and by
whether it is weak. The best sentence is the sentence whose distinct query terms weigh most; the
first of equal sentences wins. Long sentences are cut around their heaviest word and get an
ellipsis. Marks are character offsets in the text that is shown.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.index.hits import Hit, Snippet
from pipeline.index.manifest import Floor
from pipeline.index.tokenizer import extract_terms_cached, find_term_spans

if TYPE_CHECKING:
    from pipeline.engine.task import IndexedTask
    from pipeline.index.build_reader import Index, Mask

Scores = NDArray[np.float32]
RowNumbers = NDArray[np.int64]
# Start and end offset of a word in a text, and its term.
TermSpan = tuple[int, int, str]

# Best entries of each side; scores are normalised over their union.
MIN_FUSED_ENTRIES = 1000
MAX_SNIPPET_CHARS = 200
# Characters that are shown before the first marked word, if the beginning is cut.
_SNIPPET_LEAD_CHARS = 40
ELLIPSIS = "…"

# White space after a sign that ends a sentence, unless a small letter follows.
_SENTENCE_END = re.compile(
    "\\s(?:(?<=[.!?\u2026]\\s)|(?<=[.!?\u2026][\"'\u201d\u2019)\\]]\\s))\\s*+(?![a-z])",
)
# Chinese sentences end without a space.
_CHINESE_SENTENCE_END = re.compile("(?<=[\u3002\uff01\uff1f])")


class RankedEntries(NamedTuple):
    """Row numbers and scores of entries, best first; all arrays have the same length."""

    rows: RowNumbers
    # Scores by which the entries are sorted.
    scores: Scores
    # BM25 scores, or None if entries were ranked by vectors only.
    word_scores: Scores | None = None
    # Cosines, or None if entries were ranked by words only.
    similarities: Scores | None = None


def rank_entries(
    index: "Index",
    *,
    terms: Sequence[str] | None,
    vector: Scores | None,
    k: int,
    mask: "Mask | None" = None,
) -> RankedEntries:
    """Return the `k` best entries for the terms of a query, for its vector, or for both.

    Ranking by words only returns entries that contain a term. Fewer than `k` are returned if fewer
    pass. Equal entries are in row order.

    Args:
        index: The build.
        terms: Terms of the query, or None if words do not count.
        vector: Vector of the query, (dim,), or None if vectors do not count.
        k: Maximum number of entries.
        mask: Array bool (entries,) of the entries that may be returned, or None for all.
    """
    if vector is None:
        return _rank_by_words(index, terms or (), k, mask)
    if terms is None:
        similarities, rows = index.nearest(vector, k, mask)
        return RankedEntries(rows, similarities, similarities=similarities)
    return _rank_by_both(index, terms, vector, k, mask)


def _rank_by_words(
    index: "Index",
    terms: Sequence[str],
    k: int,
    mask: "Mask | None",
) -> RankedEntries:
    scores_by_row = _score_best_rows(index, terms, k, mask)
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


def _score_best_rows(
    index: "Index",
    terms: Sequence[str],
    limit: int,
    mask: "Mask | None",
) -> dict[int, float]:
    """Return the BM25 scores by row of the `limit` best entries that pass, best first."""
    if mask is None:
        return index.score_words(terms, limit=limit)
    all_scores = index.score_words(terms)
    passing_scores = [(row, score) for row, score in all_scores.items() if mask[row]]
    return dict(passing_scores[:limit])


def _rank_by_both(
    index: "Index",
    terms: Sequence[str],
    vector: Scores,
    k: int,
    mask: "Mask | None",
) -> RankedEntries:
    """Rank the union of the best entries of both sides by the weighted sum of normalised scores.

    Terms that most entries contain are left out, because vectors rank better than such words.
    """
    depth = max(k, MIN_FUSED_ENTRIES)
    scores_by_row = _score_best_rows(
        index,
        index.discriminating_terms(terms),
        depth,
        mask,
    )
    near_similarities, near_rows = index.nearest(vector, depth, mask)

    # Entries that were found by words only need their similarities, too.
    is_found_by_words_only = np.zeros(len(index), bool)
    is_found_by_words_only[list(scores_by_row.keys() - set(near_rows.tolist()))] = True
    far_similarities, far_rows = index.nearest(
        vector,
        len(scores_by_row),
        is_found_by_words_only,
    )

    rows = np.concatenate([near_rows, far_rows])
    similarities = np.concatenate([near_similarities, far_similarities])
    # The stable sort below then keeps equal entries in row order.
    row_order = np.argsort(rows)
    rows = rows[row_order]
    similarities = similarities[row_order]
    word_scores = np.array(
        [scores_by_row.get(row, 0.0) for row in rows.tolist()],
        np.float32,
    )

    word_share = index.ranking.share
    weighted_words = word_share * _normalise(word_scores)
    weighted_similarities = (1 - word_share) * _normalise(similarities)
    fused_scores = weighted_words + weighted_similarities
    best = np.argsort(-fused_scores, kind="stable")[:k]
    return RankedEntries(
        rows[best],
        fused_scores[best],
        word_scores[best],
        similarities[best],
    )


def _normalise(scores: Scores) -> Scores:
    """Return z-scores: scores minus their mean, divided by their deviation; zeros if all equal."""
    deviation = float(scores.std()) if len(scores) else 0.0
    if deviation <= 0:
        return np.zeros_like(scores)
    return (scores - float(scores.mean())) / deviation


@dataclass(frozen=True)
class _HitExplainer:
    """Adds reasons, snippets and matching tags to the hits of a query."""

    collection: "IndexedTask"
    floor: Floor | None
    # How the query spells each term.
    words_by_term: Mapping[str, str]
    # IDF of each term in the build.
    idf_by_term: Mapping[str, float]
    # Rows of the ranked entries that contain the term.
    rows_by_term: Mapping[str, set[int]]

    def explain(
        self,
        hit: Hit,
        row: int,
        terms_by_tag: Mapping[str, set[str]],
    ) -> Hit:
        """Return a copy of a hit with its reason, best sentence and matching tags.

        Args:
            hit: The hit.
            row: Its row number in the build.
            terms_by_tag: Terms of each of its tags.
        """
        texts = self.collection.texts_of(hit.metadata)
        query_terms = self.idf_by_term.keys()
        matching_tags = [
            tag for tag, tag_terms in terms_by_tag.items() if not query_terms.isdisjoint(tag_terms)
        ]
        return replace(
            hit,
            why=self._reason(hit, row),
            snippet=find_best_snippet(texts, self.idf_by_term),
            tags=tuple(matching_tags),
        )

    def _reason(self, hit: Hit, row: int) -> str:
        """Return why an entry was found, for example "words: water, law; close in meaning".

        "weak" comes first. The words are the matching words of the query. "close in meaning" is
        added if the similarity reaches the floor or the build has no floor, and the hit is not
        weak. It is also the reason if there is no other reason.
        """
        matching_words = dict.fromkeys(
            word for term, word in self.words_by_term.items() if row in self.rows_by_term[term]
        )
        is_close = False
        if hit.similarity is not None and not hit.is_weak:
            is_close = self.floor is None or hit.similarity >= self.floor.cosine

        reasons = []
        if hit.is_weak:
            reasons.append("weak")
        if matching_words:
            reasons.append(f"words: {', '.join(matching_words)}")
        if is_close or not reasons:
            reasons.append("close in meaning")
        return "; ".join(reasons)


def describe_hits(
    index: "Index",
    collection: "IndexedTask",
    ranked: RankedEntries,
    terms: Sequence[str] | None = None,
    words_by_term: Mapping[str, str] | None = None,
) -> list[Hit]:
    """Return the hits of ranked entries with their metadata, weakness, reasons and snippets.

    Args:
        index: The build in which the entries were ranked.
        collection: Its collection, which names texts and tags.
        ranked: The entries, best first.
        terms: Terms of the query, to find weak hits. If None, `is_weak` is None. Words count also
            if entries were ranked by vectors only. An entry with a tag that has exactly these
            terms is not weak.
        words_by_term: How the query spells each term. If None, the hits get no reasons, snippets
            and tags.
    """
    rows = ranked.rows.tolist()
    query_terms = list(dict.fromkeys(terms or ()))
    query_idf = index.total_idf(query_terms)
    if ranked.word_scores is None:
        word_scores = index.score_words(query_terms)
    else:
        word_scores = dict(zip(rows, ranked.word_scores.tolist(), strict=True))

    explainer = None
    if words_by_term is not None:
        explainer = _HitExplainer(
            collection,
            index.manifest.floor,
            words_by_term,
            idf_by_term={term: index.idf(term) for term in words_by_term},
            rows_by_term={term: index.rows_with_all_terms([term], rows) for term in words_by_term},
        )

    hits = []
    for position, row in enumerate(rows):
        metadata = index.read_metadata(row)
        similarity = None if ranked.similarities is None else float(ranked.similarities[position])
        terms_by_tag = {tag: set(extract_terms_cached(tag)) for tag in collection.tags_of(metadata)}

        is_weak = None
        if terms is not None and index.manifest.floor is not None:
            word_score = word_scores.get(row, 0.0)
            is_below_floor = index.manifest.floor.is_weak(
                similarity,
                word_score,
                query_idf,
            )
            is_weak = is_below_floor and set(query_terms) not in terms_by_tag.values()

        score = float(ranked.scores[position])
        hit = Hit(
            position + 1,
            similarity,
            metadata,
            score,
            is_weak=is_weak,
        )
        if explainer is not None:
            hit = explainer.explain(hit, row, terms_by_tag)
        hits.append(hit)
    return hits


def find_best_snippet(
    texts: Iterable[str],
    weights: Mapping[str, float],
) -> Snippet:
    """Return the sentence whose distinct terms have the largest sum of weights.

    This is the first sentence if no sentence contains a term, and empty if there is no sentence.

    Args:
        texts: Texts to search.
        weights: Weight of each term of the query.
    """
    best_sentence = ""
    best_spans = list[TermSpan]()
    best_weight = -1.0
    for sentence in chain.from_iterable(map(_split_sentences, texts)):
        spans = list(find_term_spans(sentence, weights.keys()))
        distinct_terms = {term for _, _, term in spans}
        weight = sum(weights[term] for term in distinct_terms)
        if weight > best_weight:
            best_sentence = sentence
            best_spans = spans
            best_weight = weight
    return _make_snippet(best_sentence, best_spans, weights)


def _split_sentences(text: str) -> Iterator[str]:
    """Yield the sentences of a text, each on one line with blanks collapsed.

    A line end and the end marks of Chinese also end a sentence. Empty sentences are left out.
    """
    if not text.isascii():
        text = _CHINESE_SENTENCE_END.sub("\n", text)
    for line in text.split("\n"):
        for sentence in _SENTENCE_END.split(line):
            if collapsed_sentence := " ".join(sentence.split()):
                yield collapsed_sentence


def _make_snippet(
    sentence: str,
    spans: Sequence[TermSpan],
    weights: Mapping[str, float],
) -> Snippet:
    """Cut a sentence to at most MAX_SNIPPET_CHARS plus ellipses, and mark its visible terms.

    Args:
        spans: Start, end and term of each term in the sentence.
        weights: Weight of each term; the heaviest term stays visible.
    """
    cut_start, cut_end = _cut_range(sentence, spans, weights)
    prefix = ELLIPSIS if cut_start else ""
    suffix = ELLIPSIS if cut_end < len(sentence) else ""

    visible_marks = [
        (max(start, cut_start), min(end, cut_end))
        for start, end, _ in spans
        if cut_start < end and start < cut_end
    ]
    shift = len(prefix) - cut_start
    marks = [(start + shift, end + shift) for start, end in _merge_marks(visible_marks)]
    return Snippet(
        f"{prefix}{sentence[cut_start:cut_end]}{suffix}",
        tuple(marks),
    )


def _cut_range(
    sentence: str,
    spans: Sequence[TermSpan],
    weights: Mapping[str, float],
) -> tuple[int, int]:
    """Return the start and end offset of the visible part of a sentence.

    A long sentence is cut at spaces if possible: a little before its heaviest term, and
    MAX_SNIPPET_CHARS later.
    """
    cut_start = 0
    cut_end = len(sentence)
    if cut_end <= MAX_SNIPPET_CHARS:
        return cut_start, cut_end

    heaviest_start = max(spans, key=lambda span: weights[span[2]])[0] if spans else 0
    latest_start = len(sentence) - MAX_SNIPPET_CHARS
    desired_start = max(0, min(heaviest_start - _SNIPPET_LEAD_CHARS, latest_start))
    if desired_start:
        after_space = sentence.find(" ", desired_start, heaviest_start) + 1
        cut_start = min(after_space or heaviest_start, heaviest_start)

    max_end = cut_start + MAX_SNIPPET_CHARS
    if max_end < cut_end:
        space = sentence.rfind(
            " ",
            max_end - _SNIPPET_LEAD_CHARS,
            max_end + 1,
        )
        cut_end = max_end if space < 0 else space
    return cut_start, cut_end


def _merge_marks(marks: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return marks in ascending order, overlapping marks merged into a single mark.

    Character pairs of scripts without spaces overlap.
    """
    merged_marks: list[tuple[int, int]] = []
    for start, end in sorted(marks):
        if merged_marks and start < merged_marks[-1][1]:
            previous_start, previous_end = merged_marks[-1]
            merged_marks[-1] = (previous_start, max(end, previous_end))
        else:
            merged_marks.append((start, end))
    return merged_marks
