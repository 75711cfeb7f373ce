"""Progress as a person sees it: on a screen, in a log, in a notebook, and not where the work is over at once."""

import io
import re
import sys
import types
from typing import Any

import pytest

from jobs import bars
from jobs.output import Terminal

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


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
    monkeypatch.setattr(bars, "SHOW_AFTER_S", -1.0)
    with Terminal().bar("reading", 40, done=10, late=late) as bar:
        bar.show(20, note="half of it")
        bar.show(30)
    (line,) = log.getvalue().splitlines()
    at, label, count, rate, left, note = line.replace(" reading: ", ", reading, ").split(", ")
    assert re.fullmatch(r"[0-2]\d:[0-5]\d:[0-5]\d", at)
    assert (label, count, note) == ("reading", "20/40", "half of it")
    assert float(rate.removesuffix("/s")) > 0
    assert left.startswith("ETA ")


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_bar_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Counts are whole at any width, a long note is cut, no ETA stands before a rate, and messages stand above."""
    screen = _screen(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(width))
    with Terminal().bar("asking", 5) as bar:
        Terminal().say("a message")
        bar.show(2, note="note " * 60)
    drawn = [ANSI.sub("", one) for one in re.split(r"[\r\n]", screen.getvalue())]
    assert "a message" in [one.strip() for one in drawn]
    assert all(len(one) <= width for one in drawn)
    assert any("0/5" in one and "ETA" not in one for one in drawn)
    assert any("2/5" in one for one in drawn)


def test_a_screen_gets_a_bar_and_a_late_one_only_where_the_work_takes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing flickers before two seconds have passed; any other is seen at once, and one within another, too."""
    screen = _screen(monkeypatch)
    with Terminal().bar("comparing", 40, late=True) as bar:
        bar.show(20)
    assert not screen.getvalue()
    with Terminal().bar("asking", 40) as bar:
        bar.show(30)
    assert "30/40" in screen.getvalue()
    monkeypatch.setattr(bars, "SHOW_AFTER_S", -1.0)
    with Terminal().bar("comparing", 40, late=True) as bar:
        bar.show(20)
        with Terminal().bar("taking back", None) as inner:
            inner.show(7)
    assert "comparing" in screen.getvalue()
    assert "taking back" in screen.getvalue()


class Cell:
    """The output of a notebook's cell, as IPython's publisher (`display_pub`) of a kernel's shell changes it."""

    def __init__(self) -> None:
        """Show nothing yet."""
        self.shown: dict[str, str] = {}  # by display
        self.ever: list[str] = []

    def publish(
        self,
        data: dict[str, str],
        metadata: dict[str, Any] | None = None,
        *,
        transient: dict[str, str],
        update: bool = False,
    ) -> None:
        """Display something, or change what one display shows."""
        assert metadata is None
        assert update == (transient["display_id"] in self.shown)
        self.shown[transient["display_id"]] = data["text/plain"]
        self.ever.append(data["text/plain"])


def test_a_notebook_gets_a_line_that_changes_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the process that runs the cells, whose standard error is no terminal; nothing stays when the work is over."""
    log, cell = _log(monkeypatch), Cell()
    shell = types.SimpleNamespace(kernel=object(), display_pub=cell)
    ipython = types.SimpleNamespace(get_ipython=lambda: shell)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setattr(bars, "MOVE_EVERY_S", 0.0)
    with Terminal().bar("asking", 40, done=10) as bar:
        assert list(cell.shown.values()) == ["asking: 10/40"]
        bar.show(20, note="half\nof it")
        with Terminal().bar("taking back", None) as inner:
            inner.show(7)
        first, second = cell.shown.values()
    assert re.fullmatch(r"asking: 20/40, [\d,.]+/s, ETA \d+ s, half of it", first)
    assert second == ""
    assert any(one.startswith("taking back: 7, ") for one in cell.ever)
    assert set(cell.shown.values()) == {""}
    with Terminal().bar("comparing", 40, late=True) as bar:
        bar.show(20)
    assert len(cell.shown) == 2
    assert log.getvalue() == ""
    shell.kernel = None  # IPython in a terminal, or in a pipe
    with Terminal().bar("asking", 40):
        pass
    assert len(cell.shown) == 2
