"""Learn from questions that mean nothing what a hit is worth that means nothing: the floor of a build.

A hit is weak below a line between two points: a cosine that is enough where no word is found, and a sum of words that
is enough where the vectors say nothing. The line is as steep as the best hits of such questions are spread, and so
high that most of them are below it. So it follows the model, the texts and their number by itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Self

from pipeline.index.terms import terms_of_question

if TYPE_CHECKING:
    from pipeline.index.postings import Postings
    from pipeline.index.vector_file import Vectors

SHARE = 0.87  # of questions without meaning that are below the floor: their best cosine and their best words together
LEAST_SPREAD = 0.2  # of what one rare word gives: where few of them find a word at all, their spread says nothing


@dataclass(frozen=True)
class Floor:
    """The cosine that is enough alone, and the score of words that is; together, they are enough in part."""

    cosine: float
    words: float

    def is_weak(self, cosine: float, words: float) -> bool:
        """Return whether a hit with these scores is no better than what a question without meaning finds."""
        return cosine / self.cosine + words / self.words < 1

    def as_json(self) -> dict[str, float]:
        """Return it as it stands in a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Return the floor that a manifest holds.

        Raises:
            KeyError: it has others names.
            ValueError: its values are no numbers above 0.
        """
        found = cls(float(document["cosine"]), float(document["words"]))
        if not (found.cosine > 0 and found.words > 0):
            raise ValueError(f"a floor of {document}")
        return found


@cache
def nonsense() -> tuple[str, ...]:
    """Return the questions that mean nothing."""
    lines = files("pipeline.index").joinpath("nonsense.txt").read_text(encoding="utf-8").splitlines()
    return tuple(line for line in lines if not line.startswith("#"))


class Highest:
    """The highest cosine of each of some questions with any entry, of entries that come block by block."""

    def __init__(self, questions: "Vectors | None") -> None:
        """Begin with the vectors of the questions, float32 (questions, dim), and no entry."""
        self._questions = questions
        self.found: list[float] = []

    def seen(self, blocks: "Iterable[Vectors]") -> "Iterator[Vectors]":
        """Yield blocks of entries as they come, float32 (entries, dim), and look at each."""
        import numpy as np

        highest = None
        for block in blocks:
            if self._questions is not None and len(block):
                here = (block @ self._questions.T).max(axis=0)
                highest = here if highest is None else np.maximum(highest, here)
            yield block
        self.found = [] if highest is None else highest.tolist()


def learn_floor(cosines: Sequence[float], postings: "Postings") -> Floor:
    """Return the floor of a build, of the highest cosine of each question without meaning, and of its words."""
    import numpy as np

    words = [float(postings.scores(terms_of_question(one)).max()) for one in nonsense()]
    slope = max(float(np.std(cosines)), 1e-3) / max(float(np.std(words)), LEAST_SPREAD * postings.rarest)
    height = max(float(np.quantile(np.array(cosines) + slope * np.array(words), SHARE)), 1e-3)
    return Floor(round(height, 4), round(height / slope, 4))
