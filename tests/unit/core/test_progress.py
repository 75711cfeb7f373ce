"""Progress as a person sees it: on a screen, in a log, and not where the work is over at once."""

import io
import re
import sys

import pytest

from jobs import output
from jobs.output import Terminal


def _log(patch: pytest.MonkeyPatch) -> io.StringIO:
    """Return standard error as a pipe takes it; called in the test, for pytest puts its own in place before."""
    stream = io.StringIO()
    patch.setattr(sys, "stderr", stream)
    return stream


@pytest.mark.parametrize("late", [False, True])
def test_a_log_gets_lines_with_rate_and_time_left(
    monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    """Nothing in the first seconds; then a line now and then, each whole by itself."""
    log = _log(monkeypatch)
    with Terminal().bar("reading", 40, is_delayed=late) as bar:
        bar.show(1)
    assert not log.getvalue()
    monkeypatch.setattr(output, "SHOW_AFTER_S", -1.0)
    with Terminal().bar("reading", 40, is_delayed=late) as bar:
        bar.show(20, note="half of it")
        bar.show(30)
    (line,) = log.getvalue().splitlines()
    at, label, count, rate, left, note = line.replace(" reading: ", ", reading, ").split(", ")
    assert re.fullmatch(r"[0-2]\d:[0-5]\d:[0-5]\d", at)
    assert (label, count, note) == ("reading", "20/40", "half of it")
    assert float(rate.removesuffix("/s")) > 0
    assert left.startswith("ETA ")
