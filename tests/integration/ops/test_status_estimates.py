"""`status` on money and promises: what was estimated and what it came to, who is due."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ledger
from tests.lab import Api, Workspace

People = Callable[..., list[str]]
LIVE = ":generateContent"


@pytest.mark.full
def test_each_batch_and_run_says_what_it_was_estimated_at_and_came_to(workspace: Workspace, people: People) -> None:
    """In the order of time, with tokens and cost of both, and by how much they differ; the mean over all beside it.

    That mean is what `preflight` counts with: there is one estimator.
    """
    people(12)
    workspace.ran_each("batch-submit", "batch-poll", "batch-ingest", LIMIT="7")
    workspace.ran_each("tag-live")
    document = ledger.status(workspace)
    batch, run = document["estimates"]
    assert [(one["kind"], one["number"], one["items"]) for one in (batch, run)] == [("batch", 1, 7), ("live", 1, 5)]
    [row] = workspace.query(
        "SELECT estimated_in, estimated_out, estimated_cost, tokens_in, tokens_out, cost FROM findable_batches"
    )
    assert tuple(batch["estimated"].values()) == (row[0], row[1], pytest.approx(row[2], abs=1e-6))
    assert tuple(batch["actual"].values()) == (row[3], row[4], pytest.approx(row[5], abs=1e-6))
    assert batch["error"] == pytest.approx(abs(row[5] - row[2]) / row[2], abs=1e-4)
    used = workspace.query("SELECT sum(tokens_in), sum(tokens_out), sum(cost) FROM findable_calls")[0]
    assert tuple(run["actual"].values()) == (used[0], used[1], pytest.approx(used[2], abs=1e-6))
    assert run["error"] <= batch["error"]  # the second time it was learned from the first
    weighed = sum(one["error"] * one["estimated"]["cost"] for one in (batch, run))
    whole = sum(one["estimated"]["cost"] for one in (batch, run))
    assert document["estimate_error"] == {"mean": pytest.approx(weighed / whole, abs=2e-3), "of": 2}
    assert (batch["state"], run["state"]) == ("ingested", "ended: nobody is left")
    workspace.change("INSERT INTO experts (username, bio, findability_score) VALUES ('more', 'I cast bells.', 0)")
    look = json.loads(workspace.run("preflight", "--json").stdout)
    assert look["estimate"]["error"] == document["estimate_error"]["mean"]


def test_lines_that_failed_do_not_make_the_rest_seem_cheap(workspace: Workspace, api: Api, people: People) -> None:
    """Of twelve requests eleven fail for the service's sake and use nothing: asked again, they cost as much as ever."""
    people(12)
    look = json.loads(workspace.run("preflight", "--json").stdout)["batch"]["cost"]
    api.fault("error_line", key="tags/([2-9]|1[0-2])$", times=11, args={"code": 13})
    workspace.ran_each("batch-submit", "batch-poll", "batch-ingest")
    status = ledger.status(workspace)
    assert (status["experts"]["tagged"], status["experts"]["untagged"]) == (1, 11)
    assert status["estimates"][0]["error"] < 1
    after = json.loads(workspace.run("preflight", "--json").stdout)["batch"]["cost"]
    assert after > 0.5 * look


def test_answers_that_tell_no_tokens_are_not_for_nothing(workspace: Workspace, api: Api, people: People) -> None:
    """A batch whose replies do not say what they used counts at its estimate, and a budget holds all the same."""
    people(6)
    api.fault("no_usage", times=100)
    workspace.ran_each("batch-submit", "batch-poll", "batch-ingest", LIMIT="3")
    estimated = workspace.scalar("SELECT estimated_cost FROM findable_batches")
    assert workspace.scalar("SELECT cost FROM findable_batches") == 0
    assert workspace.run("batch-submit", BUDGET_PER_DAY=f"{estimated * 1.1:.9f}").exit_code == 3


def test_what_is_not_over_has_no_error_yet(workspace: Workspace, api: Api, people: People) -> None:
    """A batch at the API has an estimate alone; one of which lines are missing tells nothing of estimates."""
    people(6)
    api.configure(paused=True)
    api.fault("missing_line", key="tags/2$")
    workspace.ran_each("batch-submit")
    [batch] = ledger.status(workspace)["estimates"]
    assert (batch["actual"], batch["error"], batch["state"]) == (None, None, "submitted")
    assert ledger.status(workspace)["estimate_error"] == {"mean": None, "of": 0}
    api.configure(paused=False)
    workspace.ran_each("batch-poll", "batch-ingest")
    [batch] = ledger.status(workspace)["estimates"]
    assert workspace.scalar("SELECT missing FROM findable_batches") == 1
    assert batch["error"] is None
    assert 0 < batch["actual"]["tokens_in"] < batch["estimated"]["tokens_in"]


def test_a_live_run_that_was_cut_short_is_judged_by_the_calls_it_made(
    workspace: Workspace, api: Api, people: People
) -> None:
    """Its estimate was for all; the error is of those whose replies came, not of what was never asked."""
    people(10)
    workspace.ran("tag-live", RPD="4", CONCURRENCY="1", code=4)
    [run] = ledger.status(workspace)["estimates"]
    assert run["items"] == 10
    assert run["actual"]["tokens_in"] < 0.6 * run["estimated"]["tokens_in"]
    assert run["error"] < 0.3
    assert len(api.seen("POST", LIVE)) == 4


@pytest.mark.full
def test_people_read_estimates_in_a_line_each(workspace: Workspace, people: People) -> None:
    """The newest five, each with both figures, and the mean."""
    people(14)
    for _ in range(6):
        workspace.ran_each("tag-live", LIMIT="2")
    workspace.ran_each("batch-submit")
    said = workspace.run("status").stdout
    lines = [line[11:] for line in said.splitlines() if re.match(r"(live run|batch) \d+: ", line[11:])]
    assert [line.partition(":")[0] for line in lines] == [*(f"live run {n}" for n in (3, 4, 5, 6)), "batch 1"]
    assert all(
        re.search(r", came to .*; off by [0-9.]+% in, [0-9.]+% out, [0-9.]+% of the cost$", one) for one in lines[:-1]
    )
    assert "came to" not in lines[-1]
    assert "on the mean of 6" in said


def test_who_was_added_while_gemini_failed_is_due_until_they_are_tagged(
    workspace: Workspace, api: Api, tmp_path: Path
) -> None:
    """The name, since when, why; what became of them stays for programs alone."""
    person = tmp_path / "ann.json"
    person.write_text(json.dumps({"username": "ann", "bio": "I keep bees."}))
    api.fault("status", times=50, path=LIVE)
    workspace.run("add-expert", str(person), RETRY_FOR="0.1")
    [due] = ledger.status(workspace)["due"]
    assert (due["name"], due["outcome"], due["ended_at"]) == ("ann", None, None)
    assert due["reason"]
    assert "due        ann since 20" in workspace.run("status").stdout
    api.clear_faults()
    workspace.ran_each("batch-submit", "batch-poll", "batch-ingest")
    [due] = ledger.status(workspace)["due"]
    assert (due["name"], due["outcome"]) == ("ann", "tagged")
    assert "ann since" not in workspace.run("status").stdout
