"""Finished work is described in one line, in plain words."""

from typing import Any

import pytest

from web.work_summary import summarize_ended_work

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
    ("result", "summary"),
    [
        (TAGGED, "4 answered, $0.01"),
        (
            {**TAGGED, "cost": None, "spent": 0.5},
            "4 answered, $0.50 spent since the run began",
        ),
        (None, ""),
    ],
)
def test_finished_work_is_summarized(result: Any, summary: str) -> None:
    """Counts, cost and reasons are named; no line of a command's log is."""
    work = {"state": "done", "result": result, "lines": ["1 row read"]}
    assert summarize_ended_work(work) == summary
