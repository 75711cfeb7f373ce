"""The two fixed systems that every search is compared with: plain BM25, and chance.

A newcomer's likeliest mistake is to tune `PlainBm25`. It is the yardstick, so it stays as it is for ever: runs of
letters and digits of any script, case-folded, no stop words, no stems, k1 1.2, b 0.75; a word asked twice counts once.
"""

import random
import re
from collections.abc import Iterable, Sequence

K1 = 1.2  # how soon a repeated word stops counting (Robertson and Zaragoza 2009, the usual value)
B = 0.75  # how much a long document counts against its words (same source)
CHANCE_SEED = 20261120
_WORD = re.compile(r"[^\W_]+")


def plain_words(text: str) -> list[str]:
    """Return the words of a text in their order, case-folded."""
    return _WORD.findall(text.casefold())


class PlainBm25:
    """Okapi BM25 as Lucene has it, computed by bm25s over plain words."""

    def __init__(self, names: Sequence[str], texts: Iterable[str]) -> None:
        """Index texts under their names; all of it is kept in memory."""
        import bm25s

        self._names = names
        self._bm25 = bm25s.BM25(k1=K1, b=B, method="lucene")
        words = [plain_words(text) for text in texts]
        self._known = {word for some in words for word in some}
        if self._known:
            self._bm25.index(words, show_progress=False)

    def rank(self, question: str, depth: int) -> list[str]:
        """Return at most `depth` names that share a word with the question, best first, ties in their order."""
        import numpy as np

        words = [word for word in dict.fromkeys(plain_words(question)) if word in self._known]
        if not words:
            return []
        scores = self._bm25.get_scores(words)
        order = np.argsort(-scores, kind="stable")[:depth]
        return [self._names[place] for place in order if scores[place] > 0]


def by_chance(names: Iterable[str], question: str, depth: int) -> list[str]:
    """Return names in an order that depends on the question alone: what a search without a clue gives."""
    order = sorted(set(names))
    random.Random(f"{CHANCE_SEED}/{question}").shuffle(order)  # noqa: S311 - a baseline, nothing secret
    return order[:depth]
