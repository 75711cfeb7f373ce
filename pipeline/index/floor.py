"""What a hit is worth that means nothing, learnt from questions that mean nothing: the floor of a build.

A hit is weak below a line between two points: a cosine that is enough where no word is found, and a sum of words that
is enough where the vectors say nothing. The line is as steep as the best hits of such questions are spread, and so high
that most of them are below it. So it follows the model, the texts and their number by itself. Where words alone rank
there is no cosine, and a sum of words says little: one rare word may be all that is asked, or one of ten. So that sum
times the share of the question that it makes up has a floor of its own.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from pipeline.index import terms

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pipeline.index.reader import Index

SHARE = 0.87  # of questions without meaning that are below the floor: their best cosine and their best words together
LEAST_SPREAD = 0.2  # of what one rare word gives: where few of them find a word at all, their spread says nothing
REACHED = 0.9  # of what the terms of a question tell; tried on 278 questions, see docs/search.md
LEAST_ALONE = 0.05  # of the same: about what one rare word of five comes to


@dataclass(frozen=True)
class Floor:
    """The cosine that is enough alone, and the score of words that is; together, they are enough in part.

    `alone` is what words must come to that rank alone.
    """

    cosine: Annotated[float, Field(gt=0)]
    words: Annotated[float, Field(gt=0)]
    alone: Annotated[float, Field(ge=0)]

    def is_weak(self, cosine: float | None, words: float, told: float) -> bool:
        """Return whether a hit with these scores is no better than what a question without meaning finds.

        Of a short question, whose terms tell less than the floor, a part of what they tell is enough. Without a cosine
        it was found by words alone.
        """
        if cosine is None:
            return come_to(words, told) < self.alone
        enough = min(self.words, REACHED * told) or self.words
        return cosine / self.cosine + words / enough < 1


def come_to(words: float, told: float) -> float:
    """Return what a score of words comes to alone: times its share of what all the question's terms tell."""
    return words * words / told if told else 0.0


@cache
def nonsense() -> tuple[str, ...]:
    """Return the questions that mean nothing."""
    lines = files("pipeline.index").joinpath("nonsense.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


def learn_floor(index: "Index", questions: "NDArray[np.float32]") -> Floor:
    """Return the floor of a build, of the vectors of the questions without meaning, (questions, dim)."""
    import numpy as np

    cosines = index.faiss.search(questions, 1)[0].ravel()
    asked = [terms.terms_of_question(one) for one in nonsense()]
    words = [max(index.word_scores(some, most=1).values(), default=0.0) for some in asked]
    alone = [come_to(score, index.told(some)) for score, some in zip(words, asked, strict=True)]
    slope = max(float(np.std(cosines)), 1e-3) / max(float(np.std(words)), LEAST_SPREAD * index.rarest)
    height = max(float(np.quantile(cosines + slope * np.array(words), SHARE)), 1e-3)
    least = max(float(np.quantile(alone, SHARE)), LEAST_ALONE * index.rarest)
    return Floor(round(height, 4), round(height / slope, 4), round(least, 4))
