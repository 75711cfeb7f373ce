"""`make tag`: the way that fits, the question before money is spent, budgets, and going on where it was killed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration import many_passages as passages
from tests.lab import Api, Workspace

People = Callable[..., list[str]]


def tagged(workspace: Workspace, *options: str, code: int = 0, **values: str) -> dict[str, Any]:
    """Run the command and return its document."""
    result = workspace.ran("tag", *options, "--json", **values, code=code)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.mark.full
def test_a_run_is_over_by_whichever_command_nobody_is_left(
    workspace: Workspace, people: People, tmp_path: Path
) -> None:
    """The budget of the next one begins anew, and what it spent is its own."""
    people(4)
    assert tagged(workspace, "--mode", "batch", BUDGET="5")["submitted"] == [1]
    workspace.ran_each("batch-poll", "batch-ingest")
    assert workspace.query("SELECT why FROM findable_runs WHERE mode = 'tag'") == [("nobody is left",)]
    assert workspace.scalar("SELECT cost FROM findable_batches") > 0
    more = tmp_path / "more.json"
    more.write_text(json.dumps([{"username": f"more-{number}", "bio": "Knows tides."} for number in range(3)]))
    assert workspace.run("import", str(more)).exit_code == 0
    document = tagged(workspace, "--mode", "live", BUDGET="0.01")
    assert document["left"] == 0
    assert document["spent"] == pytest.approx(workspace.scalar("SELECT sum(cost) FROM findable_calls"))


def window_for(workspace: Workspace, folder: Path, share: float) -> dict[str, Any]:
    """Let so large a share of the prompt tokens of all who are untagged wait at once, by our table of models."""
    tokens = json.loads(workspace.run("batch-submit", "--dry", "--json").stdout)["tokens_in"]
    models = passages.models(folder / "models.toml", enqueued_tokens=int(tokens * share))
    return {"MODELS_FILE": str(models)}


@pytest.mark.full
def test_a_window_that_others_fill_is_said_and_ends_no_run(
    workspace: Workspace, people: People, api: Api, tmp_path: Path
) -> None:
    """Nothing of its own is under way that would make room: it says who waits, and its budget goes on to hold."""
    people(6)
    window = window_for(workspace, tmp_path, 0.5)
    api.configure(paused=True)
    assert workspace.run("batch-submit", "--limit", "1").exit_code == 0
    workspace.change("UPDATE findable_batches SET task = 'passages', estimated_in = 1000000")
    document = tagged(workspace, "--mode", "batch", "--wait", "--budget", "5", **window)
    assert (document["submitted"], document["no_room"], document["out_of_money"]) == ([], 5, "")
    assert "5 people wait for room at the API" in workspace.run("tag", "--mode", "batch", **window).stderr
    assert workspace.query("SELECT why FROM findable_runs WHERE mode = 'tag'") == [(None,)]


@pytest.mark.full
def test_a_batch_that_failed_with_nobody_in_it_any_more(workspace: Workspace, people: People, api: Api) -> None:
    """Its person was deleted meanwhile: exit code 4 with the reason, and none is said to be left or parked."""
    people(2)
    tagged(workspace, "--mode", "live", "--limit", "1")
    api.fault("batch_fails", times=1)
    tagged(workspace, "--mode", "batch")
    workspace.change("DELETE FROM experts WHERE tags IS NULL OR tags = '[]'")
    stopped = workspace.run("tag", "--mode", "batch", "--wait")
    assert (stopped.exit_code, "batch 1 failed" in stopped.stderr) == (4, True), stopped.output
    assert "next: make status" in stopped.stderr
