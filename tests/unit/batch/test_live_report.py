"""`LiveReport`: counts of failed rows, and the reasons that a progress line and warnings name."""

from askrows.pipeline.core.progress import NoProgress
from askrows.pipeline.run import rounds
from askrows.pipeline.run.live_report import INTERRUPTED_REASON, LiveReport


class _Bar(NoProgress):
    """A bar that keeps its last note."""

    note = ""

    def show(
        self,
        completed_count: int,  # noqa: ARG002 - not part of the note
        *,
        total: int | None = None,  # noqa: ARG002 - not part of the note
        note: str = "",
    ) -> None:
        """Keep the note."""
        self.note = note


FAILURE = "Gemini failed on the request to ask gemini-3.5-flash-lite (503 UNAVAILABLE): "


def _show_note(report: LiveReport) -> str:
    """Return the note of the progress line of a report."""
    bar = _Bar()
    rounds._show_live_progress(bar, report)
    return bar.note


def test_progress_names_the_newest_failure() -> None:
    """Only the first failures are kept for warnings, but the newest reason is shown."""
    report = LiveReport()
    for number in range(5):
        report.fail(str(number), f"reason {number}")
    assert "5 failed (reason 4)" in _show_note(report)
    assert [row_id for row_id, _ in report.first_failures] == ["0", "1", "2"]


def test_progress_shows_the_code_of_a_failing_service() -> None:
    """A long message is shortened after its code, and ends with an ellipsis."""
    note = _show_note(LiveReport(service_failure=FAILURE + "busy " * 30))
    assert "Gemini fails (ask gemini-3.5-flash-lite (503 UNAVAILABLE): busy" in note
    assert note.endswith("…)")


def test_progress_after_an_interrupt_has_no_kept_failure() -> None:
    """If all failed calls were interrupted, none is kept, and the line is still shown."""
    report = LiveReport(interrupted=True)
    report.fail("1", INTERRUPTED_REASON)
    assert f"1 failed ({INTERRUPTED_REASON})" in _show_note(report)
    assert report.first_failures == []
