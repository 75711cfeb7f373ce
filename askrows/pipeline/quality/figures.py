"""Figures on the answers of a task, gates, and their arithmetic.

A figure with bounds is a gate. GATES sets other bounds: `GATES="evidence=0.95,concepts=3..16"`.

- A gate with a single bound takes a number.
- A gate with two bounds takes `low..high`; either number can be left out.
- `off` switches a gate off.

Shares are between 0 and 1. To judge a figure is to compare its value with the bounds of its gate.
Cases are the answers, rows or replies on which a figure was measured.
"""

import csv
import hashlib
import heapq
import math
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Generic, Literal, NamedTuple, TypeVar, cast

from askrows.pipeline.core.command_hint import HintTemplate, OptionHint
from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.core.text import split_names
from askrows.pipeline.store.answer_counts import ReplyCounts
from askrows.pipeline.store.database import Connection
from askrows.pipeline.tasks.task import Task

T = TypeVar("T")
Unit = Literal["share", "mean", "count", "USD", "characters", "bits"]
# The value of a figure, and the number of measured cases. The value is missing if nothing was
# measured.
FigureValue = tuple[float | None, int]
# A figure of fewer cases can have any value by chance.
MIN_HOPELESS_CASES = 20
GATES_HINT = HintTemplate(
    "write it like {}, with shares between 0 and 1",
    OptionHint(gates="evidence=0.95,concepts=3..16,divergence=off"),
)


class Figure(NamedTuple):
    """A figure that is measured. It is a gate if it has a bound. Bounds are inclusive."""

    name: str
    unit: Unit
    # The measured quantity in plain words.
    description: str
    low: float | None = None
    high: float | None = None
    # A gate is not judged on fewer cases.
    min_cases: int = 0
    # The reason for the bounds.
    bounds_reason: str = ""

    @property
    def is_gate(self) -> bool:
        """Whether the figure has a bound."""
        return self.low is not None or self.high is not None

    @property
    def bounds_text(self) -> str:
        """The bounds: `90 % to 95 %`, `at least 95 %`, `at most 5 %`, or `any value`."""
        low = format_value(self.low, self.unit)
        high = format_value(self.high, self.unit)
        if self.low is not None and self.high is not None:
            return f"{low} to {high}"
        if self.low is not None:
            return f"at least {low}"
        if self.high is not None:
            return f"at most {high}"
        return "any value"

    def find_missed_bound(self, value: float | None) -> float | None:
        """Return the violated bound; None if the value keeps the bounds, or is None itself."""
        if value is None:
            return None
        if self.low is not None and value < self.low:
            return self.low
        if self.high is not None and value > self.high:
            return self.high
        return None


class MeasuredFigure(NamedTuple):
    """A figure with its measured value, and the verdict of its gate."""

    figure: Figure
    value: float | None
    cases: int
    # Whether the gate passed, or None if it was not judged.
    passed: bool | None = None
    # The reason for not judging the gate.
    unjudged_reason: str = ""

    @property
    def value_text(self) -> str:
        """The value as users read it."""
        return format_value(
            self.value,
            self.figure.unit,
            bound=self.figure.find_missed_bound(self.value),
        )

    @property
    def verdict_text(self) -> str:
        """The verdict in words: the value and the bounds, or the reason for no verdict."""
        if self.passed is None:
            return f"not judged: {self.unjudged_reason}"
        return f"{self.value_text}, wanted: {self.figure.bounds_text}"


class ReportTable(NamedTuple):
    """A small table of a report. It has few columns, because reports are read on phones."""

    title: str
    headers: Sequence[str]
    # Text cells are data and are escaped.
    cells: Sequence[Sequence[str | int | float]]


class Sample(NamedTuple):
    """An answer next to its input, for users to read."""

    id: str
    name: str
    # The input or a part of it.
    text: str
    # (start, end) of marked parts of `text`, in code points, ascending, without overlaps.
    spans: Sequence[tuple[int, int]]
    answer_text: str


class QualityFigures(NamedTuple):
    """All measurements of the answers of a version."""

    title: str
    # `task@n/model`, `task@n` for all models, or "all".
    version: str
    # Rows with an answer.
    rows: int
    figures: Sequence[Figure]
    # By name of the figure.
    values: Mapping[str, FigureValue]
    # Tables of (label, count), in display order.
    tables: Sequence[ReportTable] = ()
    samples: Sequence[Sample] = ()
    notes: Sequence[str] = ()


# ---- figures of a task


class TaskMeasure(NamedTuple):
    """How the answers of a task are measured."""

    # All figures that `measure` may return.
    figures: Sequence[Figure]
    # Returns the figures of a version: `task@n/model`, `task@n` for all models, None for all.
    measure: Callable[[Connection, Task, str | None], QualityFigures]


def read_figures_with_usage(path: Path) -> tuple[Figure, ...]:
    """Return the figures that a TSV file defines, in its order, followed by USAGE_FIGURES."""
    return (*read_figures_of_file(path), *USAGE_FIGURES)


def read_figures_of_file(path: Path) -> tuple[Figure, ...]:
    """Return the figures that a TSV file defines, in its order.

    The first line is skipped. The columns are name, unit, low, high, minimum number of cases,
    description and reason of the bounds. An empty bound means no bound, and an empty minimum means
    0.
    """
    with path.open(encoding="utf-8", newline="") as file:
        _, *rows = csv.reader(file, delimiter="\t")

    return tuple(
        Figure(
            name,
            cast("Unit", unit),
            description,
            low=float(low) if low else None,
            high=float(high) if high else None,
            min_cases=int(min_cases or 0),
            bounds_reason=reason,
        )
        for name, unit, low, high, min_cases, description, reason in rows
    )


USAGE_FIGURES = (
    Figure("cost", "USD", "cost of all replies, with or without an answer"),
    Figure("cost-each", "USD", "cost per row with an answer, failed replies included"),
    Figure("tokens-in", "mean", "tokens sent per row with an answer"),
    Figure("tokens-out", "mean", "tokens received per row with an answer"),
)


def compute_reply_values(replies: ReplyCounts) -> dict[str, FigureValue]:
    """Return the share of failed replies, and cost and tokens for each answer.

    Cost and tokens include replies without an answer.
    """
    answer_count = replies.answered
    cost = replies.cost if replies.total else None
    return {
        "failed": (divide(replies.failed, replies.total), replies.total),
        "cost": (cost, answer_count),
        "cost-each": (divide(replies.cost, answer_count), answer_count),
        "tokens-in": (divide(replies.tokens_in, answer_count), answer_count),
        "tokens-out": (divide(replies.tokens_out, answer_count), answer_count),
    }


# ---- arithmetic


def format_value(value: float | None, unit: Unit, *, bound: float | None = None) -> str:
    """Return a value as text, rounded to two decimals, or "-" if the value is None.

    A share is in percent, and an amount of money begins with `$`. Other units are not shown. An
    amount below 1 USD has six decimals. If the value differs from `bound` but both would look
    equal, it gets more decimals.
    """
    if value is None:
        return "-"

    for digits in range(2, 9):
        text = _format_rounded_value(value, unit, digits)
        if bound is None or value == bound or text != _format_rounded_value(bound, unit, digits):
            return text
    return repr(value)


def _format_rounded_value(value: float, unit: Unit, digits: int) -> str:
    """Return a value, rounded to a number of digits after the decimal point; see `format_value`.

    A share is multiplied by 100 and shown in percent, and USD with its sign. Other units are not
    shown. An amount of 0 USD is `$0`; an amount below 1 USD gets four digits more. Zeros at
    the end of the decimals are left out, except of USD.
    """
    if unit == "share":
        return f"{_format_number(100 * value, digits)} %"
    if unit == "USD":
        if not value:
            return "$0"
        dollar_digits = digits + 4 if value < 1 else digits
        return f"${value:,.{dollar_digits}f}"
    if unit in {"count", "characters"} and value == int(value):
        return f"{int(value):,}"
    return _format_number(value, digits)


def _format_number(number: float, digits: int) -> str:
    return f"{number:,.{digits}f}".rstrip("0").rstrip(".")


def compute_histogram_mean(histogram: Mapping[int, int]) -> float | None:
    """Return the mean of {value: count}, or None if it is empty."""
    count = sum(histogram.values())
    return divide(sum(value * times for value, times in histogram.items()), count)


def compute_jensen_shannon_divergence(
    weights: Mapping[str, float], other_weights: Mapping[str, float]
) -> float | None:
    """Return the Jensen-Shannon divergence of two distributions, base 2.

    It is 0 for equal distributions and 1 for disjoint distributions. The weights need not add up
    to 1. Returns None if the weights of a distribution add up to 0.
    """
    total = sum(weights.values())
    other_total = sum(other_weights.values())
    if not total or not other_total:
        return None

    entropy = 0.0
    for name in sorted(weights.keys() | other_weights.keys()):
        shares = (weights.get(name, 0) / total, other_weights.get(name, 0) / other_total)
        middle = sum(shares) / 2
        divergences = (part * math.log2(part / middle) for part in shares if part)
        entropy += sum(divergences) / 2
    return min(1.0, max(0.0, entropy))


class ReservoirSample(Generic[T]):
    """A random choice of at most `size` offered values.

    A value is chosen if the hash of its key and the seed is among the smallest. So the choice does
    not depend on the order of offers, and their number need not be known.
    """

    def __init__(self, size: int, *, seed: int) -> None:
        """Create an empty choice."""
        self._size = size
        self._salt = str(seed).encode()
        # A heap of (negative hash, key, value): the largest hash is removed first.
        self._heap: list[tuple[int, str, T]] = []

    def offer(self, key: str, value: T) -> None:
        """Offer a value under a unique key."""
        heapq.heappush(self._heap, (-self._hash(key), key, value))
        if len(self._heap) > self._size:
            heapq.heappop(self._heap)

    def __iter__(self) -> Iterator[T]:
        """Yield the chosen values by hash."""
        entries = sorted(self._heap, key=lambda entry: (-entry[0], entry[1]))
        return iter([value for _, _, value in entries])

    def _hash(self, key: str) -> int:
        digest = hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=8, key=self._salt)
        return int.from_bytes(digest.digest(), "big")


def divide(part: float, total: float) -> float | None:
    """Return part / total, or None if `total` is 0."""
    return part / total if total else None


def make_histogram_tables(
    title: str,
    unit: str,
    histogram: Mapping[int, int],
    *,
    max_bar: int,
) -> Iterator[ReportTable]:
    """Yield one table with the bars of {number: count}, or nothing for an empty histogram.

    Each number from 1 to `max_bar` - 1 has a bar. Larger numbers share the last bar. Smaller
    numbers are left out.
    """
    if not histogram:
        return
    bars = [(str(number), histogram.get(number, 0)) for number in range(1, max_bar)]
    rest_count = sum(times for number, times in histogram.items() if number >= max_bar)
    yield ReportTable(
        title,
        ("", unit),
        [*bars, (f"{max_bar} and more", rest_count)],
    )


# ---- gates


def judge_figures(
    quality: QualityFigures,
    gates: Mapping[str, Figure | None],
) -> list[MeasuredFigure]:
    """Return every figure of a report with its value, and with a verdict if it is a gate.

    `gates` are the effective gates by name, with None for a gate that is off.
    """
    return [
        _judge_figure(figure, *quality.values[figure.name], gates.get(figure.name))
        for figure in quality.figures
    ]


def _judge_figure(
    figure: Figure,
    value: float | None,
    case_count: int,
    gate: Figure | None,
) -> MeasuredFigure:
    """Return a figure with its value and whether its gate passed, or why it was not judged.

    It is not judged if `gate` is None, if `value` is None, or if fewer cases were measured than the
    gate requires. A judged figure is returned with the bounds of `gate`. A figure that is not
    judged is returned with its default bounds, or with those of `gate` if it has none.

    Args:
        figure: The figure with its default bounds.
        value: Its value; None if nothing was measured.
        case_count: The number of measured cases.
        gate: The same figure with the bounds in force; None if the gate is off, or if the figure
            has no bounds.
    """
    if gate is None:
        reason = "switched off" if figure.is_gate else "it has no bounds"
        return MeasuredFigure(figure, value, case_count, None, reason)
    shown_figure = figure if figure.is_gate else gate
    if value is None:
        return MeasuredFigure(shown_figure, value, case_count, None, "nothing to measure")
    if case_count < gate.min_cases:
        reason = f"measured on {case_count:,}, at least {gate.min_cases:,} are needed"
        return MeasuredFigure(shown_figure, value, case_count, None, reason)
    return MeasuredFigure(gate, value, case_count, gate.find_missed_bound(value) is None)


def make_effective_gates(
    figures: Iterable[Figure],
    texts_by_place: Mapping[str, str],
    *,
    other_gates: Collection[str] = (),
) -> dict[str, Figure | None]:
    """Return the gates in force by name, with the bounds that settings define; None for "off".

    A gate is a figure with bounds. If no setting names it, it has its default bounds. A setting
    may make a gate of any figure.

    Args:
        figures: The figures of the task.
        texts_by_place: The text of each setting, such as `evidence=0.95,same=off`, by the place it
            comes from, which messages name. A later text overrides an earlier text.
        other_gates: Gates of other tasks, which are ignored.

    Raises:
        ConfigurationError: A text is malformed, or names an unknown gate.
    """
    figures_by_name = {figure.name: figure for figure in figures}
    gates = {name: figure for name, figure in figures_by_name.items() if figure.is_gate}
    effective: dict[str, Figure | None] = {**gates}
    for place, text in texts_by_place.items():
        for part in split_names(text):
            name, _, bounds = map(str.strip, part.partition("="))
            if name in figures_by_name:
                try:
                    effective[name] = _copy_with_parsed_bounds(figures_by_name[name], bounds)
                except ValueError:
                    message = f"{place}: {part} has no valid bounds"
                    raise ConfigurationError(message, hint=GATES_HINT) from None
            elif name not in other_gates:
                raise ConfigurationError(
                    f"{place}: there is no gate {name!r}",
                    hint=f"the gates are {', '.join(gates) or 'none'}",
                )
    return effective


def _copy_with_parsed_bounds(gate: Figure, text: str) -> Figure | None:
    """Return a copy of a gate with the bounds that a text sets, or None if the text is "off".

    The text has one of these forms:

    - `low..high` replaces both bounds. If a number is left out, that bound is removed.
    - A single number replaces the only bound. Of a figure without bounds it is the upper bound.

    Raises:
        ValueError: The text is malformed, contains no number, is a single number for a gate with
            two bounds, has low > high, or a bound is negative, or a share above 1.
    """
    if text.lower() == "off":
        return None

    low, separator, high = text.partition("..")
    if not separator and gate.low is None:
        high = low
        low = ""
    elif not separator and gate.high is not None:
        raise ValueError(text)

    texts_by_side = {"low": low, "high": high}
    bounds = {side: float(bound) for side, bound in texts_by_side.items() if bound.strip()}
    numbers = list(bounds.values())
    max_bound = 1.0 if gate.unit == "share" else sys.float_info.max
    has_valid_bounds = all(0 <= number <= max_bound for number in numbers)
    if not numbers or not has_valid_bounds or numbers != sorted(numbers):
        raise ValueError(text)
    return gate._replace(low=bounds.get("low"), high=bounds.get("high"))
