"""Learn from questions that mean nothing what a hit is worth that means nothing: the floor of a build.

A hit is weak below a line between two points: a cosine that is enough where no word is found, and a sum of words that
is enough where the vectors say nothing. The line is as steep as the best hits of such questions are spread, and so
high that most of them are below it. So it follows the model, the texts and their number by itself.

Where words alone rank there is no cosine, and a sum of words says little: one rare word may be all that is asked, or
one of ten. So that sum times the share of the question that it makes up has a floor of its own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from pipeline.index.vectors import Vectors
    from pipeline.index.words import Words

SHARE = 0.87  # of questions without meaning that are below the floor: their best cosine and their best words together
LEAST_SPREAD = 0.2  # of what one rare word gives: where few of them find a word at all, their spread says nothing
REACHED = 0.9  # of what the terms of a question tell; tried on 278 questions, see docs/search.md
LEAST_ALONE = 0.05  # of the same: about what one rare word of five comes to


@dataclass(frozen=True)
class Floor:
    """The cosine that is enough alone, and the score of words that is; together, they are enough in part.

    `alone` is what words must come to that rank alone.
    """

    cosine: float
    words: float
    alone: float

    def is_weak(self, cosine: float, words: float, told: float) -> bool:
        """Return whether a hit with these scores is no better than what a question without meaning finds.

        Of a short question, whose terms tell less than the floor, a part of what they tell is enough.
        """
        enough = min(self.words, REACHED * told) or self.words
        return cosine / self.cosine + words / enough < 1

    def is_weak_alone(self, words: float, told: float) -> bool:
        """Return the same of a hit by words alone, whose question's terms tell so much."""
        return come_to(words, told) < self.alone

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the floor that a manifest holds.

        Raises:
            KeyError: it has others names.
            ValueError: its values are no numbers above 0.
        """
        found = cls(*(float(document[name]) for name in ("cosine", "words", "alone")))
        if not (found.cosine > 0 and found.words > 0 and found.alone >= 0):
            raise ValueError(f"a floor of {document}")
        return found


def come_to(words: float, told: float) -> float:
    """Return what a score of words comes to alone: times its share of what all the question's terms tell."""
    return words * words / told if told else 0.0


@cache
def nonsense() -> tuple[str, ...]:
    """Return the questions that mean nothing."""
    lines = files("pipeline.index").joinpath("nonsense.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


class Highest:
    """The highest cosine of each of some questions with any entry, of entries that come in blocks."""

    def __init__(self, questions: "Vectors | None") -> None:
        """Begin with the vectors of the questions, float32 (questions, dim), and no entry."""
        import numpy as np

        self._questions = np.empty((0, 0), np.float32) if questions is None else questions
        self.cosines = np.full(len(self._questions), -np.inf, np.float32)

    def seen(self, blocks: "Iterable[Vectors]") -> "Iterator[Vectors]":
        """Yield blocks of entries as they come, float32 (entries, dim), and look at each."""
        import numpy as np

        from pipeline.index.flat_file import highest_similarity

        for block in blocks:
            if len(self.cosines):
                np.maximum(self.cosines, highest_similarity(self._questions, block), out=self.cosines)
            yield block


def learn_floor(cosines: Sequence[float], found: "Words") -> Floor:
    """Return the floor of a build, of the highest cosine of each question without meaning, and of its words."""
    import numpy as np

    from pipeline.index.terms import terms_of_question

    asked = [terms_of_question(one) for one in nonsense()]
    words = [max(found.scores(terms, most=1).values(), default=0.0) for terms in asked]
    alone = [come_to(score, found.told(terms)) for score, terms in zip(words, asked, strict=True)]
    slope = max(float(np.std(cosines)), 1e-3) / max(float(np.std(words)), LEAST_SPREAD * found.rarest)
    height = max(float(np.quantile(np.array(cosines) + slope * np.array(words), SHARE)), 1e-3)
    least = max(float(np.quantile(alone, SHARE)), LEAST_ALONE * found.rarest)
    return Floor(round(height, 4), round(height / slope, 4), round(least, 4))
