"""The page says what finished work cost, as the command does."""

import json
from pathlib import Path

import pytest

from pipeline.core.text import format_usd
from tests.integration import reviews
from tests.lab import Workspace
from tests.page import Page


def test_summary_of_a_run_has_the_cost_of_its_batches(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that an earlier command sent costs what it costs, though this run spent nothing."""
    monkeypatch.chdir(tmp_path)
    reviews.set_up_task(workspace).ran("batch-submit")
    with Page(workspace) as page:
        page.post(
            "/api/tag",
            params={"task": "reviews", "cost": 1},
            json={"mode": "batch", "wait": "1"},
        )
        page.settle()
        state = page.get("/parts/state", params={"task": "reviews"}).text
    [batch] = json.loads(workspace.ran("batches", "--json").stdout)
    assert batch["cost"] > 0
    assert f"4 answered, 0 open, {format_usd(batch['cost'])}" in state
