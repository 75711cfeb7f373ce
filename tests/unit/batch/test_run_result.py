"""`RunResult`: counts of failed rows, and the reasons that a progress line and warnings name."""

from askrows.pipeline.batch.run_result import INTERRUPTED_REASON, RunResult, RunStop, StopReason
from askrows.pipeline.run.live_throttle import LiveProgress

FAILURE = "Gemini failed on the request to ask gemini-3.5-flash-lite (503 UNAVAILABLE): "


def test_progress_names_the_newest_failure() -> None:
    """Only the first failures are kept for warnings, but the newest reason is shown."""
    result = RunResult()
    for number in range(5):
        result.count_failed_row(str(number), f"reason {number}")
    note = LiveProgress("Gemini", newest_failure="reason 4").describe(result)
    assert "5 failed (reason 4)" in note
    assert [row_id for row_id, _ in result.first_failures] == ["0", "1", "2"]


def test_progress_shows_the_code_of_a_failing_service() -> None:
    """A long message is shortened after its code, and ends with an ellipsis."""
    note = LiveProgress("Gemini", service_failure=FAILURE + "busy " * 30).describe(RunResult())
    assert "Gemini fails (ask gemini-3.5-flash-lite (503 UNAVAILABLE): busy" in note
    assert note.endswith("…)")


def test_a_result_after_an_interrupt_has_no_kept_failure() -> None:
    """If all failed calls were interrupted, none is kept, and they are still counted."""
    result = RunResult(stop=RunStop(StopReason.INTERRUPTED))
    result.count_failed_row("1", INTERRUPTED_REASON)
    assert result.failed == {INTERRUPTED_REASON: 1}
    assert result.first_failures == []
