"""`make preflight`: both ways side by side before anything is spent, and how near it comes to what is used."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lab import SHARED, Workspace

People = Callable[..., list[str]]
PEOPLE = SHARED / "data" / "people" / "experts_1558.csv"
SAMPLE = 60  # people of the file with a bio, evenly spread over it
NEAR = 0.10  # of what is used


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


@pytest.mark.full
@pytest.mark.skipif(not PEOPLE.is_file(), reason="the file of people is not here")
def test_the_estimate_for_real_people_is_near_what_is_used(tmp_path: Path, workspace: Workspace) -> None:
    """On a fresh workspace tokens in and out are within ten percent of what asking really used, live and in a batch."""
    with PEOPLE.open(encoding="utf-8-sig", newline="") as file:
        everyone = [row for row in csv.DictReader(file) if row["Bio"].strip()]
    (tmp_path / "spread.json").write_text(json.dumps(everyone[:: len(everyone) // SAMPLE][:SAMPLE]))
    workspace.ran("import", str(tmp_path / "spread.json"))
    document = looked(workspace)
    assert (document["items"], document["estimate"]["answers"]) == (SAMPLE, 0)
    workspace.ran("tag-live", LIMIT=str(SAMPLE // 2))
    workspace.ran_each("batch-submit", "batch-poll", "batch-ingest")
    [(tokens_in, tokens_out, answered)] = workspace.query(
        "SELECT sum(tokens_in), sum(tokens_out), count(*) FROM findable_answers"
    )
    assert answered == SAMPLE
    assert document["tokens_in"] == pytest.approx(tokens_in, rel=NEAR)
    assert document["tokens_out"] == pytest.approx(tokens_out, rel=NEAR)
