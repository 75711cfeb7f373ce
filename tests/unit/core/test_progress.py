"""Progress is printed on a screen and in a log, but not for short work."""

import io
import re
import sys

import pytest

from askrows.jobs import output
from askrows.jobs.output import Terminal


def _log(patch: pytest.MonkeyPatch) -> io.StringIO:
    """Replace standard error by a pipe-like stream; called in the test, after pytest's capture."""
    stream = io.StringIO()
    patch.setattr(sys, "stderr", stream)
    return stream


def test_a_log_gets_lines_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log gets no line in the first seconds, then complete lines at intervals."""
    log = _log(monkeypatch)
    with Terminal().bar("reading", 40) as bar:
        bar.show(1)
    assert not log.getvalue()
    monkeypatch.setattr(output, "SHOW_AFTER_S", -1.0)
    with Terminal().bar("reading", 40) as bar:
        bar.show(20, note="half of it")
        bar.show(30)
    (line,) = log.getvalue().splitlines()
    time_text, label, count, rate, remaining_time, note = line.replace(
        " reading: ", ", reading, "
    ).split(", ")
    assert re.fullmatch(r"[0-2]\d:[0-5]\d:[0-5]\d", time_text)
    assert (label, count, note) == ("reading", "20/40", "half of it")
    assert float(rate.removesuffix("/s")) > 0
    assert remaining_time.startswith("ETA ")


def test_log_without_a_rate_has_only_count_and_note(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of remote batches cannot be computed, so no time is invented."""
    log = _log(monkeypatch)
    monkeypatch.setattr(output, "SHOW_AFTER_S", -1.0)
    with Terminal().bar("2 batches", 40, has_rate=False) as bar:
        bar.show(20, note="running")
    assert log.getvalue().endswith(" 2 batches: 20/40, running\n")


def test_a_terminal_replaces_the_line_by_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message and the end of the work delete the line of progress."""
    log = _log(monkeypatch)
    monkeypatch.setattr(output, "SHOW_AFTER_S", -1.0)
    monkeypatch.setattr(log, "isatty", lambda: True)
    with Terminal().bar("reading", 40, has_rate=False) as bar:
        bar.show(20)
        Terminal().say("a line")
        monkeypatch.setattr(output, "REDRAW_INTERVAL_S", -1.0)
    clear = output.CLEAR_LINE
    assert log.getvalue().startswith(f"{clear}reading: 20/40{clear}a line")
