"""Finished work is described in one line, in plain words."""

from typing import Any

import pytest

from pipeline.engine.session import PLACEHOLDER_NOTE
from web.work_summary import summarize_work

TAGGED = {
    "live": None,
    "answered": 4,
    "parked": 0,
    "under_way": 0,
    "left": 0,
    "cost": 0.0123,
    "spent": 0.0,
    "out_of_money": "",
    "held_back": "",
}


@pytest.mark.full
@pytest.mark.parametrize(
    ("result", "lines", "summary"),
    [
        (TAGGED, [], "4 answered, 0 open, $0.01"),
        (
            {**TAGGED, "cost": None, "spent": 0.5},
            [],
            "4 answered, 0 open, $0.50 spent since the run began",
        ),
        (None, ["1 row read", PLACEHOLDER_NOTE], "1 row read"),
        (None, [PLACEHOLDER_NOTE], ""),
    ],
)
def test_finished_work_is_summarized(result: Any, lines: list[str], summary: str) -> None:
    """Counts, cost and reasons are named; the note at the top of the page is not repeated."""
    work = {"state": "done", "result": result, "lines": lines}
    assert summarize_work(work) == summary
