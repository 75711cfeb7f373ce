"""Progress as a person sees it: on a screen, in a log, and not where the work is over at once."""

import io
import re
import sys

import pytest

from jobs import output
from jobs.output import Terminal


class Screen(io.StringIO):
    """What a terminal was sent."""

    def isatty(self) -> bool:
        """Say that a person looks at it."""
        return True


def _log(patch: pytest.MonkeyPatch) -> io.StringIO:
    """Return standard error as a pipe takes it; called in the test, for pytest puts its own in place before."""
    stream = io.StringIO()
    patch.setattr(sys, "stderr", stream)
    return stream


def _screen(patch: pytest.MonkeyPatch) -> Screen:
    """Return standard error as a terminal takes it."""
    stream = Screen()
    patch.setattr(sys, "stderr", stream)
    patch.setenv("TERM", "xterm")
    return stream


@pytest.mark.parametrize("late", [False, True])
def test_a_log_gets_lines_with_rate_and_time_left(monkeypatch: pytest.MonkeyPatch, *, late: bool) -> None:
    """Nothing in the first seconds; then a line now and then, each whole by itself."""
    log = _log(monkeypatch)
    with Terminal().bar("reading", 40, late=late) as bar:
        bar.show(1)
    assert not log.getvalue()
    monkeypatch.setattr(output, "SHOW_AFTER_S", -1.0)
    with Terminal().bar("reading", 40, late=late) as bar:
        bar.show(20, note="half of it")
        bar.show(30)
    (line,) = log.getvalue().splitlines()
    at, label, count, rate, left, note = line.replace(" reading: ", ", reading, ").split(", ")
    assert re.fullmatch(r"[0-2]\d:[0-5]\d:[0-5]\d", at)
    assert (label, count, note) == ("reading", "20/40", "half of it")
    assert float(rate.removesuffix("/s")) > 0
    assert left.startswith("ETA ")


def test_a_screen_gets_a_bar_and_a_late_one_only_where_the_work_takes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing flickers before two seconds have passed; any other is seen at once, and one within another, too."""
    screen = _screen(monkeypatch)
    with Terminal().bar("comparing", 40, late=True) as bar:
        bar.show(20)
    assert not screen.getvalue()
    with Terminal().bar("asking", 40) as bar:
        bar.show(30)
    assert "30/40" in screen.getvalue()
    monkeypatch.setattr(output, "SHOW_AFTER_S", -1.0)
    with Terminal().bar("comparing", 40, late=True) as bar:
        bar.show(20)
        with Terminal().bar("taking back", None) as inner:
            inner.show(7)
    assert "comparing" in screen.getvalue()
    assert "taking back" in screen.getvalue()
