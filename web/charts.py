"""Geometry of the charts that the templates in parts/charts.html draw as SVG.

Horizontal positions are percentages of the plot and vertical positions are pixels, so that a chart
fits any width and its text keeps its size.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from pipeline.core.text import format_usd
from pipeline.tables.facets import round_up_step

PLOT_HEIGHT = 140
# Space above the highest tick for its label.
PLOT_TOP = 12
MAX_TICKS = 4
# Parts of the width of a column with the space around it: the space before it, and the column.
COLUMN_START_SHARE = 0.1
COLUMN_SHARE = 0.8
# The index of the last column from which on the middle column has a label, too.
MIN_MIDDLE_INDEX = 4
# A run with fewer times has no course.
MIN_TIMES = 2
# The newest days in the chart of costs.
MAX_CHART_DAYS = 31
# Time steps in the chart of a run.
PROGRESS_STEPS = 40
# Space after the largest number of a gate, as a part of the range of its numbers.
GATE_MARGIN = 0.15


class Tick(NamedTuple):
    """A line of the vertical axis."""

    y: float
    label: str


class Column(NamedTuple):
    """A vertical bar with its label and displayed value."""

    label: str
    text: str
    # Percentages of the width.
    x: float
    width: float
    # Pixels.
    y: float
    height: float


@dataclass(frozen=True)
class ColumnChart:
    """Vertical bars above a horizontal axis with labels."""

    title: str
    # A sentence for people who do not see the chart.
    description: str
    # Headings of the table of the chart.
    label_heading: str
    value_heading: str
    columns: Sequence[Column]
    ticks: Sequence[Tick]
    height: int = PLOT_HEIGHT

    @property
    def axis_labels(self) -> list[tuple[str, float, str]]:
        """Return (label, position in percent, SVG anchor) of the labelled columns.

        The first and the last column have labels. So has the middle column, if the number of
        columns is odd and above MIN_MIDDLE_INDEX. A single column has a single label.
        """
        last = len(self.columns) - 1
        if not last:
            return [(self.columns[0].label, 0, "start")]
        labels = [(self.columns[0].label, 0.0, "start"), (self.columns[last].label, 100.0, "end")]
        if last >= MIN_MIDDLE_INDEX and last % 2 == 0:
            middle = self.columns[last // 2]
            labels.insert(1, (middle.label, middle.x + middle.width / 2, "middle"))
        return labels


def draw_columns(
    title: str,
    description: str,
    headings: tuple[str, str],
    values: Sequence[tuple[str, float]],
    format_value: Callable[[float], str],
) -> ColumnChart | None:
    """Return a chart of (label, value) pairs with an axis that begins at 0.

    The columns have the order of the pairs and the same width. The axis has at most MAX_TICKS steps
    above 0. The chart is None if no value is above 0.

    Args:
        headings: Headings of labels and values, for the table of the chart.
        format_value: Returns the text of a value, also on the axis.
    """
    highest = max((value for _, value in values), default=0.0)
    if highest <= 0:
        return None

    step = float(round_up_step(Decimal(f"{highest / MAX_TICKS:.9g}")))
    tick_count = math.ceil(highest / step - 1e-9)
    pixels_per_unit = (PLOT_HEIGHT - PLOT_TOP) / (tick_count * step)
    slot_width = 100 / len(values)
    columns = [
        Column(
            label,
            format_value(value),
            round((index + COLUMN_START_SHARE) * slot_width, 3),
            round(slot_width * COLUMN_SHARE, 3),
            round(PLOT_HEIGHT - value * pixels_per_unit, 1),
            round(value * pixels_per_unit, 1),
        )
        for index, (label, value) in enumerate(values)
    ]
    ticks = [
        Tick(round(PLOT_HEIGHT - number * step * pixels_per_unit, 1), format_value(number * step))
        for number in range(tick_count + 1)
    ]
    return ColumnChart(title, description, *headings, columns, ticks)


def draw_costs(days: Sequence[Mapping[str, Any]]) -> ColumnChart | None:
    """Return the chart of the costs of the newest days, with estimates of unfinished batches.

    A column is the sum of `cost` and `under_way` of a day. The last of MAX_CHART_DAYS days is the
    newest day with a document. Days without a document between the
    others have an empty column. The chart is None if nothing cost anything.

    Args:
        days: Documents with `day` (YYYY-MM-DD), `cost` and `under_way` in USD.
    """
    if not days:
        return None

    costs = {row["day"]: row["cost"] + row["under_way"] for row in days}
    last_day = date.fromisoformat(max(costs))
    first_day = max(date.fromisoformat(min(costs)), last_day - timedelta(days=MAX_CHART_DAYS - 1))
    names = [
        (first_day + timedelta(days=number)).isoformat()
        for number in range((last_day - first_day).days + 1)
    ]
    values = [(name, costs.get(name, 0.0)) for name in names]
    dearest_day, highest = max(values, key=lambda pair: pair[1])
    description = (
        f"{format_usd(sum(cost for _, cost in values))} from {names[0]} to {names[-1]}; "
        f"the highest day is {dearest_day} with {format_usd(highest)}."
    )
    return draw_columns("Cost by day", description, ("day", "cost"), values, format_usd)


def draw_progress(
    start: datetime,
    finished_parts: Iterable[tuple[datetime, int]],
    request_count: int,
) -> ColumnChart | None:
    """Return the chart of the number of replies that a run had at PROGRESS_STEPS times.

    The times are equally distant; the last is the end of the last part. The chart is None if the
    parts ended at fewer than MIN_TIMES different times, or if there is no reply.

    Args:
        start: When the run began.
        finished_parts: When each part of the run ended, and its number of replies.
        request_count: The number of requests of the run, for the description.
    """
    parts = sorted(finished_parts)
    times = {ended_at for ended_at, _ in parts}
    if len(times) < MIN_TIMES:
        return None

    end = max(times)
    step = (end - start) / PROGRESS_STEPS
    values = []
    for number in range(1, PROGRESS_STEPS + 1):
        at = end if number == PROGRESS_STEPS else start + number * step
        replies = sum(count for ended_at, count in parts if ended_at <= at)
        values.append((f"{at:%H:%M:%S}", float(replies)))
    description = (
        f"{values[-1][1]:,.0f} of {request_count:,} requests had a reply by {end:%H:%M:%S} UTC."
    )
    return draw_columns(
        "Replies over time",
        description,
        ("time (UTC)", "replies"),
        values,
        "{:,.0f}".format,
    )


class GateBar(NamedTuple):
    """A measured value as a bar, with its limits as lines; percentages of the width."""

    start: float
    width: float
    limits: Sequence[float]


def draw_gate(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    is_share: bool,
) -> GateBar | None:
    """Return the bar of a quality gate from 0 to its value, with its limits as lines.

    The scale contains 0, the value and the limits, and for shares also 1. The result is None if
    there is no value.

    Args:
        value: The measured value.
        low: The smallest value that passes, or None.
        high: The largest value that passes, or None.
        is_share: Whether the value is a share, 0 to 1.
    """
    if value is None:
        return None

    limits = [limit for limit in (low, high) if limit is not None]
    numbers = [value, *limits, 0.0]
    smallest = min(numbers)
    if is_share:
        largest = max(*numbers, 1.0)
    else:
        # The end of the bar, or a limit, is not at the edge.
        largest = max(numbers) + (max(numbers) - smallest) * GATE_MARGIN
    scale = 100 / ((largest - smallest) or 1.0)

    def position(number: float) -> float:
        return round((number - smallest) * scale, 2)

    start = min(position(0.0), position(value))
    width = abs(position(value) - position(0.0))
    return GateBar(start, round(width, 2), [position(limit) for limit in limits])
