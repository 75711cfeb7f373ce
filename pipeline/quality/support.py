"""Measure the share of judged answers that their texts support, with intervals.

A decision model judged the values of these answers (`judge`): it read text and value, and gave the
probability that the text supports the value. The text supports a field if the stored probability is
at least MIN_SUPPORTED; a list is supported if each of its members is. Fields that a decision model
answered itself are not counted.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.core.text import plural
from pipeline.engine.task import Task
from pipeline.quality.figures import Figure, FigureValue, QualityFigures, ReportTable, format_value
from pipeline.quality.intervals import compute_wilson_interval
from pipeline.store.confidences import FieldConfidence

# The name of the figure about whole answers. A hyphen and a field follow in figures of fields.
SUPPORTED = "supported"
# The decision model is undecided at one half.
MIN_SUPPORTED = 0.5
# A gate is not judged on fewer answers, as most gates.
MIN_GATED_ANSWERS = 20


class SupportedShare(NamedTuple):
    """How many judged answers are supported by their texts."""

    # The field; None for whole answers, which are supported if each of their judged fields is.
    field: str | None
    supported: int
    judged: int

    @property
    def share(self) -> float | None:
        """Return the share of supported answers; None if none was judged."""
        return self.supported / self.judged if self.judged else None

    @property
    def interval(self) -> tuple[float, float]:
        """Return the ends of the 95 % interval of the share."""
        return compute_wilson_interval(self.supported, self.judged)

    @property
    def text(self) -> str:
        """Return the share with its interval, such as "91 % [86 %, 94 %]"."""
        low, high = (format_value(round(end, 3), "share") for end in self.interval)
        share = None if self.share is None else round(self.share, 3)
        return f"{format_value(share, 'share')} [{low}, {high}]"

    @property
    def line(self) -> str:
        """Return the share in words, with its field."""
        name = self.field or "all judged fields"
        return f"supported, {name}: {self.text} of {plural(self.judged, 'judged answer')}"

    @property
    def document(self) -> dict[str, Any]:
        """Return the share as JSON members."""
        low, high = self.interval
        return {
            "field": self.field,
            "supported": self.supported,
            "judged": self.judged,
            "share": self.share,
            "low": low,
            "high": high,
            "said": self.text,
        }


class SupportTally:
    """Counts judged and supported answers, in total and by field."""

    def __init__(self) -> None:
        """Count nothing yet."""
        self._judged = Counter[str | None]()
        self._supported = Counter[str | None]()

    def add(self, confidences: Mapping[str, FieldConfidence]) -> None:
        """Count the judged fields of an answer; nothing is counted if none was judged."""
        verdicts: dict[str | None, bool] = {
            name: confidence.probability >= MIN_SUPPORTED
            for name, confidence in confidences.items()
            if confidence.is_judged
        }
        if verdicts:
            verdicts[None] = all(verdicts.values())
        self._judged.update(verdicts.keys())
        self._supported.update(name for name, is_supported in verdicts.items() if is_supported)

    @property
    def shares(self) -> list[SupportedShare]:
        """Return the share of whole answers, then those of the fields by name; empty if none."""
        names = sorted(self._judged, key=lambda name: name or "")
        return [SupportedShare(name, self._supported[name], self._judged[name]) for name in names]


def list_support_gates(task: Task) -> list[Figure]:
    """Return the figures that GATES may bound, for whole answers and for each field of a task.

    They have no bounds by default, because few answers are judged.
    """
    return [_support_figure(None), *map(_support_figure, task.prompt.field_names)]


def _support_figure(name: str | None) -> Figure:
    if name is None:
        return Figure(
            SUPPORTED,
            "share",
            "judged answers that the text supports",
            min_items=MIN_GATED_ANSWERS,
            bounds_reason="A decision model reads text and answer.",
            may_be_bounded=True,
        )
    return Figure(
        f"{SUPPORTED}-{name}",
        "share",
        f"judged values of {name} that the text supports",
        min_items=MIN_GATED_ANSWERS,
        bounds_reason="A decision model reads text and value.",
        may_be_bounded=True,
    )


def add_support(
    quality: QualityFigures,
    shares: Sequence[SupportedShare],
    gates: Mapping[str, Figure | None],
) -> QualityFigures:
    """Return a copy of `quality` that also reports the shares of supported answers.

    Each share becomes a figure with a value. All shares together become a table, which is left out
    if there are none. If a gate bounds a share that is not in `shares`, its figure is added without
    a value, so that the report says that nothing was measured.

    Args:
        shares: The shares, for whole answers and for each field.
        gates: The gates in force by name; None for a gate that is off.
    """
    values: dict[str, FigureValue] = {}
    figures: list[Figure] = []
    for share in shares:
        figure = _support_figure(share.field)
        figures.append(figure)
        values[figure.name] = (share.share, share.judged)
    for name, gate in gates.items():
        is_support_gate = name == SUPPORTED or name.startswith(f"{SUPPORTED}-")
        if is_support_gate and gate is not None and name not in values:
            figures.append(gate)
            values[name] = (None, 0)

    tables = list(quality.tables)
    if shares:
        cells = [(share.field or "all fields", share.text, share.judged) for share in shares]
        tables.append(ReportTable("Supported by the text", ("field", "share", "judged"), cells))
    return quality._replace(
        figures=[*quality.figures, *figures],
        values={**quality.values, **values},
        tables=tables,
    )
