"""Describe what is measured of answers, as plain records that a subject fills in and `gates` and `report` read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

Unit = Literal["share", "mean", "count", "USD", "characters", "bits"]


class Figure(NamedTuple):
    """One thing that was measured; `value` is None where there was nothing to measure it on.

    A share lies between 0 and 1. `told` says in one sentence what it is, `items` on how many items it was measured.
    """

    name: str
    value: float | None
    unit: Unit
    told: str
    items: int


class Gate(NamedTuple):
    """The bounds that a figure must keep, both inclusive, None where there is none; `why` they are where they are.

    It is not judged on fewer than `at_least` items, where a figure may be anything by chance.
    """

    name: str
    figure: Figure
    low: float | None
    high: float | None
    why: str
    at_least: int


class Verdict(NamedTuple):
    """What a gate says of its figure: passed or not, None where it was not judged; `said` says so in words."""

    gate: Gate
    value: float | None
    passed: bool | None
    said: str


class Distribution(NamedTuple):
    """Bars to be drawn: (label, value) in the order in which they are shown; `unit` says what the values count."""

    title: str
    unit: str
    bars: Sequence[tuple[str, float]]


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
    gates: Sequence[Gate]
    distributions: Sequence[Distribution] = ()
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
    """Return a value with at most so many digits behind the point, its unit behind it where it has one."""
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
