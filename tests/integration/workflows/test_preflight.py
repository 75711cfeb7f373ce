"""`make preflight`: both ways side by side before anything is spent, and how near it comes to what is used."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lab import SHARED, Api, Workspace

People = Callable[..., list[str]]
COUNT = ":countTokens"
PEOPLE = SHARED / "data" / "people" / "experts_1558.csv"
SAMPLE = 60  # people of the file with a bio, evenly spread over it
NEAR = 0.10  # of what is used


def looked(workspace: Workspace, *options: str, **values: str) -> dict[str, Any]:
    """Run `preflight --json` and return its document."""
    result = workspace.ran("preflight", "--json", *options, **values)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_both_ways_stand_side_by_side_and_nothing_is_touched(workspace: Workspace, api: Api, people: People) -> None:
    """Items, tokens, both costs (a batch is half), the price's day; nothing is written or sent."""
    people(7, without_bio=2)
    before = {name: workspace.query(f"SELECT * FROM {name}") for name in workspace.tables()}  # noqa: S608 - our names
    document = looked(workspace)
    assert (document["items"], document["batch"]["batches"], document["live"]["calls"]) == (7, 1, 7)
    assert document["tokens_in"] > 7 * 100
    assert document["tokens_out"] > 0
    assert document["live"]["cost"] == pytest.approx(2 * document["batch"]["cost"], abs=2e-6)
    assert document["batch"]["cost"] > 0
    for way in ("batch", "live"):
        assert document[way]["priced_on"].startswith("20")
        assert document[way]["price_source"]
        assert document[way]["warnings"] == []
    assert document["live"]["quota"]["requests"] == 7
    assert document["live"]["quota"]["used_today"] == 0
    assert document["estimate"] == {"error": 0.1, "answers": 0, "sampled": 0}
    assert (document["recommended"], document["batch"]["seconds"]) == ("live", 24 * 3600)
    assert api.journal() == []
    assert before == {name: workspace.query(f"SELECT * FROM {name}") for name in workspace.tables()}  # noqa: S608


def test_a_key_is_needed_to_count_and_not_to_look(workspace: Workspace, people: People) -> None:
    """Estimating is arithmetic; only what asks the API says that a key is missing."""
    people(1)
    keyless = {name: value for name, value in workspace.environ.items() if name != "GEMINI_API_KEY"}
    alone = Workspace(workspace.data, keyless | {"FINDABLE_BACKEND": "gemini"})
    assert alone.run("preflight").exit_code == 0
    result = alone.ran("preflight", "--count", code=3)
    assert "GEMINI_API_KEY" in result.stderr


def test_the_estimate_is_that_of_submit_and_of_live(workspace: Workspace, people: People) -> None:
    """One estimator: the figures of a look are those that the batch, and the live run, are recorded with."""
    people(9)
    look = looked(workspace, LIMIT="4")
    assert workspace.run("batch-submit", LIMIT="4").exit_code == 0
    [batch] = workspace.query("SELECT requests, estimated_in, estimated_out, estimated_cost FROM findable_batches")
    assert batch[:3] == (look["items"], look["tokens_in"], look["tokens_out"])
    assert batch[3] == pytest.approx(look["batch"]["cost"], abs=1e-6)
    look = looked(workspace)
    assert workspace.run("tag-live").exit_code == 0
    [run] = workspace.query("SELECT items, estimated_in, estimated_out, estimated_cost FROM findable_runs")
    assert run[:3] == (5, look["tokens_in"], look["tokens_out"])
    assert run[3] == pytest.approx(look["live"]["cost"], abs=1e-6)


def test_batches_are_counted_after_splitting(workspace: Workspace, people: People) -> None:
    """As many batches as would be written, and in how many turns they go out where few tokens may wait."""
    people(10)
    assert looked(workspace, BATCH_ROWS="4")["batch"]["batches"] == 3
    models = workspace.data.parent / "models.toml"
    models.write_text(
        '[models."small-one"]\nkind = "generate"\nprice_in = 1\nprice_out = 2\npriced_on = 2026-11-01\n'
        'source = "mine"\nenqueued_tokens = 1000\n'
    )
    document = looked(workspace, MODELS_FILE=str(models), MODEL="small-one", BATCH_ROWS="2")
    batch = document["batch"]
    assert batch["batches"] >= 5
    assert batch["quota"]["enqueued_most"] == 1000
    assert batch["quota"]["turns"] > 1
    assert batch["seconds"] == batch["quota"]["turns"] * 24 * 3600
    assert "turns" in batch["warnings"][0]
    assert (batch["price_source"], batch["priced_on"]) == ("mine", "2026-11-01")


def test_the_api_counts_a_sample_and_all_are_scaled_by_it(workspace: Workspace, api: Api, people: People) -> None:
    """`--count` asks countTokens for at most twenty, evenly over all, and nothing else; the prompt figure follows.

    A thousand tokens in each make it a thousand for each of all. What cannot be counted is left out of the sample;
    where nothing can be, the error says so and exits with 4.
    """
    people(45)
    plain, counted = looked(workspace), looked(workspace, "--count")
    assert [entry["path"].endswith(COUNT) for entry in api.journal()] == [True] * 15
    assert counted["estimate"]["sampled"] == 15
    assert counted["tokens_in"] == pytest.approx(plain["tokens_in"], rel=NEAR)
    assert counted["tokens_out"] == plain["tokens_out"]
    tokens = counted["tokens_in"], counted["tokens_out"]
    assert counted["batch"]["cost"] == pytest.approx((tokens[0] * 0.15 + tokens[1] * 1.25) / 1e6, abs=1e-6)
    assert workspace.query("SELECT count(*) FROM findable_calls") == [(0,)]
    api.fault("wrong_shape", times=15, path=COUNT, args={"document": {"totalTokens": 1000}})
    assert looked(workspace, "--count")["tokens_in"] == 45_000
    api.fault("status", times=2, path=COUNT)
    assert looked(workspace, "--count")["estimate"]["sampled"] == 13
    api.fault("status", times=99, path=COUNT)
    assert "count tokens" in workspace.ran("preflight", "--count", code=4).stderr


def test_nobody_left_to_ask_is_said(workspace: Workspace, people: People) -> None:
    """An empty workspace is told how to begin (2); one where all are claimed has nothing to ask (0)."""
    result = workspace.begin().ran("preflight", code=2)
    assert "make import" in result.stderr
    people(2)
    assert workspace.run("batch-submit").exit_code == 0
    result = workspace.run("preflight")
    assert (result.exit_code, result.stdout.partition(":")[0]) == (0, "nothing to ask")
    document = looked(workspace)
    assert (document["items"], document["recommended"], document["batch"]["cost"]) == (0, None, 0)


def test_a_deadline_decides(workspace: Workspace, people: People) -> None:
    """Enough time makes it a batch, little time live; too little is said with whichever is over first.

    The free tier has no batches, so live is recommended however long that takes.
    """
    people(3)
    assert looked(workspace, "--deadline", "2d")["recommended"] == "batch"
    document = looked(workspace, "--deadline", "1h")
    assert (document["recommended"], document["deadline_s"]) == ("live", 3600)
    assert "24 h" in document["reason"]
    document = looked(workspace, DEADLINE="0.001s", RPM="1")
    assert document["recommended"] == "live"
    assert "neither" in document["reason"]
    assert workspace.run("preflight", "--deadline", "soon").exit_code == 2
    assert looked(workspace, TIER="free", RPD="1")["recommended"] == "live"
    document = looked(workspace, TIER="free")
    assert "free tier has no batches" in document["batch"]["warnings"][0]
    assert document["live"]["quota"]["rpd"] < 1000
    assert looked(workspace, TIER="1")["batch"]["warnings"] == []


def test_the_day_and_its_budget_are_warned_of(workspace: Workspace, people: People) -> None:
    """Live calls that the day has no requests left for, and a budget without room, are warned of before."""
    people(9)
    assert workspace.run("tag-live", LIMIT="4").exit_code == 0
    live = looked(workspace, RPD="6")["live"]
    assert live["quota"]["used_today"] == 4
    assert not live["fits_today"]
    assert "2 of the day's 6 requests are left" in live["warnings"][0]
    assert live["seconds"] > 0
    document = looked(workspace, RPD="9")
    assert document["live"]["fits_today"]
    assert "9 of the day's 9 requests would be used" in document["live"]["warnings"][0]
    document = looked(workspace, BUDGET_PER_DAY="0.0001")
    for way in ("batch", "live"):
        assert "budget" in document[way]["warnings"][-1]
        assert not document[way]["affordable"]


def test_people_read_it_in_a_few_lines(workspace: Workspace, people: People) -> None:
    """Both ways in a table, warnings on standard error, and what is recommended with its reason."""
    people(5)
    result = workspace.ran("preflight", RPD="5")
    head, titles, batch, live, last = result.stdout.splitlines()
    assert "5 people, about" in head
    assert titles.split() == ["way", "cost", "time", "sends", "quota", "prices"]
    assert batch.split()[0] == "batch"
    assert "1 batch" in batch
    assert "24 h" in batch
    assert "5 calls" in live
    assert "live: 5 of the day's 5 requests would be used" in result.stderr
    assert last.startswith("recommended: live, because asking live costs only $0.0")


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
