"""Entries are found by words as BM25 is defined, whatever their fields hold and however the postings were cut."""

import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.core.ranking import K1, B, Entry, FieldGroup, Ranking
from pipeline.index import postings_writer, terms
from pipeline.index.builds import Builds
from pipeline.index.vectors import VectorCache
from pipeline.index.fusion import rank_entries
from tests.unit.index.toy import DIM, MODEL, key_of, pages_of, vectors_of

RANKING = Ranking((FieldGroup(("title", "text")), FieldGroup(("tags",), 0.5)), share=0.7)
WORDS = st.sampled_from(["water", "law", "Wasser", "水法", "水", "вода", "hydrology", "hydrologist", "the", "é", "😀"])
TEXTS = st.lists(WORDS, max_size=12).map(" ".join)
ENTRIES = st.lists(st.fixed_dictionaries({"title": TEXTS, "text": TEXTS, "tags": TEXTS}), min_size=1, max_size=30)


def by_definition(groups: Sequence[Sequence[str]], weight: float, question: Sequence[str]) -> list[float]:
    """Return the BM25 of each text for a question: Robertson's, with Lucene's inverse document frequency."""
    texts = [Counter(text) for text in groups]
    average = sum(text.total() for text in texts) / len(texts)
    scores = [0.0] * len(texts)
    for term in question:
        held = sum(term in text for text in texts)
        rarity = math.log(1 + (len(texts) - held + 0.5) / (held + 0.5))
        for row, text in enumerate(texts):
            if term in text:
                scores[row] += weight * rarity * text[term] / (text[term] + K1 * (1 - B + B * text.total() / average))
    return scores


def normalised(scores: NDArray[Any]) -> NDArray[Any]:
    """Return scores less their mean, over their deviation; nothing where all are equal."""
    spread: NDArray[Any] = (scores - scores.mean()) / (scores.std() or np.inf)
    return spread


@given(fields=ENTRIES, question=TEXTS, run=st.integers(1, 40), k=st.integers(1, 12))
@example(fields=[{"title": "", "text": "😀", "tags": "the"}], question="water", run=1, k=3)
@settings(max_examples=settings().max_examples // 3)
def test_entries_are_ranked_as_is_defined(fields: list[dict[str, str]], question: str, run: int, k: int) -> None:
    """By words: those that have some, by BM25 over each group of fields. By both: by the sum of what is normalised."""
    entries = [Entry(str(row), f"{row}", {"id": row}, fields=one) for row, one in enumerate(fields)]
    asked = terms.terms_of(question)
    with tempfile.TemporaryDirectory() as folder, patch.object(postings_writer, "RUN", run):
        cache = VectorCache(Path(folder) / "vectors", model=MODEL, dim=DIM)
        keys = [key_of(entry.text) for entry in entries]
        cache.add(keys, vectors_of([entry.text for entry in entries]))
        builds = Builds(Path(folder))
        told: dict[str, Any] = {"count": len(entries), "position": 0, "task_type": "T", "ranking": RANKING}
        staged = builds.stage(1, pages_of(entries), cache, **told)
        builds.verify(staged, count=len(entries))
        builds.promote(staged)
        with builds.open() as index:
            by_words = rank_entries(index, terms=asked, vector=None, k=k)
            by_both = rank_entries(index, terms=asked, vector=vectors_of([question])[0], k=k)
    groups = [
        [terms.terms_of("\n".join(one[name] for name in group.fields)) for one in fields] for group in RANKING.groups
    ]
    expected = np.zeros(len(fields))
    for texts, group in zip(groups, RANKING.groups, strict=True):
        expected += by_definition(texts, group.weight, asked)
    best = sorted((row for row in range(len(fields)) if expected[row] > 0), key=lambda row: -expected[row])[:k]
    assert np.allclose(by_words.scores, expected[best], rtol=1e-4)
    assert np.allclose(expected[by_words.rows], expected[best], rtol=1e-4)
    similarities = vectors_of([entry.text for entry in entries]) @ vectors_of([question])[0]
    fused = 0.7 * normalised(expected) + 0.3 * normalised(similarities)
    assert np.allclose(by_both.scores, np.sort(fused)[::-1][:k], atol=1e-3)
    assert np.allclose(by_both.scores, fused[by_both.rows], atol=1e-3)


@given(st.text(), st.text())
def test_a_text_has_the_terms_of_its_parts(one: str, other: str) -> None:
    """Whatever the characters, text by text as all at once; a term is its own term, or several shorter ones."""
    assert terms.terms_of(f"{one} {other}") == terms.terms_of(one) + terms.terms_of(other)
    assert not any(character.isspace() for term in terms.terms_of(one) for character in term)
