"""The measures, intervals and fixed systems of the test lab, against numbers worked out by hand or published."""

import csv
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.index.lab.baselines import PlainBm25, by_chance
from pipeline.index.lab.intervals import compare_paired, estimate
from pipeline.index.lab.judged import judged_of_files
from pipeline.index.lab.measures import measure_rankings
from tests.lab import SHARED

PEOPLE = SHARED / "data" / "people"
VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=30).map(np.array)


def test_measures_by_hand() -> None:
    """Gains are grades, what was never judged is told, and a question without a ranking scores zero."""
    grades = {"q1": {"a": 1, "b": 1, "c": 2, "z": 0}, "q2": {"a": 1}}
    found = measure_rankings({"q1": ["x", "c", "a"]}, grades, ["q2", "q1"])
    gain = (2 / math.log2(3) + 1 / 2) / (2 + 1 / math.log2(3) + 1 / 2)
    told = {"nDCG@10": gain, "MRR": 1 / 2, "P@5": 2 / 5, "R@10": 2 / 3, "R@50": 2 / 3, "R@100": 2 / 3}
    assert {name: values.tolist() for name, values in found.items()} == {
        name: [0, pytest.approx(value)] for name, value in (told | {"judged@10": 2 / 3}).items()
    }


@given(VALUES)
def test_an_interval_holds_its_mean_and_a_variant_is_no_better_than_itself(
    values: "np.ndarray[tuple[int], np.dtype[np.float64]]",
) -> None:
    """Within the values there are, the same each time; and differences turn round with the order."""
    found = estimate(values)
    assert values.min() - 1e-9 <= found.low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.high <= values.max() + 1e-9
    assert found == estimate(values)
    alike = compare_paired(values, values)
    assert (alike.difference.mean, alike.p, alike.ties, alike.is_worse) == (0, 1, len(values), False)
    worse = compare_paired(values - 1, values)
    assert worse.is_worse
    assert worse.losses == len(values)


def test_plain_bm25_by_hand() -> None:
    """One word in one of two documents; words of any script, in any case; shorter ones first, ties in their order."""
    search = PlainBm25(["one", "two"], ["Bees honey", "law ÉCOLE Ωμέγα школа"])
    assert [search.rank(word, 5) for word in ("bees", "école", "ωμέγα", "ШКОЛА", "a")] == [["one"], *[["two"]] * 3, []]
    search = PlainBm25(["long", "b", "a"], ["bees " + "other " * 20, "bees", "bees"])
    assert search.rank("bees bees", 2) == ["b", "a"]
    assert PlainBm25(["a"], [""]).rank("bees", 5) == []


def test_chance_depends_on_the_question_alone() -> None:
    """The same names in any order give the same ranking, another question another."""
    names = [f"n{number}" for number in range(50)]
    once = by_chance(names, "q", 50)
    assert once == by_chance(reversed(names), "q", 50)
    assert sorted(once) == sorted(names)
    assert once != by_chance(names, "r", 50)


@pytest.mark.skipif(not PEOPLE.exists(), reason="the shared people are not here")
def test_plain_bm25_keeps_its_figures() -> None:
    """nDCG@10 of 0.211 over topics, 0.236 over titles of all people: the yardstick does not move."""
    with (PEOPLE / "experts_1558.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    judged = judged_of_files(PEOPLE / "queries.jsonl", PEOPLE / "qrels.tsv")
    texts = [" ".join((row["Job Title"], row["Company"], row["Bio"])) for row in rows]
    search = PlainBm25([row["Username"] for row in rows], texts)
    for kind, known in (("topic", 0.2111), ("title", 0.2358)):
        some = {one.qid: search.rank(one.text, 100) for one in judged.questions if one.type == kind}
        assert measure_rankings(some, judged.grades, list(some))["nDCG@10"].mean() == pytest.approx(known, abs=0.0001)
