"""Finished work is described in one line, in plain words."""

from typing import Any

import pytest

from askrows.web.views.command_api import summarize_ended_asking

TAGGED = {
    "live": None,
    "answered": 4,
    "under_way": 0,
    "left": 0,
    "out_of_money": "",
    "held_back": "",
}


@pytest.mark.full
@pytest.mark.parametrize(
    ("result", "summary"),
    [
        (TAGGED, "4 answered"),
        (
            {**TAGGED, "left": 2, "out_of_money": "no money is left"},
            "4 answered. Stopped: no money is left",
        ),
        (None, ""),
    ],
)
def test_finished_work_is_summarized(result: Any, summary: str) -> None:
    """Answers and reasons are named; no line of a command's log is."""
    work = {"state": "done", "result": result, "lines": ["1 row read"]}
    assert summarize_ended_asking(work) == summary
