"""The quality report: its text and its files."""

from datetime import UTC, datetime
from pathlib import Path

from askrows.pipeline.quality import report
from askrows.pipeline.quality.figures import (
    Figure,
    QualityFigures,
    ReportTable,
    Sample,
    judge_figures,
    make_effective_gates,
)
from askrows.pipeline.quality.report import QualityReport

CREATED_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
TASK = "passage-concepts"
FIGURES = (
    Figure("coverage", "share", "passages with a concept", 0.99, None, 20, "An answer has one."),
    Figure(
        "evidence",
        "share",
        "concepts with a quotation",
        0.99,
        None,
        20,
        "Who quotes can be checked.",
    ),
    Figure("divergence", "bits", "other than other versions", None, 0.25, 20, "A quarter moved."),
)


def make_report(bounds: str = "") -> QualityReport:
    """Return a report with a passed gate, a failed gate and a gate that is not judged."""
    quality = QualityFigures(
        "Concepts of passages",
        "passage-concepts@1",
        40,
        FIGURES,
        {"coverage": (1.0, 40), "evidence": (0.5, 40), "divergence": (0.1, 3)},
        tables=(
            ReportTable("Types", ("", "concepts"), [("method", 30), ("<x>", 10)]),
            ReportTable("Garbage", ("name", "times"), [("a | b", 2), ("[c](d)", 1)]),
        ),
        samples=(Sample("p-1", "water law", "We study water law here.", [(9, 18)], "domain, 0.9"),),
        notes=("one note",),
    )
    verdicts = judge_figures(quality, make_effective_gates(FIGURES, {"GATES": bounds}))
    return QualityReport(quality, verdicts, CREATED_AT)


def write_report(data: Path, *, at: datetime = CREATED_AT) -> Path:
    """Write the report of `make_report` and return its Markdown."""
    return make_report()._replace(at=at).write_files(data, TASK).path


def test_report_contains_the_verdict_of_each_gate(tmp_path: Path) -> None:
    """Figures have their verdict, quotations are bold, and tables have few columns."""
    text = write_report(tmp_path).read_text(encoding="utf-8")
    assert "**Gates: 1 passed, 1 failed, 1 not judged: evidence.**" in text
    assert "- **coverage** 100 %, pass; wanted: at least 99 %" in text
    assert "- **evidence** 50 %, **FAIL**;" in text
    assert "\n  Measured on 3, at least 20 are needed.\n" in text
    assert "`We study `**`water law`**` here.`" in text
    assert max(line.count("|") for line in text.splitlines()) <= 4


def test_the_newest_of_the_reports_of_a_second_is_read(tmp_path: Path) -> None:
    """The time of a report decides, not a random part of its name."""
    times = [CREATED_AT.replace(microsecond=number) for number in range(10)]
    for at in times:
        write_report(tmp_path, at=at)
        document = report.read_newest_report(tmp_path, TASK)
        assert document is not None
        assert document["at"] == at.isoformat()


def test_old_reports_exclude_the_newest_complete_report(tmp_path: Path) -> None:
    """A report that a pilot names is not old either."""
    first, second, newest = (
        write_report(tmp_path, at=CREATED_AT.replace(hour=hour)) for hour in (1, 2, 3)
    )
    incomplete_report = write_report(tmp_path, at=CREATED_AT.replace(hour=4))
    incomplete_report.with_suffix(".json").unlink()
    old_reports = report.find_old_reports(tmp_path, TASK, CREATED_AT, kept_names={second.stem})
    assert {path.stem for path in old_reports} == {first.stem, incomplete_report.stem}
    assert newest.exists()
