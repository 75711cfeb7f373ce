"""Measure the share of judged values that their texts support, with intervals.

A decision model judged each value: `make judge`. The text supports a field if the probability is at
least MIN_SUPPORTED. A field with several values is supported if all of them are. Fields that a
decision model answered are not judged.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from pipeline.quality.figures import Figure, FigureValue, ReportTable, format_value
from pipeline.quality.intervals import compute_wilson_interval
from pipeline.store.confidences import FieldConfidence

# The name of the figure over all fields; the name of a field follows a hyphen.
SUPPORTED = "supported"
# A noul of one half is neither yes nor no.
MIN_SUPPORTED = 0.5
# A gate is not judged on fewer answers, as the other gates.
MIN_GATED_ANSWERS = 20


class SupportedShare(NamedTuple):
    """How many judged values of a field are supported."""

    # The field; empty for answers of which all judged fields are supported.
    field: str
    supported: int
    judged: int

    @property
    def share(self) -> float:
        """Return the share of supported values; 0 if none was judged."""
        return self.supported / self.judged if self.judged else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Return the ends of the 95 % interval of the share."""
        return compute_wilson_interval(self.supported, self.judged)

    @property
    def text(self) -> str:
        """Return the share with its interval and the number of judged values."""
        low, high = self.interval
        share = format_value(self.share, "share")
        return f"{share} [{low:.1%}, {high:.1%}] of {self.judged:,}".replace("%,", " %,").replace(
            "%]", " %]"
        )

    @property
    def document(self) -> dict[str, Any]:
        """Return the share as JSON members; `field` is None for whole answers."""
        low, high = self.interval
        return {
            "field": self.field or None,
            "supported": self.supported,
            "judged": self.judged,
            "share": self.share,
            "low": low,
            "high": high,
        }
