"""Figures of answers, the gates that judge them, and the arithmetic behind both.

A figure with bounds is a gate. A user may set others: `GATES="evidence=0.95,concepts=3..16"`. A gate with one bound
takes one number, one with two takes `low..high`, where either may be left out; `off` switches a gate off. Shares lie
between 0 and 1.
"""

import hashlib
import heapq
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Literal, NamedTuple, TypeVar

from pipeline.core.errors import ConfigurationError
from pipeline.core.step import Hint, Option

if TYPE_CHECKING:
    from pipeline.store.answers import ReplyCounts

T = TypeVar("T")
Shown = TypeVar("Shown")
Number = TypeVar("Number", int, float)
Unit = Literal["share", "mean", "count", "USD", "characters", "bits"]
PILOT = 200  # items of one of usual size, where a share of 1 % that fails is two of them
HOW = Hint("write it like {}", Option(gates="evidence=0.95,concepts=3..16,divergence=off"))


class Bound(NamedTuple):
    """The bounds of a figure by its name and unit, both inclusive, None where there is none; `why` they are there.

    It is not judged on fewer than `at_least` items, where a figure may be anything by chance.
    """

    name: str
    unit: Unit
    low: float | None
    high: float | None
    at_least: int
    why: str

    @property
    def wanted(self) -> str:
        """What the bounds demand, in words."""
        low, high = shown(self.low, self.unit), shown(self.high, self.unit)
        if self.low is None:
            return "anything" if self.high is None else f"at most {high}"
        return f"at least {low}" if self.high is None else f"{low} to {high}"

    def missed(self, value: float | None) -> float | None:
        """Return the bound that a value does not keep, None where it keeps both or there is no value."""
        if value is not None and self.low is not None and value < self.low:
            return self.low
        return self.high if value is not None and self.high is not None and value > self.high else None


class Figure(NamedTuple):
    """One thing that was measured; `value` is None where there was nothing to measure it on.

    A share lies between 0 and 1. `told` says in one sentence what it is, `items` on how many items it was measured.
    """

    name: str
    value: float | None
    unit: Unit
    told: str
    items: int


class Verdict(NamedTuple):
    """What a gate says of its figure: passed or not, None where it was not judged; `said` says so in words."""

    gate: Bound
    figure: Figure
    passed: bool | None
    said: str

    @property
    def shown(self) -> str:
        """The figure for users to read."""
        return shown(self.figure.value, self.figure.unit, bound=self.gate.missed(self.figure.value))

    @property
    def why_not(self) -> str:
        """Why it was not judged; empty where it was."""
        return self.said.partition(": ")[2] if self.passed is None else ""


class Rows(NamedTuple):
    """A small table: few columns, for it is read on a phone. A cell that is a text is data and is shown as such."""

    title: str
    headers: Sequence[str]
    cells: Sequence[Sequence[str | int | float]]


class Sample(NamedTuple):
    """One answer beside what it was made from, for a user to read.

    `spans` are the (start, end) of what is marked in `text`, in code points, ascending and apart from each other.
    """

    id: str
    name: str
    text: str
    spans: Sequence[tuple[int, int]]
    said: str


@dataclass(frozen=True)
class Quality:
    """All that was measured of one extractor's answers, or of all of a label; `items` is how many items have some."""

    title: str
    extractor: str  # a label, a label with its model, or "all"
    items: int
    figures: Sequence[Figure]
    gates: Sequence[Bound]
    distributions: Sequence[Rows] = ()  # (label, how many) in the order in which they are shown
    tables: Sequence[Rows] = ()
    samples: Sequence[Sample] = ()
    notes: Sequence[str] = ()


def shown(value: float | None, unit: Unit, *, bound: float | None = None) -> str:
    """Return a value for users to read; beside a bound that it misses never rounded onto it."""
    if value is None:
        return "-"
    for digits in range(2, 9):
        text = _written(value, unit, digits)
        if bound is None or value == bound or text != _written(bound, unit, digits):
            return text
    return repr(value)


def _written(value: float, unit: Unit, digits: int) -> str:
    if unit == "share":
        return f"{_trimmed(100 * value, digits)} %"
    if unit == "USD" and value:
        return f"${value:,.{digits + 4 if value < 1 else digits}f}"
    if unit == "USD":
        return "$0"
    if unit in {"count", "characters"} and value == int(value):
        return f"{int(value):,}"
    return _trimmed(value, digits)


def _trimmed(value: float, digits: int) -> str:
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".")


def mean(histogram: Mapping[int, int]) -> float | None:
    """Return the mean of {value: how often}; None where there is nothing."""
    count = sum(histogram.values())
    return sum(value * times for value, times in histogram.items()) / count if count else None


def percentile(histogram: Mapping[Number, int], share: float) -> Number | None:
    """Return the smallest value that at least this share of {value: how often} does not exceed; None without any."""
    wanted = share * sum(histogram.values())
    seen = 0
    for value in sorted(histogram):
        seen += histogram[value]
        if seen >= wanted:
            return value
    return None


def divergence(one: Mapping[str, float], other: Mapping[str, float]) -> float | None:
    """Return the Jensen-Shannon divergence of two distributions, base 2: 0 where they are alike, 1 where all differs.

    The weights need not add up to 1; None where one of them has none.
    """
    whole, whole_other = sum(one.values()), sum(other.values())
    if not whole or not whole_other:
        return None
    found = 0.0
    for name in sorted(one.keys() | other.keys()):
        share, share_other = one.get(name, 0) / whole, other.get(name, 0) / whole_other
        middle = (share + share_other) / 2
        found += sum(part * math.log2(part / middle) for part in (share, share_other) if part) / 2
    return min(1.0, max(0.0, found))


class Choice(Generic[T]):
    """At most `size` of all that is offered, each as likely as any other; the same ones for one seed, in any order.

    What is kept are those whose keys have the smallest hashes, so that neither the order of a database nor how many
    are offered needs to be known.
    """

    def __init__(self, size: int, *, seed: int) -> None:
        """Choose nothing yet."""
        self._size = size
        self._salt = str(seed).encode()
        self._heap: list[tuple[int, str, T]] = []  # the largest hash first: hashes are negative

    def offer(self, key: str, value: T) -> None:
        """Keep a value under its key, which nothing else has, if it is among the chosen."""
        heapq.heappush(self._heap, (-self._hash(key), key, value))
        if len(self._heap) > self._size:
            heapq.heappop(self._heap)

    def __iter__(self) -> Iterator[T]:
        """Yield the chosen ones, in an order that the seed gives."""
        return (value for _, _, value in sorted(self._heap, key=lambda entry: (-entry[0], entry[1])))

    def _hash(self, key: str) -> int:
        digest = hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=8, key=self._salt)
        return int.from_bytes(digest.digest(), "big")


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
    for percent, bound in ((10, "least"), (90, "most")):
        told = f"nine of ten {many} have at {bound} so many {name} (P{percent})"
        yield Figure(f"{name}-p{percent}", percentile(histogram, percent / 100), "count", told, items)


def usage_figures(replies: "ReplyCounts", *, one: str) -> Iterator[Figure]:
    """Yield what an answer cost, with what was paid for replies that were none."""
    paid, cost = replies.answered, replies.cost if replies.total else None
    yield Figure("cost", cost, "USD", "what all replies cost, those without an answer too", paid)
    told = f"what a {one} with an answer cost, failed replies included"
    yield Figure("cost-each", share(replies.cost, paid), "USD", told, paid)
    for name, tokens, how in (("in", replies.tokens_in, "were sent"), ("out", replies.tokens_out, "came back")):
        told = f"tokens that {how} for a {one} with an answer"
        yield Figure(f"tokens-{name}", share(tokens, paid), "mean", told, paid)


def histogram_bars(title: str, unit: str, histogram: Mapping[int, int], *, most: int) -> Iterator[Rows]:
    """Yield the bars of {number: how often} from 1 on, those from `most` on in one bar; nothing where it is empty."""
    if histogram:
        bars = [(str(number), histogram.get(number, 0)) for number in range(1, most)]
        more = sum(times for number, times in histogram.items() if number >= most)
        yield Rows(title, ("", unit), [*bars, (f"{most} and more", more)])


def parse_gates(overrides: str) -> dict[str, str]:
    """Return what is set of which gate, as it was typed.

    Raises:
        ConfigurationError: it is not written as it should be.
    """
    found: dict[str, str] = {}
    for part in filter(None, (one.strip() for one in overrides.split(","))):
        name, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals or not name or not text:
            raise ConfigurationError(f"GATES: {part!r} says nothing of a gate", hint=HOW)
        if name in found:
            raise ConfigurationError(f"GATES: {name} stands there twice", hint=HOW)
        found[name] = text
    return found


def bounds_set(gates: Iterable[Bound], overrides: str = "", *, others: Collection[str] = ()) -> dict[str, Bound | None]:
    """Return gates by name with what is set in the place of their bounds, None where one is off; `others` are not ours.

    Raises:
        ConfigurationError: there is no gate of a name that is set, or a number cannot be its bound.
    """
    found: dict[str, Bound | None] = {one.name: one for one in gates}
    for name, text in parse_gates(overrides).items():
        gate = found.get(name)
        if gate is not None:
            found[name] = None if text.lower() == "off" else _with(gate, text)
        elif name not in others:
            raise ConfigurationError(
                f"GATES: there is no gate {name!r}", hint=f"the gates are {', '.join(found) or 'none'}"
            )
    return found


def judge_figures(
    quality: Quality, overrides: str = "", *, others: Collection[str] = (), fewest: int | None = None
) -> list[Verdict]:
    """Judge every figure that has bounds, by what is set in their place; see `bounds_set`.

    A small pilot judges from `fewest` items on what a pilot of usual size would.

    Raises:
        ConfigurationError: there is no gate of a name that is set, or a number cannot be its bound.
    """
    set_here, figures = bounds_set(quality.gates, overrides, others=others), {one.name: one for one in quality.figures}
    return [_judged(gate, set_here[gate.name], figures[gate.name], fewest) for gate in quality.gates]


def failed_verdicts(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """Return the verdicts on the gates that failed."""
    return [one for one in verdicts if one.passed is False]


def _judged(gate: Bound, bound: Bound | None, figure: Figure, fewest: int | None) -> Verdict:
    least = gate.at_least if fewest is None or gate.at_least > PILOT else min(gate.at_least, fewest)
    why = ""
    if bound is None:
        why = "switched off by GATES"
    elif figure.value is None:
        why = "nothing to measure"
    elif figure.items < least:
        why = f"measured on {figure.items:,}, judged from {least:,} on"
    if why or bound is None:
        return Verdict(gate._replace(at_least=least), figure, None, f"{gate.name} was not judged: {why}")
    missed = bound.missed(figure.value)
    said = f"{gate.name} is {shown(figure.value, figure.unit, bound=missed)}, wanted: {bound.wanted}"
    return Verdict(bound._replace(at_least=least), figure, missed is None, said)


def _with(gate: Bound, text: str) -> Bound:
    """Return a gate with the bounds that a text names."""
    ends = [_number(gate, one) if one.strip() else None for one in text.split("..")]
    if len(ends) > 2 or not any(one is not None for one in ends):  # noqa: PLR2004 - low and high
        raise ConfigurationError(f"GATES: {gate.name}={text} are no bounds", hint=HOW)
    if len(ends) == 1 and gate.low is not None and gate.high is not None:
        raise ConfigurationError(
            f"GATES: {gate.name} has two bounds", hint=f"write {gate.name}={gate.low:g}..{gate.high:g}"
        )
    if len(ends) == 1:
        return gate._replace(high=ends[0]) if gate.low is None else gate._replace(low=ends[0])
    low, high = ends
    if low is not None and high is not None and low > high:
        raise ConfigurationError(f"GATES: {gate.name}={text} lets nothing through: {low:g} > {high:g}", hint=HOW)
    return gate._replace(low=low, high=high)


def _number(gate: Bound, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigurationError(f"GATES: {gate.name}={text} is no number", hint=HOW)
    if gate.unit == "share" and not 0 <= number <= 1:
        raise ConfigurationError(
            f"GATES: {gate.name} is a share, and {number:g} does not lie between 0 and 1",
            hint=f"for 95 % write {gate.name}=0.95",
        )
    return number
