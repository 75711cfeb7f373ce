"""`make preflight`: both ways side by side before anything is spent, and how near it comes to what is used."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.lab import Workspace

People = Callable[..., list[str]]


def looked(workspace: Workspace, *options: str, **values: str) -> dict[str, Any]:
    """Run `preflight --json` and return its document."""
    result = workspace.ran("preflight", "--json", *options, **values)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.mark.full
def test_two_fast_batches_are_too_few_to_tell(workspace: Workspace, people: People) -> None:
    """Google's word counts until a third batch was over; then a dearer way that is slower is not named."""
    people(40)
    for times in range(3):
        assert looked(workspace)["batch"]["seconds"] == 24 * 3600, times
        for command in ("batch-submit", "batch-poll", "batch-ingest"):
            workspace.ran(command, LIMIT="10")
    document = looked(workspace, RPM="1")
    assert document["batch"]["seconds"] < document["live"]["seconds"]
    assert document["live"]["cost"] > document["batch"]["cost"]
    assert document["recommended"] == "batch"
    assert "costs more and takes longer" in document["reason"]
