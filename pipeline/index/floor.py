"""Learn from questions that mean nothing what a hit is worth that means nothing: the floor of a build.

A hit is weak below a line between two points: a cosine that is enough where no word is found, and a sum of words that
is enough where the vectors say nothing. The line is as steep as the best hits of such questions are spread, and so
high that most of them are below it. So it follows the model, the texts and their number by itself.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SHARE = 0.87  # of questions without meaning that are below the floor: their best cosine and their best words together
LEAST_SPREAD = 0.25  # of what one rare word gives: where few of them find a word at all, their spread says nothing


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


def learn_floor(cosines: "NDArray[np.float32]", words: "NDArray[np.float32]", *, rarest: float) -> Floor:
    """Return the floor, of the best cosine and the best score of words of each question without meaning, (n,) each.

    `rarest` is what a word gives at most that one entry has.
    """
    import numpy as np

    slope = max(float(np.std(cosines)), 1e-3) / max(float(np.std(words)), LEAST_SPREAD * rarest)
    height = max(float(np.quantile(cosines + slope * words, SHARE)), 1e-3)
    return Floor(round(height, 4), round(height / slope, 4))
