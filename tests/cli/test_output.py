"""Commands print tables and fields for people and for programs."""

from datetime import UTC, datetime

import pytest

from askrows.jobs import output
from askrows.pipeline.core import report


def test_a_table_in_a_pipe_is_parted_by_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    """Cells have no padding, and their tabs and line ends become spaces."""
    output.print_part(report.Table(("a", "long header"), [("1\t2", "x\ny"), ("wide cell", "")]))
    assert capsys.readouterr().out == "a\tlong header\n1 2\tx y\nwide cell\t\n"


def test_a_username_is_never_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users copy usernames from tables, so other columns are wrapped instead."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "50")
    name = "eleuterio-campoverde-ruz"
    rows = [(name, "Ingeniero de estructuras y de muchas otras cosas")]
    output.print_part(report.Table(("username", "title"), rows))
    assert any(line.startswith(f"{name} ") for line in capsys.readouterr().out.splitlines())


def test_members_have_the_same_unit_in_every_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Money, times, durations and counts follow from the name; a terminal drops empty columns."""
    document = {
        "number": 1_200,
        "cost": report.EstimatedCost(1.5),
        "lost": 0.0,
        "age_s": 200,
        "since": "2026-11-29T07:40:00+00:00",
        "at": datetime(2026, 11, 29, 7, 40, tzinfo=UTC),
        "tokens_in": 1_000,
        "left_out": {"no answer": 2, "gone": 0},
        "passed": False,
    }
    names = "batch=number cost perhaps_lost=lost age_s since at tokens_in left_out passed"
    output.print_part(report.make_table([document], names))
    heading, row = capsys.readouterr().out.splitlines()
    assert heading == "batch\tcost\tperhaps lost\tage s\tsince\tat\ttokens in\tleft out\tpassed"
    assert row == (
        "1200\t~$1.50\t-\t3.3 min\t2026-11-29 07:40\t2026-11-29 07:40\t1,000\t2 no answer\tFAIL"
    )

    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    output.print_part(report.make_table([document], names))
    assert "perhaps lost" not in capsys.readouterr().out


def test_figures_are_a_phrase_without_zeros() -> None:
    """A list is its length, one thing has a singular, and a cost of 0 stays."""
    document = {"files": ["a"], "lines": 2, "vectors": 0, "cost": 0.0, "lost": 0.0}
    phrase = report.format_members_as_phrase(document, "files lines vectors spent=cost lost")
    assert phrase == "1 file, 2 lines, $0.00 spent"
