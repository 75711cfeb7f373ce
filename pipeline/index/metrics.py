"""Judge a ranking: the measures, and the two fixed systems every search is compared with.

Pure arithmetic on names and numbers: nothing is read or written here. A newcomer's likeliest mistake is to tune
`Bm25`. It is the yardstick (k1 1.2, b 0.75, no stemming, 25 stop words), so it stays as it is for ever.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


MEASURES = ("nDCG@10", "MRR", "P@5", "R@10", "R@50")
K1 = 1.2  # how soon a repeated word stops counting (Robertson and Zaragoza 2009, the usual value)
B = 0.75  # how much a long document counts against its words (same source)
_WORD = re.compile(r"[a-z0-9]+")
_STOP_WORDS = frozenset(
    _WORD.findall("a an and are as at be by for from has he in is it its of on that the to was were will with")
)
"""The 25 words of Manning, Raghavan and Schütze, Introduction to Information Retrieval (2008), figure 2.6."""


def ndcg_at(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """Return the discounted gain of the first `k` names over the best possible one, in 0..1.

    `relevant` maps names to grades; the gain is 2^grade - 1, a grade below one counts as not relevant. A name that
    stands twice in `ranking` counts at its first place. 0.0 where nothing is relevant.
    """
    ideal = _discounted(sorted(relevant.values(), reverse=True)[:k])
    found = _discounted([relevant.get(name, 0) for name in _once(ranking)[:k]])
    return found / ideal if ideal else 0.0


def reciprocal_rank(ranking: Sequence[str], relevant: Mapping[str, int]) -> float:
    """Return 1 / the place of the first relevant name, counted from one; 0.0 where none is ranked."""
    places = (place for place, name in enumerate(_once(ranking), start=1) if relevant.get(name, 0) > 0)
    return 1 / next(places, math.inf)


def precision_at(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """Return which part of `k` places holds a relevant name; places left empty count as wrong.

    Raises:
        ValueError: `k` is below one.
    """
    if k < 1:
        raise ValueError(f"k is {k}, expected at least 1")
    return _hits(ranking, relevant, k) / k


def recall_at(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> float:
    """Return which part of all relevant names stands in the first `k` places; 0.0 where nothing is relevant."""
    total = sum(grade > 0 for grade in relevant.values())
    return _hits(ranking, relevant, k) / total if total else 0.0


def ranking_metrics(rankings: Mapping[str, Sequence[str]], qrels: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """Return `nDCG@10`, `MRR`, `P@5`, `R@10` and `R@50`, each the plain mean over the judged queries.

    A query counts when `qrels` has something relevant for it; one without a ranking scores zero. Without any judged
    query every measure is 0.0.
    """
    judged = [(rankings.get(qid, ()), grades) for qid, grades in qrels.items() if any(g > 0 for g in grades.values())]
    rows = [
        (
            ndcg_at(ranking, grades, 10),
            reciprocal_rank(ranking, grades),
            precision_at(ranking, grades, 5),
            recall_at(ranking, grades, 10),
            recall_at(ranking, grades, 50),
        )
        for ranking, grades in judged
    ]
    return {name: fmean(row[at] for row in rows) if rows else 0.0 for at, name in enumerate(MEASURES)}


def shuffled(names: Iterable[str], *, seed: int, query: str) -> list[str]:
    """Return `names` in an order that depends on `seed` and `query` alone: what a search without a clue gives."""
    order = sorted(set(names))
    random.Random(f"{seed}/{query}").shuffle(order)  # noqa: S311 - a baseline, nothing secret
    return order


class Bm25:
    """The word search everything is compared with: Okapi BM25 over lower-case word tokens, without stemming."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        """Count the words of `documents`, a mapping from name to text; all of it is kept in memory."""
        import numpy as np

        self._names = list(documents)
        counts = [Counter(tokenize(text)) for text in documents.values()]
        lengths = np.array([count.total() for count in counts], dtype=np.float64)
        mean = float(lengths.mean()) if lengths.size and lengths.any() else 1.0
        self._damping = K1 * (1 - B + B * lengths / mean)
        self._places: dict[str, list[int]] = {}
        self._counts: dict[str, list[int]] = {}
        for place, count in enumerate(counts):
            for word, times in count.items():
                self._places.setdefault(word, []).append(place)
                self._counts.setdefault(word, []).append(times)

    def rank(self, query: str, *, limit: int | None = None) -> list[str]:
        """Return the names that share a word with `query`, best first, ties by name; at most `limit` of them."""
        scores = self._scores(query)
        found = [(-float(scores[place]), self._names[place]) for place in scores.nonzero()[0]]
        return [name for _, name in sorted(found)[:limit]]

    def _scores(self, query: str) -> "NDArray[np.float64]":
        """Return the score of every document, float64, (documents,); a word asked twice counts once."""
        import numpy as np

        scores = np.zeros(len(self._names))
        for word in dict.fromkeys(tokenize(query)):
            places = np.array(self._places.get(word, ()), dtype=np.intp)
            count = np.array(self._counts.get(word, ()), dtype=np.float64)
            rarity = math.log(1 + (len(self._names) - places.size + 0.5) / (places.size + 0.5))
            scores[places] += rarity * count * (K1 + 1) / (count + self._damping[places])
        return scores


def tokenize(text: str) -> list[str]:
    """Return the words of `text` in lower case and in order, the 25 stop words left out.

    Runs of a-z and 0-9 are words, and so are runs of other letters.
    """
    return [word for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS]


def _once(ranking: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(ranking))


def _hits(ranking: Sequence[str], relevant: Mapping[str, int], k: int) -> int:
    return sum(relevant.get(name, 0) > 0 for name in _once(ranking)[:k])


def _discounted(grades: Sequence[int]) -> float:
    """Return the gains of `grades` in their order, each divided by log2 of its place plus one."""
    return sum((2.0 ** max(grade, 0) - 1) / math.log2(place + 1) for place, grade in enumerate(grades, start=1))
