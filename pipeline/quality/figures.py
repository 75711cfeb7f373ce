"""What is measured of a task's answers: figures, of which those with bounds are gates, and the arithmetic behind both.

A user may set other bounds: `GATES="evidence=0.95,concepts=3..16"`. A gate with one bound takes one number, one with
two takes `low..high`, where either may be left out; `off` switches a gate off. Shares lie between 0 and 1.
"""

import csv
import hashlib
import heapq
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar, cast

from pipeline.core.command_hint import HintTemplate, OptionHint
from pipeline.core.errors import ConfigurationError
from pipeline.store.answers import ReplyCounts

T = TypeVar("T")
Number = TypeVar("Number", int, float)
Unit = Literal["share", "mean", "count", "USD", "characters", "bits"]
Value = tuple[
    float | None, int
]  # None where there was nothing to measure it on, and on how many items it was
FIRST = 10  # samples that are to be read first
FEWEST = 20  # items: of fewer a figure may be anything by chance
HOW = HintTemplate(
    "write it like {}", OptionHint(gates="evidence=0.95,concepts=3..16,divergence=off")
)


class Figure(NamedTuple):
    """One thing that is measured: its name, and what it is in plain words; a share lies between 0 and 1.

    With bounds, both inclusive, it is a gate, which is not judged on fewer than `at_least` items; `why` they are there.
    """

    name: str
    unit: Unit
    told: str
    low: float | None = None
    high: float | None = None
    at_least: int = 0
    why: str = ""

    @property
    def is_gate(self) -> bool:
        """Return whether it has a bound."""
        return self.low is not None or self.high is not None

    @property
    def wanted(self) -> str:
        """What the bounds demand, in words."""
        low = shown(self.low, self.unit)
        high = shown(self.high, self.unit)
        if self.low is None:
            return "anything" if self.high is None else f"at most {high}"
        return f"at least {low}" if self.high is None else f"{low} to {high}"

    def missed(self, value: float | None) -> float | None:
        """Return the bound that a value does not keep, None where it keeps both or there is no value."""
        if value is not None and self.low is not None and value < self.low:
            return self.low
        return (
            self.high if value is not None and self.high is not None and value > self.high else None
        )


class MeasuredFigure(NamedTuple):
    """A figure as it was measured on so many items; of a gate whether it passed, None where it was not judged."""

    figure: Figure
    value: float | None
    items: int
    passed: bool | None = None
    why_not: str = ""  # it was not judged

    @property
    def shown(self) -> str:
        """The value for users to read."""
        return shown(self.value, self.figure.unit, bound=self.figure.missed(self.value))

    @property
    def said(self) -> str:
        """What the gate says, in words."""
        if self.passed is None:
            return f"{self.figure.name} was not judged: {self.why_not}"
        return f"{self.figure.name} is {self.shown}, wanted: {self.figure.wanted}"


class ReportTable(NamedTuple):
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


class QualityFigures(NamedTuple):
    """All that was measured of one extractor's answers, or of all of a label; `items` is how many items have some."""

    title: str
    extractor: str  # a label, a label with its model, or "all"
    items: int
    figures: Sequence[Figure]
    values: Mapping[str, Value]
    distributions: Sequence[
        ReportTable
    ] = ()  # (label, how many) in the order in which they are shown
    tables: Sequence[ReportTable] = ()
    samples: Sequence[Sample] = ()
    notes: Sequence[str] = ()


# ---- figures of a task


def listed(path: Path) -> tuple[Figure, ...]:
    """Return the figures of a table: name, unit, bounds, judged from, what it is, why; and what usage costs."""
    found = []
    with path.open(encoding="utf-8", newline="") as file:
        for name, unit, *bounds, least, told, why in list(csv.reader(file, delimiter="\t"))[1:]:
            low, high = (float(one) if one else None for one in bounds)
            found.append(Figure(name, cast("Unit", unit), told, low, high, int(least or 0), why))
    return (*found, *USAGE)


USAGE = (
    Figure("cost", "USD", "what all replies cost, those without an answer too"),
    Figure("cost-each", "USD", "what a row with an answer cost, failed replies included"),
    Figure("tokens-in", "mean", "tokens that were sent for a row with an answer"),
    Figure("tokens-out", "mean", "tokens that came back for a row with an answer"),
)


def reply_values(replies: ReplyCounts) -> dict[str, Value]:
    """Return what of the replies failed, and what an answer cost, with what was paid for replies that were none."""
    paid = replies.answered
    return {
        "failed": (share(replies.failed, replies.total), replies.total),
        "cost": (replies.cost if replies.total else None, paid),
        "cost-each": (share(replies.cost, paid), paid),
        "tokens-in": (share(replies.tokens_in, paid), paid),
        "tokens-out": (share(replies.tokens_out, paid), paid),
    }


def list_values(name: str, lengths: Mapping[int, int]) -> dict[str, Value]:
    """Return mean, P10 and P90 of how many members lists have, of a histogram {members: lists}."""
    count = sum(lengths.values())
    places = {
        f"{name}-p{percent}": (percentile(lengths, percent / 100), count) for percent in (10, 90)
    }
    return {name: (mean(lengths), count), **places}


# ---- arithmetic


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
    whole = sum(one.values())
    whole_other = sum(other.values())
    if not whole or not whole_other:
        return None
    found = 0.0
    for name in sorted(one.keys() | other.keys()):
        share = one.get(name, 0) / whole
        share_other = other.get(name, 0) / whole_other
        middle = (share + share_other) / 2
        found += sum(part * math.log2(part / middle) for part in (share, share_other) if part) / 2
    return min(1.0, max(0.0, found))


class ReservoirSample(Generic[T]):
    """At most `size` of all that is offered, each as likely as any other; the same ones for one seed, in any order.

    Before them stand some of what is to be read `first`. What is kept are those whose keys have the smallest hashes, so
    that neither the order of a database nor how many are offered needs to be known.
    """

    def __init__(self, size: int, *, seed: int) -> None:
        """Choose nothing yet."""
        self._sizes = {True: FIRST, False: size}
        self._salt = str(seed).encode()
        self._heaps: dict[bool, list[tuple[int, str, T]]] = {
            True: [],
            False: [],
        }  # the largest hash is negative

    def offer(self, key: str, value: T, *, first: bool = False) -> None:
        """Keep a value under its key, which nothing else has, if it is among the chosen."""
        for place in {False, first}:
            heap = self._heaps[place]
            heapq.heappush(heap, (-self._hash(key), key, value))
            if len(heap) > self._sizes[place]:
                heapq.heappop(heap)

    def __iter__(self) -> Iterator[T]:
        """Yield the chosen ones, in an order that the seed gives."""
        ordered = (
            sorted(heap, key=lambda entry: (-entry[0], entry[1])) for heap in self._heaps.values()
        )
        chosen = {key: value for heap in ordered for _, key, value in heap}
        return islice(chosen.values(), self._sizes[False])

    def _hash(self, key: str) -> int:
        digest = hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=8, key=self._salt)
        return int.from_bytes(digest.digest(), "big")


def share(part: float, whole: float) -> float | None:
    """Return part / whole; None where there is nothing to share."""
    return part / whole if whole else None


def histogram_bars(
    title: str, unit: str, histogram: Mapping[int, int], *, most: int
) -> Iterator[ReportTable]:
    """Yield the bars of {number: how often} from 1 on, those from `most` on in one bar; nothing where it is empty."""
    if histogram:
        bars = [(str(number), histogram.get(number, 0)) for number in range(1, most)]
        more = sum(times for number, times in histogram.items() if number >= most)
        yield ReportTable(title, ("", unit), [*bars, (f"{most} and more", more)])


# ---- gates


def judged(quality: QualityFigures, gates: Mapping[str, Figure | None]) -> list[MeasuredFigure]:
    """Return every figure as it was measured, and judged by the bounds in force; see `gates_in_force`."""
    return [_judged(one, *quality.values[one.name], gates.get(one.name)) for one in quality.figures]


def _judged(figure: Figure, value: float | None, items: int, gate: Figure | None) -> MeasuredFigure:
    why = ""
    if gate is None:
        why = "switched off by GATES" if figure.is_gate else "it has no bounds"
    elif value is None:
        why = "nothing to measure"
    elif items < gate.at_least:
        why = f"measured on {items:,}, judged from {gate.at_least:,} on"
    if why or gate is None:
        return MeasuredFigure(figure, value, items, None, why)
    return MeasuredFigure(gate, value, items, gate.missed(value) is None)


def gates_in_force(
    figures: Iterable[Figure], texts: Mapping[str, str], *, others: Collection[str] = ()
) -> dict[str, Figure | None]:
    """Return the gates by name, with the bounds that some texts set, by where these stand; None where one is off.

    A text stands above those before it; gates that are the `others` are passed over.
    """
    gates = {one.name: one for one in figures if one.is_gate}
    found: dict[str, Figure | None] = {**gates}
    for where, text in texts.items():
        known = dict[str, str]()
        for part in filter(None, (one.strip() for one in text.split(","))):
            name, _, bounds = (piece.strip() for piece in part.partition("="))
            if not name or not bounds:
                raise ConfigurationError(f"{where}: {part!r} says nothing of a gate", hint=HOW)
            if known.setdefault(name, part) is not part:
                raise ConfigurationError(f"{where}: {name} stands there twice", hint=HOW)
            if name in gates:
                found[name] = None if bounds.lower() == "off" else _with(gates[name], bounds, where)
            elif name not in others:
                hint = f"the gates are {', '.join(gates) or 'none'}"
                raise ConfigurationError(f"{where}: there is no gate {name!r}", hint=hint)
    return found


def _with(gate: Figure, text: str, where: str) -> Figure:
    """Return a gate with the bounds that a text names."""
    low, *more = (_number(gate, one, where) if one.strip() else None for one in text.split(".."))
    said = f"{where}: {gate.name}={text}"
    if len(more) > 1 or all(one is None for one in (low, *more)):
        raise ConfigurationError(f"{said} are no bounds", hint=HOW)
    if more:
        if low is not None and more[0] is not None and low > more[0]:
            raise ConfigurationError(
                f"{said} lets nothing through: {low:g} > {more[0]:g}", hint=HOW
            )
        return gate._replace(low=low, high=more[0])
    if gate.low is not None and gate.high is not None:
        hint = f"write {gate.name}={gate.low:g}..{gate.high:g}"
        raise ConfigurationError(f"{where}: {gate.name} has two bounds", hint=hint)
    return gate._replace(high=low) if gate.low is None else gate._replace(low=low)


def _number(gate: Figure, text: str, where: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigurationError(f"{where}: {gate.name}={text} is no number", hint=HOW)
    if gate.unit == "share" and not 0 <= number <= 1:
        said = f"{where}: {gate.name} is a share, and {number:g} does not lie between 0 and 1"
        raise ConfigurationError(said, hint=f"for 95 % write {gate.name}=0.95")
    return number
