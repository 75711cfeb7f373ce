"""A search of a build finds the same entries as a comparison of every vector."""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from askrows.pipeline.core.ranking import Entry, RankMode
from askrows.pipeline.index.builds import Builds
from askrows.pipeline.index.query import SearchQuery
from askrows.pipeline.index.scoring import rank_entries
from askrows.pipeline.index.write import verify_and_mark_build
from tests.unit.index.toy import cache_in, vectors_of, written

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    texts=st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40),
    query=st.sampled_from("abcdefghxyz"),
    k=st.integers(1, 45),
    bios=st.lists(JSON, min_size=40, max_size=40),
)
@settings(max_examples=settings().max_examples // 3)
def test_search_is_exact_and_metadata_survives(
    texts: list[str], query: str, k: int, bios: list[object]
) -> None:
    """Hits are the k most similar in vector order, each with its metadata."""
    entries = [
        Entry(str(row), text, {"id": row, "Bio": bios[row]}) for row, text in enumerate(texts)
    ]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        builds = Builds(Path(folder))
        staged = written(builds, cache_in(Path(folder)), entries, stack)
        verify_and_mark_build(staged, count=len(entries))
        builds.promote_and_list_moved_files(staged, record_promotion=str)
        with builds.open_current() as index:
            query_vector = vectors_of([query])[0]
            by_vectors = SearchQuery(query, rank=RankMode.VECTORS, vector=query_vector)
            ranked = rank_entries(index, by_vectors, k)
            found_metadata = [index.read_metadata(row) for row in ranked.rows.tolist()]

    similarity = {text: float(vectors_of([text])[0] @ query_vector) for text in set(texts)}
    expected = sorted(range(len(texts)), key=lambda row: (-similarity[texts[row]], row))[:k]
    assert found_metadata == [entries[row].metadata for row in expected]
    assert np.allclose(ranked.scores, [similarity[texts[row]] for row in expected], atol=1e-6)
