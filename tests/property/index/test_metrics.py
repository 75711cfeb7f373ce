"""What holds for the measures whatever the ranking."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.index.metrics import Bm25, ndcg_at, precision_at, recall_at, reciprocal_rank

NAMES = st.sampled_from("abcdefgh")
RANKINGS = st.lists(NAMES, max_size=12)
GRADES = st.dictionaries(NAMES, st.integers(-1, 3), max_size=8)


@given(ranking=RANKINGS, relevant=GRADES, k=st.integers(1, 12))
def test_every_measure_lies_between_zero_and_one(ranking: list[str], relevant: dict[str, int], k: int) -> None:
    """Also with repeated names and odd grades."""
    scores = (
        ndcg_at(ranking, relevant, k),
        precision_at(ranking, relevant, k),
        recall_at(ranking, relevant, k),
        reciprocal_rank(ranking, relevant),
    )
    assert all(0 <= score <= 1 + 1e-12 for score in scores)


@given(relevant=GRADES, k=st.integers(1, 12), noise=RANKINGS)
def test_the_order_by_grade_is_the_best(relevant: dict[str, int], k: int, noise: list[str]) -> None:
    """No other ranking has a larger discounted gain."""
    best = sorted(relevant, key=lambda name: -relevant[name])
    assert ndcg_at(noise, relevant, k) <= ndcg_at(best, relevant, k) + 1e-12


@given(texts=st.dictionaries(NAMES, st.text(max_size=40), max_size=8), query=st.text(max_size=20))
def test_bm25_ranks_known_names_once(texts: dict[str, str], query: str) -> None:
    """Whatever the texts and the query."""
    ranked = Bm25(texts).rank(query)
    assert len(ranked) == len(set(ranked))
    assert set(ranked) <= set(texts)
