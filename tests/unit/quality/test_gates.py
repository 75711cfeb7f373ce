"""Gates: bounds are inclusive, few items are not judged, and every bound can be set."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.core.errors import ConfigurationError, GateError
from pipeline.quality.figures import (
    Figure,
    MeasuredFigure,
    QualityFigures,
    effective_gates,
    format_value,
    judge_figures,
)
from pipeline.quality.report import QualityReport
from tests.unit.quality.test_report_files import AT

GATES = (
    Figure("evidence", "share", "concepts with a quotation", 0.99, None, 20, "So it is."),
    Figure("concepts", "mean", "concepts of a passage", 4, 14, 20, "So it is."),
    Figure("invalid", "share", "answers that do not validate", None, 0.01, 20, "So it is."),
)


def quality(
    *, evidence: float | None = 0.99, concepts: float | None = 8.0, items: int = 100
) -> QualityFigures:
    """Return what was measured, with three gates: a least share, a mean between two bounds, and a most share."""
    values = {
        "evidence": (evidence, items),
        "concepts": (concepts, items),
        "invalid": (0.01, items),
    }
    return QualityFigures("Concepts", "passage-concepts@1", items, GATES, values)


def verdict(name: str, measured: QualityFigures, overrides: str = "") -> MeasuredFigure:
    """Return the verdict on one of the three gates."""
    return next(
        judge_figure
        for judge_figure in judge_figures(measured, in_force(overrides))
        if judge_figure.figure.name == name
    )


def in_force(*texts: str, **options: Any) -> dict[str, Figure | None]:
    """Return the gates with the bounds that texts set."""
    return effective_gates(
        GATES, dict(zip(("gates=", "GATES")[-len(texts) :], texts, strict=True)), **options
    )


@pytest.mark.parametrize(
    ("name", "measured", "expected"),
    [
        ("evidence", quality(evidence=0.99), True),
        ("evidence", quality(evidence=0.989999), False),
        ("evidence", quality(evidence=None), None),
        ("concepts", quality(concepts=4.0), True),
        ("concepts", quality(concepts=14.01), False),
        ("invalid", quality(), True),
        ("evidence", quality(evidence=0.0, items=19), None),
        ("evidence", quality(evidence=0.0, items=20), False),
    ],
)
def test_bounds_are_inclusive_and_few_items_are_not_judged(
    name: str, measured: QualityFigures, expected: object
) -> None:
    """A figure on its bound passes, one beside it fails, and none is judged on fewer items than the gate asks for."""
    assert verdict(name, measured).passed is expected


@pytest.mark.parametrize(
    ("overrides", "name", "expected"),
    [
        ("evidence=0.95", "evidence", True),
        ("concepts=9..16", "concepts", False),
        ("concepts=2..", "concepts", True),
        ("evidence=..0.5", "evidence", False),
        ("invalid=0.001", "invalid", False),
        ("evidence=off", "evidence", None),
    ],
)
def test_every_bound_can_be_set(overrides: str, name: str, expected: object) -> None:
    """One number moves the one bound of a gate, two ends both, and `off` switches it off."""
    assert verdict(name, quality(evidence=0.96), overrides).passed is expected


def test_what_is_set_here_stands_above_what_the_tasks_file_sets() -> None:
    """Also where that switched a gate off."""
    assert in_force("evidence=off", "invalid=0.5")["evidence"] is None
    set_again = in_force("evidence=off", "evidence=0.5")["evidence"]
    assert set_again is not None
    assert set_again.low == 0.5


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ("evidenc=0.9", "no gate 'evidenc'"),
        ("evidence=95", "0 and 1"),
        ("evidence=0.9..95", "0 and 1"),
        ("evidence=much", "no number"),
        ("evidence=nan", "no number"),
        ("evidence", "says nothing"),
        ("concepts=5", "two bounds"),
        ("concepts=9..3", "lets nothing through"),
        ("concepts=..", "no bounds"),
        ("concepts=3..4,concepts=3..5", "twice"),
    ],
)
def test_what_cannot_be_a_bound_is_refused(overrides: str, said: str) -> None:
    """An unknown gate, a percentage, and what is no number are told apart from bounds."""
    with pytest.raises(ConfigurationError, match=said):
        in_force(overrides)


def test_an_unknown_gate_is_answered_with_the_known_ones() -> None:
    """The hint names every gate there is; a gate of another subject is passed over where the caller names it."""
    with pytest.raises(ConfigurationError) as caught:
        in_force("tags=3..8")
    assert caught.value.hint == "the gates are evidence, concepts, invalid"
    assert len(in_force("tags=3..8", other_gates={"tags"})) == 3


def test_a_failed_gate_ends_with_its_figure_and_the_report() -> None:
    """The error names each gate that failed, with figure and bound, and where to read more; exit code 6."""
    found = quality(evidence=0.98996, concepts=2.5)
    with pytest.raises(GateError) as caught:
        QualityReport(
            found, judge_figures(found, in_force("")), AT, {}, Path("reports/one.md")
        ).check()
    assert caught.value.exit_code == 6
    assert caught.value.message == (
        "2 quality gates failed: evidence is 98.996 %, wanted: at least 99 %; concepts is 2.5, wanted: 4 to 14; "
        "the answers are stored"
    )
    assert "reports/one.md" in caught.value.hint
    few = quality(evidence=0.1, items=3)
    QualityReport(few, judge_figures(few, in_force("")), AT, {}).check()


@pytest.mark.parametrize(
    ("value", "unit", "bound", "text"),
    [
        (0.98996, "share", 0.99, "98.996 %"),
        (0.98996, "share", None, "99 %"),
        (0.5, "share", 0.99, "50 %"),
        (7.5, "mean", None, "7.5"),
        (0.00012, "USD", None, "$0.000120"),
        (None, "share", None, "-"),
    ],
)
def test_values_are_written_as_people_write_them(
    value: float, unit: str, bound: float | None, text: str
) -> None:
    """A value is rounded, but never onto a bound that it misses."""
    assert format_value(value, unit, bound=bound) == text  # type: ignore[arg-type]  # the units of the table are literals
