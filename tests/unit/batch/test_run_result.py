"""`RunResult`: counts of failed rows, and the reasons that a progress line and warnings name."""

from askrows.pipeline.batch.run_result import INTERRUPTED_REASON, RunResult, RunStop, StopReason
from askrows.pipeline.core.progress import NoProgress
from askrows.pipeline.run import run_units
from askrows.pipeline.run.live_progress import LiveProgress


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


def _show_note(result: RunResult, progress: LiveProgress) -> str:
    """Return the note of the progress line of calls."""
    bar = _Bar()
    run_units._show_progress(bar, result, progress)
    return bar.note


def test_progress_names_the_newest_failure() -> None:
    """Only the first failures are kept for warnings, but the newest reason is shown."""
    result = RunResult()
    for number in range(5):
        result.fail_row(str(number), f"reason {number}")
    note = _show_note(result, LiveProgress(newest_failure="reason 4"))
    assert "5 failed (reason 4)" in note
    assert [row_id for row_id, _ in result.first_failures] == ["0", "1", "2"]


def test_progress_shows_the_code_of_a_failing_service() -> None:
    """A long message is shortened after its code, and ends with an ellipsis."""
    note = _show_note(RunResult(), LiveProgress(service_failure=FAILURE + "busy " * 30))
    assert "Gemini fails (ask gemini-3.5-flash-lite (503 UNAVAILABLE): busy" in note
    assert note.endswith("…)")


def test_a_result_after_an_interrupt_has_no_kept_failure() -> None:
    """If all failed calls were interrupted, none is kept, and they are still counted."""
    result = RunResult(stop=RunStop(StopReason.INTERRUPTED))
    result.fail_row("1", INTERRUPTED_REASON)
    assert result.failed == {INTERRUPTED_REASON: 1}
    assert result.first_failures == []
