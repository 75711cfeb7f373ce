"""Test `tag`, `preflight` and `try`: estimates, consent, budgets and limits."""

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.engine import CREATE_CALL, CREATE_PATH, LIVE_CALL, Engine
from tests.acceptance.killing import kill_after_calls
from tests.acceptance.product import BATCH_PRICE, PROVIDER, Workspace

QUOTA_ERROR = {"code": 429, "message": "Resource exhausted"}
SMALL_MODEL = f"""
[models."small-one"]
kind = "generate"
provider = "{PROVIDER}"
price_in = 1
price_out = 2
priced_on = 2026-11-01
source = "mine"
enqueued_tokens = 1000
"""


def run_tag(workspace: Workspace, code: int = 0, **options: Any) -> dict[str, Any]:
    """Run `tag`, and return its report."""
    report: dict[str, Any] = workspace.run_command("tag", code=code, json=True, **options).json
    return report


def estimate_live_cost(workspace: Workspace) -> float:
    """Return the estimated cost of a live call for one person, in USD."""
    return float(workspace.read_json("preflight", limit=1)["live"]["cost"])


@pytest.mark.alike
def test_preflight_estimates_batch_and_live_without_a_call(
    workspace: Workspace, api: Engine
) -> None:
    """`preflight` estimates cost and number of batches without a call.

    The estimates agree with `submit` with DRY=1, and with the actual cost.
    """
    workspace.import_people(7, without_bio=2)
    estimate = workspace.read_json("preflight")
    dry_run = workspace.read_json("submit", dry=True)
    assert estimate["rows"] == 7
    assert estimate["batch"]["batches"] == 1
    assert estimate["live"]["calls"] == 7

    # A batch costs half of the live price.
    batch_cost = estimate["batch"]["cost"]
    assert estimate["live"]["cost"] == pytest.approx(2 * batch_cost, abs=2e-5)
    input_cost = float(estimate["tokens_in"]) * BATCH_PRICE[0]
    output_cost = float(estimate["tokens_out"]) * BATCH_PRICE[1]
    assert batch_cost == pytest.approx((input_cost + output_cost) / 1e6, abs=1e-5)
    assert (dry_run["requests"], dry_run["tokens_in"]) == (7, estimate["tokens_in"])
    assert estimate["flex"]["cost"] == batch_cost
    assert estimate["recommended"] == "flex"

    # Batches are sent in turns if few tokens may wait at the API.
    assert workspace.read_json("preflight", BATCH_ROWS=3)["batch"]["batches"] == 3
    models_file = workspace.write_file("models.toml", SMALL_MODEL)
    small_model = {"MODELS_FILE": models_file, "MODEL": "small-one", "BATCH_ROWS": 2}
    small_batch = workspace.read_json("preflight", **small_model)["batch"]
    assert "turns" in str(small_batch["warnings"])

    workspace.run_command("preflight")
    assert api.journal() == []
    assert workspace.batches() == []

    workspace.run_command("tag_live")
    actual_cost = workspace.spending()["actual"]
    assert actual_cost == pytest.approx(estimate["live"]["cost"], rel=0.2)
    assert "nothing to ask" in workspace.run_command("preflight").stdout


@pytest.mark.alike
def test_preflight_considers_deadline_daily_quota_and_budget(workspace: Workspace) -> None:
    """`preflight` recommends the cheapest mode in time, and warns about quota and budget."""
    assert "import" in workspace.run_command("preflight", code=3).stderr
    workspace.import_people(9)
    for options, mode in (
        ({"deadline": "2d", "RPM": 1, "RPD": 2}, "batch"),
        ({"deadline": "1h"}, "flex"),
        ({"deadline": "50s"}, "live"),
        ({"DEADLINE": "0.001s", "RPM": 1}, "flex"),
        ({"TIER": "free", "RPD": 1}, "flex"),
    ):
        assert workspace.read_json("preflight", **options)["recommended"] == mode, options
    assert "no batches" in str(workspace.read_json("preflight", TIER="free")["batch"]["warnings"])

    workspace.run_command("tag_live", limit=4)
    for requests, warning in (
        (6, "2 of today's 6 requests are left"),
        (9, "9 of today's 9 requests would be used"),
    ):
        assert warning in str(workspace.read_json("preflight", RPD=requests)["live"]["warnings"])

    estimate = workspace.read_json("preflight", BUDGET_PER_DAY="0.0001")
    assert estimate["batch"]["affordable"] is False
    assert estimate["live"]["affordable"] is False


@pytest.mark.alike
@pytest.mark.parametrize("mode", ["live", "batch"])
def test_budget_limits_the_number_of_tagged_people(workspace: Workspace, mode: str) -> None:
    """A run spends at most its budget, reports the remaining rows, and continues with more."""
    workspace.import_people(12)
    price_factor = 1 if mode == "live" else 0.5
    budget = 5.5 * estimate_live_cost(workspace) * price_factor
    report = run_tag(workspace, mode=mode, wait=True, BUDGET=f"{budget:.9f}")
    tagged_count = workspace.state_counts()["tagged"]
    assert 1 <= tagged_count <= 8
    assert report["left"] == 12 - tagged_count
    assert "BUDGET" in report["out_of_money"]
    assert workspace.spending()["actual"] <= budget

    assert run_tag(workspace, mode=mode, wait=True, BUDGET=5)["left"] == 0
    assert workspace.state_counts() == {"tagged": 12}


def test_cost_of_a_killed_run_counts_for_its_budget(workspace: Workspace, api: Engine) -> None:
    """A run that was killed is not over, and its cost counts for the budget of the next."""
    workspace.import_people(8)
    api.script_fault("hang", nth=5, times=99, path=LIVE_CALL, args={"seconds": 300})
    limits: dict[str, Any] = {"CONCURRENCY": 1, "BUDGET": 1}
    kill_after_calls(workspace, api, LIVE_CALL, "tag", mode="live", call_count=5, **limits)
    api.clear_faults()

    workspace.run_command("ingest")
    assert workspace.state_counts()["tagged"] == 4
    spent = workspace.spending()
    budget = (spent["actual"] + spent["lost"]) * 1.05
    report = run_tag(workspace, mode="live", BUDGET=f"{budget:.9f}")
    assert report["left"] > 0
    assert report["out_of_money"]
    assert workspace.state_counts()["tagged"] == 4

    assert run_tag(workspace, mode="live", BUDGET=1)["left"] == 0


@pytest.mark.alike
@pytest.mark.promise("spending")
def test_daily_budget_applies_to_every_command(workspace: Workspace, api: Engine) -> None:
    """Nothing is sent after the daily budget is spent, and prepared batches wait for it."""
    workspace.import_people(9)
    run_tag(workspace, mode="live", limit=3)
    spent = workspace.spending()["actual"]
    live_calls = api.count_calls("POST", LIVE_CALL)
    daily_budget = {"BUDGET_PER_DAY": f"{spent * 1.01:.9f}"}
    for verb, code in (("submit", 3), ("tag_live", 0)):
        assert "BUDGET_PER_DAY" in workspace.run_command(verb, code=code, **daily_budget).stderr

    # If both budgets are spent, the report names the daily budget, which is renewed.
    spent_budgets: dict[str, Any] = {"BUDGET": 0, "BUDGET_PER_DAY": f"{spent / 2:.9f}"}
    report = run_tag(workspace, mode="live", **spent_budgets)
    assert "BUDGET_PER_DAY" in str(report["out_of_money"])
    assert "BUDGET_PER_DAY" in str(workspace.read_json("run", **daily_budget)["tasks"])
    assert api.count_calls("POST", LIVE_CALL) == live_calls
    assert api.count_calls("POST", CREATE_CALL) == 0

    # Each of two prepared batches is sent as soon as the daily budget allows it.
    api.script_fault("status", args=QUOTA_ERROR, path=CREATE_PATH)
    workspace.run_command("submit", code=4, BATCH_ROWS=3)
    assert workspace.batch_states() == ["prepared", "prepared"]
    batch_cost = workspace.read_json("preflight")["waiting"]["cost"] / 2
    for affordable_batches, states in (
        (0.5, ["prepared", "prepared"]),
        (1.5, ["submitted", "prepared"]),
    ):
        budget = spent + affordable_batches * batch_cost
        workspace.run_command("submit", code=3, BUDGET_PER_DAY=f"{budget:.9f}")
        assert workspace.batch_states() == states
    workspace.run_command("submit")
    assert workspace.batch_states() == ["submitted", "submitted"]


@pytest.mark.alike
def test_failed_batch_stops_the_run_and_leaves_its_rows_open(
    workspace: Workspace, api: Engine
) -> None:
    """A failed batch ends the command with exit 4, also the third, and the next can succeed."""
    workspace.import_people(4)
    api.script_fault("batch_expires", times=3)
    for number in (1, 2, 3):
        report = run_tag(workspace, mode="batch", wait=True, code=4)
        assert (list(report["failed"]), report["is_down"]) == ([str(number)], True)
        assert api.count_calls("POST", CREATE_CALL) == number
        assert workspace.state_counts() == {"open": 4}

    report = run_tag(workspace, mode="batch", wait=True)
    assert (report["left"], report["is_down"]) == (0, False)


@pytest.mark.alike
def test_trial_stores_only_its_cost(workspace: Workspace, api: Engine) -> None:
    """A trial of the next, a named or some random people prints answers and stores its cost."""
    workspace.import_people(5, without_bio=1)
    trial = workspace.read_json("try")
    names = [row["name"] for row in trial["rows"]]
    assert names == ["person-0000", "person-0001", "person-0002"]
    assert [row["outcome"] for row in trial["rows"]] == ["answered"] * 3
    assert api.count_calls("POST", LIVE_CALL) == 3
    assert workspace.state_counts() == {"open": 5, "no_bio": 1}
    assert 0 < trial["cost"] == pytest.approx(workspace.spending()["actual"], abs=1e-5)

    workspace.run_command("tag_live", limit=4)
    assert workspace.read_json("try", row="person-0000")["rows"][0]["outcome"] == "answered"
    first_sample = workspace.read_json("try", seed=7, N=2)["rows"]
    second_sample = workspace.read_json("try", seed=7, N=2)["rows"]
    assert {row["id"] for row in first_sample} == {row["id"] for row in second_sample}
    workspace.run_command("try", row="person-0001", N=1, code=2)
    api.script_fault("schema_mismatch", path=LIVE_CALL)
    assert "tags: Field required" in workspace.run_command("try", row="person-0001").stdout

    # Consent and the daily budget apply to trials as well.
    live_calls = api.count_calls("POST", LIVE_CALL)
    assert "--yes" in workspace.run_command("try", CONFIRM_ABOVE=0, code=2).stderr
    stopped_trial = workspace.run_command("try", json=True, BUDGET_PER_DAY="0.0000001", code=3).json
    assert {row["outcome"] for row in stopped_trial["rows"]} == {"not asked"}
    assert api.count_calls("POST", LIVE_CALL) == live_calls
    assert workspace.state_counts() == {"tagged": 4, "open": 1, "no_bio": 1}


@pytest.mark.alike
def test_report_of_a_run_is_written_in_the_workspace(workspace: Workspace) -> None:
    """A run of twenty or more people writes its report below the workspace."""
    workspace.import_people(21)
    report = run_tag(workspace, mode="live")
    assert Path(report["report"]).is_relative_to(workspace.data)
