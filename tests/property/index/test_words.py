"""A search by words ranks entries by BM25, for any fields and number of entries."""

import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from askrows.pipeline.core import tokenizer
from askrows.pipeline.core.ranking import BM25_B, BM25_K1, Entry, FieldGroup, Ranking
from askrows.pipeline.index.builds import Builds
from askrows.pipeline.index.query import SearchQuery
from askrows.pipeline.index.scoring import rank_entries
from askrows.pipeline.index.write import verify_and_mark_build
from tests.unit.index.toy import cache_in, vectors_of, written

# The best entries whose mean vector is added to that of the question.
BEST_COUNT = 5
# Scores that differ by less are equal.
TIE = 1e-3
RANKING = Ranking((FieldGroup(("title", "text")), FieldGroup(("tags",), 0.5)), share=0.7)
WORDS = st.sampled_from(
    ["water", "law", "Wasser", "水法", "水", "вода", "hydrology", "hydrologist", "the", "é", "😀"]
)
TEXTS = st.lists(WORDS, max_size=12).map(" ".join)
ENTRIES = st.lists(
    st.fixed_dictionaries({"title": TEXTS, "text": TEXTS, "tags": TEXTS}), min_size=1, max_size=30
)


def compute_bm25(groups: Sequence[Sequence[Sequence[str]]], question: Sequence[str]) -> list[float]:
    """Return the BM25 of each entry as SQLite defines it for FTS5, with weighted occurrences."""
    lengths = [sum(map(len, texts)) for texts in groups]
    average = sum(lengths) / len(lengths)
    weights = [group.weight for group in RANKING.groups]
    scores = [0.0] * len(groups)
    for term in question:
        entry_count = sum(any(term in text for text in texts) for texts in groups)
        rarity = max(math.log((len(groups) - entry_count + 0.5) / (entry_count + 0.5)), 1e-6)
        for row, texts in enumerate(groups):
            frequency = sum(
                weight * Counter(text)[term] for weight, text in zip(weights, texts, strict=True)
            )
            if frequency:
                length_factor = BM25_K1 * (1 - BM25_B + BM25_B * lengths[row] / average)
                scores[row] += rarity * frequency * (BM25_K1 + 1) / (frequency + length_factor)
    return scores


def _extract_groups(entry_fields: dict[str, str]) -> list[list[str]]:
    """Return the terms of an entry, a list for each group of fields."""
    texts = ["\n".join(entry_fields[name] for name in group.fields) for group in RANKING.groups]
    return [tokenizer.extract_terms(text) for text in texts]


def standardize(scores: NDArray[Any]) -> NDArray[Any]:
    """Return standard scores; equal scores become 0."""
    spread: NDArray[Any] = (scores - scores.mean()) / (scores.std() or np.inf)
    return spread


@given(fields=ENTRIES, question=TEXTS, k=st.integers(1, 12))
@example(fields=[{"title": "", "text": "😀", "tags": "the"}], question="water", k=3)
@example(fields=[{"title": "", "text": "", "tags": "water"}], question="water water", k=1)
@settings(max_examples=settings().max_examples // 3)
def test_entries_are_ranked_as_defined(fields: list[dict[str, str]], question: str, k: int) -> None:
    """Words rank by BM25 over groups of fields; the hybrid ranks by the sum of standard scores.

    The hybrid ranks twice, the second time with the mean vector of the five best entries.
    """
    entries = [
        Entry(str(row), f"{row}", {"id": row}, fields=entry_fields)
        for row, entry_fields in enumerate(fields)
    ]
    terms = tokenizer.extract_terms(question)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        builds = Builds(Path(folder))
        staged = written(builds, cache_in(Path(folder)), entries, stack, ranking=RANKING)
        verify_and_mark_build(staged, count=len(entries))
        builds.promote_and_list_moved_files(staged, record_promotion=str)
        with builds.open_current() as index:
            query = SearchQuery(question, terms=terms)
            by_words = rank_entries(index, query, k)
            hybrid = rank_entries(index, replace(query, vector=vectors_of([question])[0]), k)

    # Compute the expected scores by words.
    groups = [_extract_groups(entry_fields) for entry_fields in fields]
    expected = np.array(compute_bm25(groups, terms))
    best = sorted(
        (row for row in range(len(fields)) if expected[row] > 0), key=lambda row: -expected[row]
    )[:k]
    assert np.allclose(by_words.scores, expected[best], rtol=1e-4)
    assert np.allclose(expected[by_words.rows], expected[best], rtol=1e-4)

    # Compute the expected scores of both ranks together.
    vectors = vectors_of([entry.text for entry in entries])
    question_vector = vectors_of([question])[0]
    word_scores = 0.7 * standardize(expected)
    first_scores = word_scores + 0.3 * standardize(vectors @ question_vector)
    order = np.argsort(-first_scores.round(4), kind="stable")
    # Nobody can say which of equal entries are among the best.
    assume(len(order) <= BEST_COUNT or np.ptp(first_scores[order[BEST_COUNT - 1 :][:2]]) > TIE)
    near_vector = question_vector + 0.6 * vectors[order[:BEST_COUNT]].mean(axis=0)
    fused = word_scores + 0.3 * standardize(vectors @ near_vector)
    assert np.allclose(hybrid.scores, np.sort(fused)[::-1][:k], atol=1e-3)
    assert np.allclose(hybrid.scores, fused[hybrid.rows], atol=1e-3)


@given(st.text(), st.text())
def test_a_text_has_the_terms_of_its_parts(first_text: str, second_text: str) -> None:
    """A text has the terms of its parts, and no term contains white space."""
    first_terms = tokenizer.extract_terms(first_text)
    second_terms = tokenizer.extract_terms(second_text)
    assert tokenizer.extract_terms(f"{first_text} {second_text}") == first_terms + second_terms
    assert not any(map(str.isspace, "".join(first_terms)))
