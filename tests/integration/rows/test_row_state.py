"""Counts of rows by state have names: another state in the middle moves no other count."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from askrows.pipeline.rows import task_rows
from askrows.pipeline.rows.row_state import REPORT_ORDER, RowState, StateCounts
from tests.lab import Workspace
from tests.page import Page


class InventedState(str):
    """A state that no row has."""

    __slots__ = ()
    value = "invented"


def test_invented_state_moves_no_other_count(
    workspace: Workspace, people: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Status, its next command, the page and the build count each state by its name."""
    people(3, without_bio=1)
    with workspace.open() as ws, ws.workspace.store.write() as tx:
        tx.execute(text("""UPDATE experts SET tags = '["bees"]' WHERE username = 'person-0000'"""))
    former_document = json.loads(workspace.ran("status", "--json").stdout)
    former_text = workspace.ran("status").stdout
    with Page(workspace) as page:
        former_state_line = page.get("/parts/state", params={"task": "experts"}).text

    first_state, *other_states = REPORT_ORDER
    order: Any = (first_state, InventedState("invented"), *other_states)
    monkeypatch.setattr(task_rows, "REPORT_ORDER", order)
    monkeypatch.setattr(StateCounts, "invented", 0, raising=False)

    document = json.loads(workspace.ran("status", "--json").stdout)
    assert list(document["experts"])[:4] == ["total", "tagged", "invented", "open"]
    assert document["experts"].pop("invented") == 0
    assert document == former_document
    assert workspace.ran("status").stdout == former_text
    assert "1 has no text" in former_state_line
    with Page(workspace) as page:
        assert page.get("/parts/state", params={"task": "experts"}).text == former_state_line
    assert "without an entry: 2 open, 1 no_bio" in workspace.ran("index").stdout


def test_stale_rows_are_done_and_gone_rows_are_no_part_of_the_total() -> None:
    """The sums of counts: all rows in the source, and rows with an answer."""
    counts = StateCounts(answered=1, open=2, empty=4, claimed=8, stale=16, unusable=32, gone=64)

    assert (counts.total, counts.done) == (63, 17)
    assert counts.count(RowState.GONE) == 64
