"""What the page on what ships says of the gates is what the code holds."""

import re
from importlib import import_module

import pytest

from tests.lab import ROOT, Workspace

PAGE = (ROOT / "docs" / "subjects.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("task", ["experts", "passages"])
def test_every_gate_stands_on_the_page_with_its_bounds(workspace: Workspace, task: str) -> None:
    """Each gate of each subject has a row with what it demands, and no row is about another one."""
    workspace.environ["FINDABLE_TASK"] = task
    with workspace.open() as ws, ws.store.read() as tx:
        found = {one.name: one.wanted for one in import_module(ws.task.measured_by).measure(tx, ws.task, None).gates}
    heading = {"experts": "people", "passages": "passages"}[task]
    part = PAGE.split(f"### The gates of {heading}")[1].split("\n### ")[0]
    told = dict(re.findall(r"^\| `([a-z-]+)` \| ([^|]+) \|", part, re.MULTILINE))
    assert told == found


@pytest.mark.parametrize("task", ["experts", "passages"])
def test_every_figure_says_what_it_is(workspace: Workspace, task: str) -> None:
    """In a line of its own that could be about no other figure."""
    workspace.environ["FINDABLE_TASK"] = task
    with workspace.open() as ws, ws.store.read() as tx:
        told = [one.told for one in import_module(ws.task.measured_by).measure(tx, ws.task, None).figures]
    assert len(set(told)) == len(told)
    assert [one for one in told if len(one.split()) < 3 or len(one) > 100] == []
