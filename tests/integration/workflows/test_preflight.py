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


def test_a_key_is_needed_to_count_and_not_to_look(workspace: Workspace, people: People) -> None:
    """Estimating is arithmetic; only what asks the API says that a key is missing."""
    people(1)
    keyless = {name: value for name, value in workspace.environ.items() if name != "GEMINI_API_KEY"}
    alone = Workspace(workspace.data, keyless | {"FINDABLE_BACKEND": "gemini"})
    assert alone.run("preflight").exit_code == 0
    result = alone.ran("preflight", "--count", code=3)
    assert "GEMINI_API_KEY" in result.stderr


@pytest.mark.full
def test_times_are_learned_from_what_was_run_here(workspace: Workspace, people: People) -> None:
    """It is not known how long a machine takes before it was measured: by a run, and by three batches of like size."""
    people(110)
    local = {"BACKEND": "local"}
    document = looked(workspace, **local)
    assert (document["batch"]["seconds"], document["live"]["seconds"]) == (None, None)
    assert document["recommended"] == "batch"
    assert "not known yet" in document["reason"]
    assert workspace.run("tag-live", LIMIT="20", **local).exit_code == 0
    assert looked(workspace, **local)["live"]["seconds"] > 0
    assert workspace.run("batch-submit", LIMIT="60", BATCH_ROWS="20", **local).exit_code == 0
    workspace.ran("batch-poll", **local)
    workspace.ran("batch-ingest", **local)
    batch = looked(workspace, **local)["batch"]
    assert 0 <= batch["least_seconds"] <= batch["seconds"] < 3600
    assert batch["learned_from_batches"] == 3
    said = workspace.ran("preflight", **local).stdout
    assert "(from 3 batches)" in said
    few = looked(workspace, LIMIT="6", **local)["batch"]
    assert (few["seconds"], few["least_seconds"], few["learned_from_batches"]) == (None, None, 0)
    assert "too few batches of like size yet" in workspace.ran("preflight", LIMIT="6", **local).stdout


@pytest.mark.full
def test_two_fast_batches_are_too_few_to_tell(workspace: Workspace, people: People) -> None:
    """Google's word counts until a third batch of like size was over; then a dearer way that is slower is not named."""
    people(40)
    for times in range(3):
        batch = looked(workspace)["batch"]
        assert (batch["seconds"], batch["learned_from_batches"]) == (24 * 3600, 0), times
        for command in ("batch-submit", "batch-poll", "batch-ingest"):
            workspace.ran(command, LIMIT="10")
    document = looked(workspace, RPM="1")
    assert document["batch"]["seconds"] < document["live"]["seconds"]
    assert document["live"]["cost"] > document["batch"]["cost"]
    assert document["recommended"] == "batch"
    assert "costs more and takes longer" in document["reason"]


@pytest.mark.full
def test_live_times_say_what_they_follow_from(workspace: Workspace, people: People) -> None:
    """The limits, or how long one call takes; a range is told by three runs of like size, where no limit is slower."""

    def told(**values: str) -> tuple[Any, int, str]:
        """Return whether there is a range, of how many runs, and what people read."""
        document, line = looked(workspace, **values), workspace.ran("preflight", **values).stdout.splitlines()[3]
        live = document["live"]
        assert live["least_seconds"] is None or 0 <= live["least_seconds"] <= live["seconds"]
        return live["least_seconds"] is not None, live["learned_from_runs"], line

    people(30)
    for values, said in (
        ({}, "(5 at once of 1.5 s)"),
        ({"RPM": "2"}, "(at 2 a minute)"),
        ({"RPD": "4"}, "(at 4 a day)"),
    ):
        assert said in told(**values)[2]
    few = {"LIMIT": "6", "RPM": "1000000", "TPM": "1000000000"}  # the engine answers more quickly than limits allow
    for _ in range(3):
        assert told(**few)[:2] == (False, 0)
        workspace.ran("tag-live", LIMIT="2")
    has_range, learned_from, line = told(**few)
    assert (has_range, learned_from, "(from 3 runs)" in line) == (True, 3, True)
    assert "(at 1 a minute)" in told(**few | {"RPM": "1"})[2]
    has_range, learned_from, line = told(**few | {"LIMIT": "24"})
    assert (has_range, learned_from, "5 at once of" in line) == (False, 0, True)


@pytest.mark.full
def test_a_run_that_was_killed_tells_nothing_of_the_pace(workspace: Workspace, people: People) -> None:
    """Its last call ends when another command finds it, years after: what the others took is what counts."""
    people(23)
    assert workspace.run("tag-live", LIMIT="21").exit_code == 0
    workspace.change(
        "UPDATE findable_calls SET outcome = NULL, ended_at = NULL, asked_at = '2020-02-02 12:00:00.000000' "
        "WHERE id = (SELECT max(id) FROM findable_calls)"
    )
    assert workspace.run("tag-live", LIMIT="1").exit_code == 0
    assert workspace.scalar("SELECT count(*) FROM findable_calls WHERE outcome = 'lost'") == 1
    assert looked(workspace)["live"]["seconds"] < 60


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
