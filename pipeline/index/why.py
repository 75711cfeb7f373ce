"""Say how the score of a hit comes about, so that it can be added up by hand."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.index.fusion import Spread
    from pipeline.index.postings import WordPart


@dataclass(frozen=True)
class Side:
    """What one side gives a score: `share` x (`score` - `mean`) / `deviation`, nothing where all entries are equal."""

    name: str
    score: float
    mean: float
    deviation: float
    share: float

    @property
    def normalised(self) -> float:
        """The score in deviations from the mean."""
        return (self.score - self.mean) / self.deviation if self.deviation > 0 else 0.0

    @property
    def gives(self) -> float:
        """What it adds to the score of the hit."""
        return self.share * self.normalised

    @property
    def line(self) -> str:
        """What it adds, as arithmetic on one line."""
        if not self.deviation:
            return f"{self.name}: all are equal, so it gives 0"
        return (
            f"{self.name}: ({self.score:.2f} - {self.mean:.2f}) / {self.deviation:.2f} = {self.normalised:.2f}, "
            f"x {self.share:g} = {self.gives:.2f}"
        )


@dataclass(frozen=True)
class Why:
    """The words of a question that an entry has and what each gives, and what both sides give, where both rank."""

    words: Sequence["WordPart"]
    sides: Sequence[Side] = ()

    def lines(self) -> Iterator[str]:
        """Yield the arithmetic of a hit, a line each: every word, and what both sides give."""
        for part in self.words:
            times = f"{part.times} x " if part.times > 1 else ""
            weight = f" x weight {part.weight:g}" if part.weight != 1 else ""
            where = f"{part.term} in {' '.join(part.fields)}"
            yield f"{where}: {times}idf {part.idf:.2f} x tf {part.tf:.2f}{weight} = {part.score:.2f}"
        for side in self.sides:
            yield side.line
        if self.sides:
            added = " + ".join(f"{side.gives:.2f}" for side in self.sides)
            yield f"score: {added} = {sum(side.gives for side in self.sides):.2f}"

    def as_json(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        words = [{**one._asdict(), "fields": list(one.fields)} for one in self.words]
        sides = [{**vars(side), "normalised": side.normalised, "gives": side.gives} for side in self.sides]
        return {"words": _rounded(words), "sides": _rounded(sides)}


def sides_of(words: float, cosine: float, spreads: "tuple[Spread, Spread]", *, share: float) -> tuple[Side, Side]:
    """Return both sides of a hit, from its scores; words count `share` of 1."""
    first, second = spreads
    return (
        Side("words", words, first.mean, first.deviation, share),
        Side("cosine", cosine, second.mean, second.deviation, 1 - share),
    )


def _rounded(value: Any) -> Any:
    """Return a JSON value with four digits behind the point."""
    if isinstance(value, float):
        return round(value, 4)
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list) else value
