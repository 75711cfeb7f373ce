"""`make tag`: the way that fits, the question before money is spent, budgets, and going on where it was killed."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import ledger
from tests.integration import many_passages as passages
from tests.lab import Api, Workspace

People = Callable[..., list[str]]
LIVE = ":generateContent"
CREATE = ":batchGenerateContent"


def tagged(workspace: Workspace, *options: str, code: int = 0, **values: str) -> dict[str, Any]:
    """Run the command and return its document."""
    result = workspace.ran("tag", *options, "--json", **values, code=code)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def one_costs(workspace: Workspace) -> float:
    """Return what one live call is estimated to cost, in USD, from the dearest mark."""
    cost = workspace.scalar("SELECT max(estimated_cost) FROM findable_calls")
    assert cost > 0
    return float(cost)


def test_few_people_are_tagged_live(workspace: Workspace, people: People, api: Api) -> None:
    """What costs cents more and is done in minutes is asked now; the row of the run is closed."""
    people(6, without_bio=2)
    document = tagged(workspace)
    assert (document["mode"], document["live"]["answered"], document["left"]) == ("live", 6, 0)
    assert re.fullmatch(r"asking live costs only \$0\.\d{4} more and takes about [\d.]+ s", document["reason"])
    assert len(api.seen("POST", LIVE)) == 6
    assert api.seen("POST", CREATE) == []
    assert workspace.query("SELECT why FROM findable_runs WHERE mode = 'tag'") == [("nobody is left",)]
    ledger.check(workspace)


@pytest.mark.full
def test_who_failed_is_asked_again_in_the_same_run(workspace: Workspace, people: People, api: Api) -> None:
    """MODE=batch WAIT=1 submits, polls and ingests; a line that was refused goes out in a second batch meanwhile."""
    people(4)
    api.fault("schema_mismatch", times=1, key="tags/1")
    document = tagged(workspace, "--mode", "batch", "--wait")
    assert (document["mode"], document["ingested"], document["left"]) == ("batch", {"1": 3, "2": 1}, 0)
    assert api.seen("POST", LIVE) == []
    assert ledger.people(workspace)["tagged"] == 4
    ledger.check(workspace)


@pytest.mark.full
def test_a_run_goes_on_with_what_is_under_way(workspace: Workspace, people: People, api: Api) -> None:
    """Without waiting it returns; called again, with waiting, it brings the same batch home and asks none twice."""
    people(4)
    assert tagged(workspace, "--mode", "batch")["submitted"] == [1]
    assert workspace.scalar("SELECT count(*) FROM findable_runs WHERE mode = 'tag' AND ended_at IS NULL") == 1
    document = tagged(workspace, "--wait")
    assert (document["ingested"], document["reason"]) == ({"1": 4}, "going on with batches that are under way")
    assert len(api.seen("POST", CREATE)) == 1
    assert workspace.scalar("SELECT count(*) FROM findable_runs WHERE mode = 'tag'") == 1
    assert "nothing to tag" in workspace.run("tag").stdout


@pytest.mark.full
def test_batches_under_way_are_brought_home_where_the_rest_is_asked_live(
    workspace: Workspace, people: People, api: Api
) -> None:
    """Few who are left are asked live; with WAIT=1 what was submitted before is waited for all the same, and told."""
    people(7)
    assert tagged(workspace, "--mode", "batch", "--limit", "4")["submitted"] == [1]
    assert tagged(workspace, "--limit", "1")["ingested"] == {}
    document = tagged(workspace, "--wait", "--limit", "1")
    assert (document["mode"], document["live"]["answered"], document["ingested"]) == ("live", 1, {"1": 4})
    assert (document["left"], document["under_way"], len(api.seen("POST", LIVE))) == (1, 0, 2)
    assert tagged(workspace, "--mode", "batch", "--limit", "1")["submitted"] == [2]
    assert "1 tagged in 1 batch" in workspace.run("tag", "--wait", "--mode", "live").stdout
    assert ledger.people(workspace)["tagged"] == 7
    ledger.check(workspace)


def test_above_the_limit_it_asks_and_refuses_without_a_terminal(workspace: Workspace, people: People, api: Api) -> None:
    """Off a terminal no answer means no: nothing is started, and the message says what does; YES=1 goes on."""
    people(3)
    refused = workspace.ran("tag", CONFIRM_ABOVE="0", code=2)
    assert "estimated $" in refused.stderr
    assert "YES=1" in refused.stderr
    assert api.seen("POST", "") == []
    assert workspace.scalar("SELECT count(*) FROM findable_runs") == 0
    assert tagged(workspace, CONFIRM_ABOVE="0", YES="1")["live"]["answered"] == 3


@pytest.mark.parametrize("mode", [pytest.param("live", marks=pytest.mark.full), "batch"])
def test_a_budget_lets_as_many_through_as_it_pays_for(workspace: Workspace, people: People, mode: str) -> None:
    """What is spent stays within the budget, some are tagged, the rest is left and said so; a new budget goes on."""
    people(12)
    tagged(workspace, "--mode", "live", "--limit", "1")
    budget = 5.5 * one_costs(workspace) * (1 if mode == "live" else 0.5)
    document = tagged(workspace, "--mode", mode, "--wait", BUDGET=f"{budget:.9f}")
    assert 1 <= ledger.people(workspace)["tagged"] - 1 <= 8  # answers may be shorter than was thought of the first
    assert document["left"] == 12 - ledger.people(workspace)["tagged"]
    assert "BUDGET" in document["out_of_money"]
    assert document["spent"] <= budget
    assert document["overrun"] == 0
    assert tagged(workspace, "--mode", mode, "--wait", BUDGET="5")["left"] == 0
    ledger.check(workspace)


@pytest.mark.full
def test_a_budget_counts_from_where_the_run_was_killed(workspace: Workspace, people: People) -> None:
    """The row of a run without an end lends its beginning to the next: what was spent before the kill counts."""
    people(8)
    tagged(workspace, "--mode", "live", "--limit", "4")
    spent = workspace.scalar("SELECT sum(cost) FROM findable_calls")
    workspace.change("UPDATE findable_runs SET ended_at = NULL, why = NULL WHERE mode = 'tag'")
    document = tagged(workspace, "--mode", "live", BUDGET=f"{spent * 1.05:.9f}")
    assert document["live"]["answered"] == 0
    assert document["out_of_money"]
    assert tagged(workspace, "--mode", "live", BUDGET=f"{spent * 20:.9f}")["left"] == 0


@pytest.mark.full
def test_the_budget_of_a_day_holds_for_every_command(workspace: Workspace, people: People, api: Api) -> None:
    """Spent live, then nothing more goes out by batch, nor is anyone asked live, until the day is over."""
    people(6)
    tagged(workspace, "--mode", "live", "--limit", "3")
    spent = workspace.scalar("SELECT sum(cost) FROM findable_calls")
    day = {"BUDGET_PER_DAY": f"{spent * 1.01:.9f}"}
    made = len(api.seen("POST", LIVE))
    batch = workspace.run("batch-submit", **day)
    assert (batch.exit_code, "BUDGET_PER_DAY" in batch.stderr) == (3, True)
    assert json.loads(workspace.run("run", "--json", **day).stdout)["out_of_money"]
    live = workspace.ran("tag-live", **day, code=3)
    assert "BUDGET_PER_DAY" in live.stderr
    assert len(api.seen("POST", LIVE)) == made
    assert api.seen("POST", CREATE) == []
    assert workspace.run("tag-live").exit_code == 0
    ledger.check(workspace)


def test_prepared_batches_do_not_keep_each_other_waiting(workspace: Workspace, people: People, api: Api) -> None:
    """Two that were prepared under no budget: none is sent under one without room, one under one with room for one."""
    people(6)
    api.fault("status", args={"code": 429, "message": "Resource exhausted"}, path=CREATE)
    assert workspace.run("batch-submit", BATCH_ROWS="3").exit_code == 4
    api.clear_faults()
    assert ledger.batches(workspace) == ["prepared", "prepared"]
    cost = workspace.scalar("SELECT max(estimated_cost) FROM findable_batches")
    budget = {"BUDGET_PER_DAY": f"{cost * 1.5:.9f}"}
    assert "BUDGET_PER_DAY" in workspace.ran("batch-submit", BUDGET_PER_DAY="0.0000001", code=3).stderr
    assert ledger.batches(workspace) == ["prepared", "prepared"]
    late = workspace.run("batch-submit", **budget)
    assert (late.exit_code, "BUDGET_PER_DAY" in late.stderr) == (3, True)
    assert ledger.batches(workspace) == ["submitted", "prepared"]
    assert workspace.run("batch-submit", **budget).exit_code == 3
    assert ledger.batches(workspace) == ["submitted", "prepared"]
    assert workspace.run("batch-submit").exit_code == 0
    assert ledger.batches(workspace) == ["submitted", "submitted"]


@pytest.mark.full
def test_a_budget_holds_until_its_run_is_over(workspace: Workspace, people: People) -> None:
    """Who comes after `tag` within it: `run`, and `tag` without a word of money; a larger one lets all through."""
    people(12)
    tagged(workspace, "--mode", "live", "--limit", "1")
    budget = 2.5 * one_costs(workspace) * 0.5
    assert tagged(workspace, "--mode", "batch", BUDGET=f"{budget:.9f}")["submitted"] == [1]
    for _ in range(3):
        ran = workspace.ran("run")
    assert ledger.people(workspace)["untagged"] == 9
    assert "9 left: BUDGET=" in ran.stdout
    assert "UTC" in ran.stdout
    assert tagged(workspace, "--mode", "live", "--limit", "1", BUDGET=f"{20 * budget:.9f}")["live"]["answered"] == 1
    ledger.check(workspace)


@pytest.mark.full
def test_a_run_is_over_by_whichever_command_nobody_is_left(
    workspace: Workspace, people: People, tmp_path: Path
) -> None:
    """The budget of the next one begins anew, and what it spent is its own."""
    people(4)
    assert tagged(workspace, "--mode", "batch", BUDGET="5")["submitted"] == [1]
    workspace.ran_each("batch-poll", "batch-ingest")
    assert workspace.query("SELECT why FROM findable_runs WHERE mode = 'tag'") == [("nobody is left",)]
    assert workspace.scalar("SELECT cost FROM findable_batch_accounts") > 0
    more = tmp_path / "more.json"
    more.write_text(json.dumps([{"username": f"more-{number}", "bio": "Knows tides."} for number in range(3)]))
    assert workspace.run("import", str(more)).exit_code == 0
    document = tagged(workspace, "--mode", "live", BUDGET="0.01")
    assert document["left"] == 0
    assert document["spent"] == pytest.approx(workspace.scalar("SELECT sum(cost) FROM findable_calls"))


def test_a_budget_with_room_for_a_batch_alone_gets_a_batch(workspace: Workspace, people: People) -> None:
    """What costs half is taken where the whole does not fit into the money."""
    people(6)
    live = json.loads(workspace.run("preflight", "--json").stdout)["live"]["cost"]
    document = tagged(workspace, "--wait", BUDGET=f"{live * 0.7:.9f}")
    assert (document["mode"], document["left"], document["out_of_money"]) == ("batch", 0, "")
    assert "budget" in document["reason"]


def test_a_budget_is_an_amount_and_a_deadline_a_time(workspace: Workspace, people: People, api: Api) -> None:
    """What is none bounds nothing, so it is refused before anything is asked."""
    people(2)
    for text in ("nan", "-1", "five", "inf"):
        assert "amount of USD" in workspace.ran("tag", BUDGET=text, code=2).stderr
    for text in ("soon", "2 fortnights", "-1h"):
        result = workspace.ran("tag", "--deadline", text, code=2)
        assert "2h" in result.stderr or "length of time" in result.stderr
    assert api.seen("POST", LIVE) == []


def test_a_reply_that_does_not_say_what_it_used_counts_at_its_estimate(
    workspace: Workspace, people: People, api: Api
) -> None:
    """An answer without usage is no free one: a budget sees what it was estimated at."""
    people(1)
    part = {"text": json.dumps({"tags": ["beekeeping", "water law", "teaching"]})}
    reply = {"candidates": [{"content": {"parts": [part], "role": "model"}, "finishReason": "STOP"}]}
    api.fault("wrong_shape", path=LIVE, args={"document": reply})
    assert workspace.run("tag-live").exit_code == 0
    assert workspace.query("SELECT outcome, tokens_in, cost FROM findable_calls") == [("answered", None, None)]
    spent = json.loads(workspace.run("status", "--json").stdout)["spent"]
    assert spent["estimated"] == pytest.approx(one_costs(workspace), abs=1e-6)


def test_a_batch_that_fails_stops_the_sending(workspace: Workspace, people: People, api: Api) -> None:
    """One try of each in one command: exit code 4 with the reason; three commands park, and say so."""
    people(4)
    api.fault("batch_expires", times=10)
    for number in (1, 2):
        stopped = workspace.ran("tag", "--mode", "batch", "--wait", code=4)
        assert len(api.seen("POST", CREATE)) == number
        assert f"batch {number} failed at the API (expi" in stopped.stderr
        assert "4 people can be asked: run it again later" in stopped.stderr
        assert stopped.stdout == "0 tagged, no batch is under way\n"
        assert ledger.people(workspace)["untagged"] == 4
    document = tagged(workspace, "--mode", "batch", "--wait", code=4)
    assert (list(document["failed"]), document["parked"], document["left"]) == (["3"], 4, 0)
    assert (document["submitted"], document["under_way"]) == ([3], 0)


def fill_up(api: Api, *creates: int) -> None:
    """Let the API take no more at the n-th creates, not counting those refused before; a batch needs three looks."""
    api.configure(batch_looks=3)
    for number in creates:
        api.fault("status", nth=number, args={"code": 429, "message": "Resource exhausted"}, path=CREATE)


@pytest.mark.full
def test_it_waits_for_room_at_the_api(workspace: Workspace, people: People, api: Api) -> None:
    """Where a 429 meets an own batch under way, that one is waited for, and the next is sent; to the end, each once.

    What was held up counts among the first so many of a LIMIT; none beyond them is asked.
    """
    people(9)
    fill_up(api, 2)
    document = tagged(workspace, "--mode", "batch", "--wait", "--limit", "5", BATCH_ROWS="3")
    assert (document["ingested"], document["left"]) == ({"1": 3, "2": 2}, 4)
    fill_up(api, 2)
    document = tagged(workspace, "--mode", "batch", "--wait", BATCH_ROWS="3")
    assert (document["submitted"], document["ingested"]) == ([3, 4], {"3": 3, "4": 1})
    assert (document["left"], document["under_way"]) == (0, 0)
    assert len(api.seen("POST", CREATE)) == 6
    ledger.check(workspace)


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
