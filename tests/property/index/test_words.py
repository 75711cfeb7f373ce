"""Entries are found by words as BM25 is defined, whatever their fields hold and however many there are."""

import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.core.ranking import K1, B, Entry, FieldGroup, Ranking
from pipeline.index import tokenizer
from pipeline.index.builds import Builds
from pipeline.index.scoring import rank_entries
from pipeline.index.write import verify_build
from tests.unit.index.toy import cache_in, vectors_of, written

RANKING = Ranking((FieldGroup(("title", "text")), FieldGroup(("tags",), 0.5)), share=0.7)
WORDS = st.sampled_from(
    ["water", "law", "Wasser", "水法", "水", "вода", "hydrology", "hydrologist", "the", "é", "😀"]
)
TEXTS = st.lists(WORDS, max_size=12).map(" ".join)
ENTRIES = st.lists(
    st.fixed_dictionaries({"title": TEXTS, "text": TEXTS, "tags": TEXTS}), min_size=1, max_size=30
)


def by_definition(
    groups: Sequence[Sequence[Sequence[str]]], question: Sequence[str]
) -> list[float]:
    """Return the BM25 of each entry for a question, as SQLite documents it for FTS5: weights are of occurrences."""
    lengths = [sum(map(len, one)) for one in groups]
    average = sum(lengths) / len(lengths)
    weights = [group.weight for group in RANKING.groups]
    scores = [0.0] * len(groups)
    for term in dict.fromkeys(question):
        held = sum(any(term in text for text in one) for one in groups)
        rarity = max(math.log((len(groups) - held + 0.5) / (held + 0.5)), 1e-6)
        for row, one in enumerate(groups):
            often = sum(
                weight * Counter(text)[term] for weight, text in zip(weights, one, strict=True)
            )
            if often:
                scores[row] += (
                    rarity * often * (K1 + 1) / (often + K1 * (1 - B + B * lengths[row] / average))
                )
    return scores


def normalised(scores: NDArray[Any]) -> NDArray[Any]:
    """Return scores less their mean, over their deviation; nothing where all are equal."""
    spread: NDArray[Any] = (scores - scores.mean()) / (scores.std() or np.inf)
    return spread


@given(fields=ENTRIES, question=TEXTS, k=st.integers(1, 12))
@example(fields=[{"title": "", "text": "😀", "tags": "the"}], question="water", k=3)
@settings(max_examples=settings().max_examples // 3)
def test_entries_are_ranked_as_is_defined(
    fields: list[dict[str, str]], question: str, k: int
) -> None:
    """By words: those that have some, by BM25 over each group of fields. By both: by the sum of what is normalised."""
    entries = [Entry(str(row), f"{row}", {"id": row}, fields=one) for row, one in enumerate(fields)]
    asked = tokenizer.extract_terms(question)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        builds = Builds(Path(folder))
        staged = written(builds, cache_in(Path(folder)), entries, stack, ranking=RANKING)
        verify_build(staged, count=len(entries))
        builds.promote(staged, record_promotion=str)
        with builds.open_current() as index:
            by_words = rank_entries(index, terms=asked, vector=None, k=k)
            by_both = rank_entries(index, terms=asked, vector=vectors_of([question])[0], k=k)
    groups = [
        [
            tokenizer.extract_terms("\n".join(one[name] for name in group.fields))
            for group in RANKING.groups
        ]
        for one in fields
    ]
    expected = np.array(by_definition(groups, asked))
    best = sorted(
        (row for row in range(len(fields)) if expected[row] > 0), key=lambda row: -expected[row]
    )[:k]
    assert np.allclose(by_words.scores, expected[best], rtol=1e-4)
    assert np.allclose(expected[by_words.rows], expected[best], rtol=1e-4)
    similarities = vectors_of([entry.text for entry in entries]) @ vectors_of([question])[0]
    fused = 0.7 * normalised(expected) + 0.3 * normalised(similarities)
    assert np.allclose(by_both.scores, np.sort(fused)[::-1][:k], atol=1e-3)
    assert np.allclose(by_both.scores, fused[by_both.rows], atol=1e-3)


@given(st.text(), st.text())
def test_a_text_has_the_terms_of_its_parts(one: str, other: str) -> None:
    """Whatever the characters, text by text as all at once; a term is its own term, or several shorter ones."""
    assert tokenizer.extract_terms(f"{one} {other}") == tokenizer.extract_terms(
        one
    ) + tokenizer.extract_terms(other)
    assert not any(
        character.isspace() for term in tokenizer.extract_terms(one) for character in term
    )
