"""The measures against numbers worked out by hand, and the yardstick against its published figures."""

import csv
import json
import math
from collections import defaultdict

import pytest

from pipeline.index.metrics import (
    Bm25,
    ndcg_at,
    precision_at,
    ranking_metrics,
    recall_at,
    reciprocal_rank,
    shuffled,
)
from tests.lab import SHARED

PEOPLE = SHARED / "data" / "people"
GRADES = {"a": 1, "b": 1, "c": 2, "z": 0}


def test_ndcg_by_hand() -> None:
    """Gains 0, 3, 1 at places 1 to 3, against 3, 1, 1; one place can be perfect; a name counts once, at its first."""
    found = 3 / math.log2(3) + 1 / 2
    ideal = 3 + 1 / math.log2(3) + 1 / 2
    assert ndcg_at(["x", "c", "a"], GRADES, 10) == pytest.approx(found / ideal)
    assert ndcg_at(["c", "a", "b", "x"], GRADES, 10) == pytest.approx(1)
    assert ndcg_at(["c", "x"], GRADES, 1) == 1
    assert ndcg_at(["a", "c"], GRADES, 1) == pytest.approx(1 / 3)
    assert ndcg_at(["a", "a", "c"], GRADES, 10) == ndcg_at(["a", "c"], GRADES, 10)


def test_ranks_precision_and_recall_by_hand() -> None:
    """Empty places are wrong ones, repeating wins nothing, and a grade of zero or less is not relevant."""
    assert reciprocal_rank(["x", "z", "b", "c"], GRADES) == pytest.approx(1 / 3)
    assert precision_at(["a", "c"], GRADES, 5) == pytest.approx(2 / 5)
    assert precision_at(["a", "a", "a"], GRADES, 3) == pytest.approx(1 / 3)
    assert recall_at(["a", "x", "c", "b"], GRADES, 3) == pytest.approx(2 / 3)
    grades, names = {"z": 0, "y": -1}, ["z", "y"]
    assert ndcg_at(names, grades, 10) == reciprocal_rank(names, grades) == recall_at(names, grades, 10) == 0
    with pytest.raises(ValueError, match="k is 0"):
        precision_at(["a"], GRADES, 0)


def test_measure_is_the_mean_over_judged_queries() -> None:
    """A query without a ranking scores zero, one without anything relevant does not count."""
    got = ranking_metrics({"q1": ["a"], "q3": ["a"]}, {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 0}})
    assert got == {"nDCG@10": 0.5, "MRR": 0.5, "P@5": 0.1, "R@10": 0.5, "R@50": 0.5}
    assert set(ranking_metrics({}, {}).values()) == {0.0}


def test_shuffled_depends_on_seed_and_query_alone() -> None:
    """The same names in any order give the same baseline; another query or seed gives another."""
    names = [f"n{number}" for number in range(50)]
    once = shuffled(names, seed=1, query="q")
    assert once == shuffled(reversed(names), seed=1, query="q")
    assert sorted(once) == sorted(names)
    assert once != shuffled(names, seed=2, query="q")
    assert once != shuffled(names, seed=1, query="r")


def test_bm25_by_hand() -> None:
    """One word in one of two documents: idf ln(1 + 1.5/1.5), no length penalty; shorter ones first, ties by name."""
    search = Bm25({"one": "bees honey", "two": "law court"})
    score = math.log(1 + 1.5 / 1.5) * 1 * 2.2 / (1 + 1.2)
    assert search.rank("bees") == ["one"]
    assert search._scores("bees")[0] == pytest.approx(score)
    search = Bm25({"long": "bees " + "other " * 20, "b": "bees", "a": "bees"})
    assert search.rank("bees") == ["a", "b", "long"]
    assert search.rank("bees", limit=1) == ["a"]
    assert Bm25({}).rank("bees") == Bm25({"a": "", "b": ""}).rank("bees") == []


@pytest.mark.skipif(not PEOPLE.exists(), reason="the shared people are not here")
def test_bm25_reproduces_its_published_figures() -> None:
    """nDCG@10 of 0.236 over all queries, 0.212 over topics, 0.246 over titles, as the data's own page says."""
    with (PEOPLE / "experts_1558.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    queries = [json.loads(line) for line in (PEOPLE / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    qrels: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (PEOPLE / "qrels.tsv").read_text(encoding="utf-8").splitlines():
        qid, _, username, grade = line.split()
        qrels[qid][username] = int(grade)
    search = Bm25({row["Username"]: " ".join((row["Job Title"], row["Company"], row["Bio"])) for row in rows})
    rankings = {query["qid"]: search.rank(query["text"]) for query in queries}
    for kind, published in (("", 0.236), ("topic", 0.212), ("title", 0.246)):
        judged = {query["qid"]: qrels[query["qid"]] for query in queries if query["type"].startswith(kind)}
        assert ranking_metrics(rankings, judged)["nDCG@10"] == pytest.approx(published, abs=0.0006)
