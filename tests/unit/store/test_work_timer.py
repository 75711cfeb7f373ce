"""Work is timed without the time that other programs use."""

from types import SimpleNamespace

import pytest

from askrows.pipeline.store.database import MAX_BUSY_FACTOR, WorkTimer


@pytest.fixture(name="clocks")
def _clocks(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Clocks that a test sets: `passed` and `computing`, in seconds."""
    clocks = SimpleNamespace(passed=100.0, computing=7.0)
    clocks.monotonic = lambda: clocks.passed
    clocks.thread_time = lambda: clocks.computing
    monkeypatch.setattr("askrows.pipeline.store.database.time", clocks)
    return clocks


def test_work_in_the_thread_takes_its_computing_time(clocks: SimpleNamespace) -> None:
    """Time in which other programs compute does not count, up to a limit."""
    timer = WorkTimer()
    clocks.computing += 2
    clocks.passed += 4
    assert timer.seconds == 2
    clocks.passed += 10 * MAX_BUSY_FACTOR
    assert timer.seconds == 10 + 4 / MAX_BUSY_FACTOR
