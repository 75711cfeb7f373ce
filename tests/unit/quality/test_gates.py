"""Bounds of gates are inclusive and can be set; figures of few cases are not judged."""

from typing import Any

import pytest

from askrows.pipeline.core.errors import ConfigurationError
from askrows.pipeline.quality.figures import (
    Figure,
    MeasuredFigure,
    QualityFigures,
    format_value,
    judge_figures,
    make_effective_gates,
)

GATES = (
    Figure("evidence", "share", "concepts with a quotation", 0.99, None, 20, "So it is."),
    Figure("concepts", "mean", "concepts of a passage", 4, 14, 20, "So it is."),
    Figure("invalid", "share", "answers that do not validate", None, 0.01, 20, "So it is."),
)


def make_figures(
    *, evidence: float | None = 0.99, concepts: float | None = 8.0, cases: int = 100
) -> QualityFigures:
    """Return figures with three gates: a minimum, a range and a maximum."""
    values = {
        "evidence": (evidence, cases),
        "concepts": (concepts, cases),
        "invalid": (0.01, cases),
    }
    return QualityFigures("Concepts", "passage-concepts@1", cases, GATES, values)


def judge_gate(name: str, measured: QualityFigures, overrides: str = "") -> MeasuredFigure:
    """Return the verdict on a gate."""
    return next(
        judged_figure
        for judged_figure in judge_figures(measured, make_gates(overrides))
        if judged_figure.figure.name == name
    )


def make_gates(*texts: str, **options: Any) -> dict[str, Figure | None]:
    """Return the gates with the bounds of some texts."""
    return make_effective_gates(
        GATES, dict(zip(("gates=", "GATES")[-len(texts) :], texts, strict=True)), **options
    )


@pytest.mark.parametrize(
    ("name", "measured", "expected"),
    [
        ("evidence", make_figures(evidence=0.99), True),
        ("evidence", make_figures(evidence=0.989999), False),
        ("evidence", make_figures(evidence=None), None),
        ("concepts", make_figures(concepts=4.0), True),
        ("concepts", make_figures(concepts=14.01), False),
        ("invalid", make_figures(), True),
        ("evidence", make_figures(evidence=0.0, cases=19), None),
        ("evidence", make_figures(evidence=0.0, cases=20), False),
    ],
)
def test_bounds_are_inclusive_and_few_cases_are_not_judged(
    name: str, measured: QualityFigures, expected: object
) -> None:
    """A figure on its bound passes, and a gate needs a minimum of cases."""
    assert judge_gate(name, measured).passed is expected


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
    """A number sets the only bound of a gate, a range sets both, and `off` disables it."""
    assert judge_gate(name, make_figures(evidence=0.96), overrides).passed is expected


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ("evidenc=0.9", "no gate 'evidenc'"),
        ("evidence=95", "no valid bounds"),
        ("evidence=0.9..95", "no valid bounds"),
        ("evidence=much", "no valid bounds"),
        ("evidence=nan", "no valid bounds"),
        ("evidence", "no valid bounds"),
        ("concepts=5", "no valid bounds"),
        ("concepts=9..3", "no valid bounds"),
        ("concepts=..", "no valid bounds"),
    ],
)
def test_invalid_bounds_are_refused(overrides: str, message: str) -> None:
    """Unknown gates, percentages, texts and empty ranges are refused."""
    with pytest.raises(ConfigurationError, match=message):
        make_gates(overrides)


def test_error_about_an_unknown_gate_lists_all_gates() -> None:
    """The hint lists all gates; gates of another subject are ignored if the caller allows."""
    with pytest.raises(ConfigurationError) as caught:
        make_gates("tags=3..8")
    assert caught.value.hint == "the gates are evidence, concepts, invalid"
    assert len(make_gates("tags=3..8", other_gates={"tags"})) == 3


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
def test_values_are_formatted_by_their_unit(
    value: float, unit: str, bound: float | None, text: str
) -> None:
    """A value is rounded, but never to a bound that it misses."""
    # The units of the table are literals.
    assert format_value(value, unit, bound=bound) == text  # type: ignore[arg-type]
