"""Figures that subjects measure alike: how many answers an item has, what its replies used, bars and gates of them."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

from pipeline.quality.figures import Distribution, Figure, Gate
from pipeline.quality.statistics import Choice, mean, percentile

if TYPE_CHECKING:
    from pipeline.store.statistics import ReplyCounts

Shown = TypeVar("Shown")
Bound = tuple[str, float | None, float | None, int, str]  # a figure's name, low, high, the fewest items, why


@dataclass
class ListTally(Generic[Shown]):
    """What one pass over answers that are lists came to: how many there are of each length, and some to be shown."""

    shown: Choice[Shown]
    lengths: Counter[int] = field(default_factory=Counter)

    @property
    def answers(self) -> int:
        """Return how many answers were counted."""
        return self.lengths.total()

    def add(self, key: str, members: Sequence[str], shown: Shown) -> None:
        """Count the members of one answer; `shown` is kept of it where it is among those that are."""
        self.lengths[len(members)] += 1
        self.shown.offer(key, shown)


def share(part: float, whole: float) -> float | None:
    """Return part / whole; None where there is nothing to share."""
    return part / whole if whole else None


def count_figures(name: str, histogram: Mapping[int, int], *, one: str, many: str) -> Iterator[Figure]:
    """Yield mean, P10 and P90 of a histogram {answers of an item: items}; `name` says what is counted."""
    items = sum(histogram.values())
    yield Figure(name, mean(histogram), "mean", f"{name} that a {one} has on the mean", items)
    yield Figure(
        f"{name}-p10",
        percentile(histogram, 0.1),
        "count",
        f"nine of ten {many} have at least so many {name} (P10)",
        items,
    )
    yield Figure(
        f"{name}-p90",
        percentile(histogram, 0.9),
        "count",
        f"nine of ten {many} have at most so many {name} (P90)",
        items,
    )


def usage_figures(replies: "ReplyCounts", *, one: str) -> Iterator[Figure]:
    """Yield what an answer cost, with what was paid for replies that were none."""
    paid = replies.answered
    yield Figure(
        "cost",
        replies.cost if replies.total else None,
        "USD",
        "what all replies cost, those without an answer too",
        paid,
    )
    yield Figure(
        "cost-each",
        share(replies.cost, paid),
        "USD",
        f"what a {one} with an answer cost, failed replies included",
        paid,
    )
    yield Figure(
        "tokens-in", share(replies.tokens_in, paid), "mean", f"tokens that were sent for a {one} with an answer", paid
    )
    yield Figure(
        "tokens-out", share(replies.tokens_out, paid), "mean", f"tokens that came back for a {one} with an answer", paid
    )


def histogram_bars(title: str, unit: str, histogram: Mapping[int, int], *, most: int) -> Iterator[Distribution]:
    """Yield the bars of {number: how often} from 1 on, those from `most` on in one bar; nothing where it is empty."""
    if histogram:
        bars = [(str(number), histogram.get(number, 0)) for number in range(1, most)]
        more = sum(times for number, times in histogram.items() if number >= most)
        yield Distribution(title, unit, [*bars, (f"{most} and more", more)])


def gates_of(figures: Mapping[str, Figure], bounds: Iterable[Bound]) -> list[Gate]:
    """Return the gates that some bounds are to figures."""
    return [Gate(name, figures[name], low, high, why, fewest) for name, low, high, fewest, why in bounds]
