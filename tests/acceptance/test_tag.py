"""`tag`, `preflight` and `try`: what money and time are asked for before, and who is asked, each once."""

import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.engine import Engine
from tests.acceptance.process import LONGEST_S
from tests.acceptance.product import BATCH_PRICE, MODEL, PASSAGES, Workspace

LIVE = ":generateContent"
CREATE = ":batchGenerateContent"
COUNT = ":countTokens"
FULL = {"code": 429, "message": "Resource exhausted"}
LIMITED = """
[models."small-one"]
kind = "generate"
price_in = 1
price_out = 2
priced_on = 2026-11-01
source = "mine"
enqueued_tokens = 1000
"""


def posts(api: Engine, part: str) -> int:
    """Return how often the server was asked something by POST."""
    return sum(one["method"] == "POST" and part in one["path"] for one in api.journal())


def tag(workspace: Workspace, code: int = 0, **how: Any) -> dict[str, Any]:
    """Tag, and return the document."""
    found: dict[str, Any] = workspace.do("tag", code=code, json=True, **how).json
    return found


def one_costs(workspace: Workspace) -> float:
    """Return what asking about one person live is estimated to cost, in USD."""
    return float(workspace.read("preflight", limit=1)["live"]["cost"])


@pytest.mark.alike
def test_both_ways_are_estimated_before_and_nothing_is_touched(
    workspace: Workspace, api: Engine
) -> None:
    """A batch is half the price; as many batches as would be sent, in turns where few tokens may wait; DRY=1 agrees.

    The figures are those that the run is held against when it is over.
    """
    workspace.people(7, without_bio=2)
    preflight_document = workspace.read("preflight")
    dry = workspace.read("submit", dry=True)
    assert (
        preflight_document["items"],
        preflight_document["batch"]["batches"],
        preflight_document["live"]["calls"],
    ) == (7, 1, 7)
    assert preflight_document["live"]["cost"] == pytest.approx(
        2 * preflight_document["batch"]["cost"], abs=2e-5
    )
    tokens = preflight_document["tokens_in"], preflight_document["tokens_out"]
    assert preflight_document["batch"]["cost"] == pytest.approx(
        sum(map(float.__mul__, map(float, tokens), BATCH_PRICE)) / 1e6, abs=1e-5
    )
    assert (dry["requests"], dry["tokens_in"]) == (7, tokens[0])
    assert preflight_document["flex"]["cost"] == preflight_document["batch"]["cost"]
    assert preflight_document["recommended"] == "flex"
    assert workspace.read("preflight", BATCH_ROWS=3)["batch"]["batches"] == 3
    models = workspace.put("models.toml", LIMITED)
    small = workspace.read("preflight", MODELS_FILE=models, MODEL="small-one", BATCH_ROWS=2)[
        "batch"
    ]
    assert "turns" in str(small["warnings"])
    output = workspace.do("preflight").out
    assert "7 people" in output
    assert "recommended: flex" in output
    assert api.journal() == []
    assert workspace.batches() == []
    workspace.do("tag_live")
    actual = workspace.spent()["actual"]
    assert actual == pytest.approx(preflight_document["live"]["cost"], rel=0.2)
    assert "nothing to ask" in workspace.do("preflight").out


@pytest.mark.alike
def test_a_deadline_a_days_quota_and_a_budget_are_thought_of_before(workspace: Workspace) -> None:
    """The cheapest in time, by flex where a batch takes longer; the free tier has none; what does not fit is told."""
    assert "import" in workspace.do("preflight", code=3).err
    workspace.people(9)
    for options, way, reason in (
        ({"deadline": "2d", "RPM": 1, "RPD": 2}, "batch", ""),
        ({"deadline": "1h"}, "flex", "24 h"),
        ({"deadline": "50s"}, "live", "50 s"),
        ({"DEADLINE": "0.001s", "RPM": 1}, "flex", "no way"),
        ({"TIER": "free", "RPD": 1}, "flex", "no batches"),
    ):
        found = workspace.read("preflight", **options)
        assert (found["recommended"], reason in found["reason"]) == (way, True), options
    assert "no batches" in str(workspace.read("preflight", TIER="free")["batch"]["warnings"])
    workspace.do("tag_live", limit=4)
    for requests, said in (
        (6, "2 of the day's 6 requests are left"),
        (9, "9 of the day's 9 requests would be used"),
    ):
        assert said in str(workspace.read("preflight", RPD=requests)["live"]["warnings"])
    found = workspace.read("preflight", BUDGET_PER_DAY="0.0001")
    assert [found[way]["affordable"] for way in ("batch", "live")] == [False, False]


@pytest.mark.alike
def test_few_are_asked_by_flex_and_more_than_may_be_spent_unasked_is_asked_for(
    workspace: Workspace, api: Engine
) -> None:
    """Off a terminal no answer means no: nothing is begun, and YES=1 is what to type; then all are tagged by flex."""
    workspace.people(6, without_bio=2)
    refused = workspace.do("tag", CONFIRM_ABOVE=0, code=2)
    assert "estimated $" in refused.err
    assert "next: --yes answers yes" in refused.err
    for budget in ("nan", "-1", "five", "inf"):
        assert "amount of USD" in workspace.do("tag", BUDGET=budget, code=2).err
    for deadline in ("soon", "2 fortnights", "-1h"):
        workspace.do("tag", deadline=deadline, code=2)
    assert posts(api, "") == 0
    found = tag(workspace, CONFIRM_ABOVE=0, yes=True)
    assert (found["mode"], found["left"], posts(api, LIVE), posts(api, CREATE)) == ("flex", 0, 6, 0)
    assert workspace.states() == {"tagged": 6, "no_bio": 2}
    assert "nothing to tag" in workspace.do("tag").out


@pytest.mark.alike
def test_it_goes_on_with_what_is_under_way_and_asks_again_who_failed(
    workspace: Workspace, api: Engine
) -> None:
    """Without waiting it returns; with it, the same batch comes home, a refused line goes out in the next one.

    Few who are left are asked by flex, and what was submitted is waited for all the same.
    """
    workspace.people(7)
    api.fault("schema_mismatch", times=1, key="tags/1$")
    assert tag(workspace, mode="batch", limit=4)["submitted"] == [1]
    assert tag(workspace, limit=1)["mode"] == "flex"
    found = tag(workspace, wait=True, limit=2)
    assert (found["mode"], found["ingested"], found["under_way"]) == ("flex", {"1": 3}, 0)
    found = tag(workspace, mode="batch", wait=True)
    assert (found["left"], posts(api, CREATE)) == (0, 2)
    assert workspace.states() == {"tagged": 7}


@pytest.mark.alike
@pytest.mark.parametrize("mode", ["live", "batch"])
def test_a_budget_lets_as_many_through_as_it_pays_for(workspace: Workspace, mode: str) -> None:
    """What is spent stays within it, the rest is left and said; a larger one goes on."""
    workspace.people(12)
    budget = 5.5 * one_costs(workspace) * (1 if mode == "live" else 0.5)
    found = tag(workspace, mode=mode, wait=True, BUDGET=f"{budget:.9f}")
    tagged = workspace.states()["tagged"]
    assert 1 <= tagged <= 8
    assert (found["left"], "BUDGET" in found["out_of_money"]) == (12 - tagged, True)
    assert workspace.spent()["actual"] <= budget
    assert tag(workspace, mode=mode, wait=True, BUDGET=5)["left"] == 0
    assert workspace.states() == {"tagged": 12}


@pytest.mark.alike
def test_a_budget_holds_until_its_run_is_over(workspace: Workspace, api: Engine) -> None:
    """Who comes after `tag` within it is held by it, too: `run` sends nothing more, and says why; a larger one does."""
    workspace.people(12)
    budget = 2.5 * one_costs(workspace) * 0.5
    assert tag(workspace, mode="batch", BUDGET=f"{budget:.9f}")["submitted"] == [1]
    for _ in "123":
        output = workspace.do("run").out
    untagged = workspace.states()["untagged"]
    assert (f"{untagged} left: BUDGET=" in output, posts(api, CREATE)) == (True, 1)
    assert tag(workspace, mode="live", BUDGET=1)["left"] == 0


def test_a_budget_counts_from_where_a_run_was_killed(workspace: Workspace, api: Engine) -> None:
    """SIGKILL ends no run: what it spent counts for who goes on."""
    workspace.people(8)
    api.fault("hang", nth=5, times=99, path=LIVE, args={"seconds": 300})
    with workspace.start("tag", mode="live", CONCURRENCY=1, CALL_TIMEOUT=200, BUDGET=1) as running:
        until = time.monotonic() + LONGEST_S
        while posts(api, LIVE) < 5:
            assert time.monotonic() < until
            time.sleep(0.01)
        running.signal(signal.SIGKILL)
        assert running.wait().code == -signal.SIGKILL
    api.clear_faults()
    workspace.do("ingest")
    tagged = workspace.states()["tagged"]
    assert tagged == 4
    spent = workspace.spent()
    left = tag(workspace, mode="live", BUDGET=f"{(spent['actual'] + spent['lost']) * 1.05:.9f}")
    assert (left["left"] > 0, bool(left["out_of_money"]), workspace.states()["tagged"]) == (
        True,
        True,
        tagged,
    )
    assert tag(workspace, mode="live", BUDGET=1)["left"] == 0


def test_the_budget_of_a_day_holds_for_every_command(workspace: Workspace, api: Engine) -> None:
    """Spent live, then nothing goes out by batch or live; batches that are prepared go out while there is room."""
    workspace.people(9)
    tag(workspace, mode="live", limit=3)
    spent = workspace.spent()["actual"]
    made = posts(api, LIVE)
    day = {"BUDGET_PER_DAY": f"{spent * 1.01:.9f}"}
    for verb, code in (("submit", 3), ("tag_live", 0)):
        assert "BUDGET_PER_DAY" in workspace.do(verb, code=code, **day).err
    both: dict[str, Any] = {
        "BUDGET": 0,
        "BUDGET_PER_DAY": f"{spent / 2:.9f}",
    }  # passed: told is the one that says when there is room
    assert "BUDGET_PER_DAY" in str(tag(workspace, mode="live", **both)["out_of_money"])
    assert "BUDGET_PER_DAY" in str(workspace.read("run", **day)["tasks"])
    assert (posts(api, LIVE), posts(api, CREATE)) == (made, 0)
    api.fault("status", args=FULL, path=CREATE)
    workspace.do("submit", code=4, BATCH_ROWS=3)
    assert workspace.batch_states() == ["prepared", "prepared"]
    one = workspace.read("preflight")["waiting"]["cost"] / 2
    for room, states in ((0.5, ["prepared", "prepared"]), (1.5, ["submitted", "prepared"])):
        workspace.do("submit", code=3, BUDGET_PER_DAY=f"{spent + room * one:.9f}")
        assert workspace.batch_states() == states
    workspace.do("submit")
    assert workspace.batch_states() == ["submitted", "submitted"]


@pytest.mark.alike
def test_a_budget_with_room_for_half_the_price_alone_is_spent_on_that(workspace: Workspace) -> None:
    """What costs half is taken where the whole does not fit into the money."""
    workspace.people(6)
    live = workspace.read("preflight")["live"]["cost"]
    found = tag(workspace, wait=True, BUDGET=f"{live * 0.7:.9f}")
    assert (found["mode"], found["left"], found["out_of_money"]) == ("flex", 0, "")


@pytest.mark.alike
def test_live_answers_are_judged_before_batches_are_waited_for(
    workspace: Workspace, api: Engine
) -> None:
    """The report is there while a batch that was sent before is under way, which may take a day."""
    workspace.people(4)
    api.fault("never_ends")
    workspace.do("submit", limit=1)
    with workspace.start("tag", mode="live", wait=True) as running:
        until = time.monotonic() + LONGEST_S
        while not [*workspace.data.glob("reports/*.md")]:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert workspace.states() == {"claimed": 1, "tagged": 3}
        running.signal(signal.SIGINT)
        running.wait()


@pytest.mark.alike
def test_a_wait_for_a_limit_is_said(workspace: Workspace) -> None:
    """Where a minute's limit lets no further call begin, progress says for how long; what was answered stays."""
    workspace.people(2)
    with workspace.start("tag", mode="live", RPM=1) as running:
        until = time.monotonic() + LONGEST_S
        while not re.search(r"asking: 1/2, .*waits \d+ s for the API", running.so_far()):
            assert time.monotonic() < until
            time.sleep(0.1)
        running.stop(signal.SIGINT)
    assert workspace.states() == {"tagged": 1, "untagged": 1}


@pytest.mark.alike
def test_a_reply_without_usage_counts_at_its_estimate(workspace: Workspace, api: Engine) -> None:
    """An answer that does not say what it used is no free one: a budget sees what it was estimated at."""
    workspace.people(1)
    estimate = one_costs(workspace)
    part = {"text": json.dumps({"tags": ["beekeeping", "water law", "teaching"]})}
    reply = {
        "candidates": [{"content": {"parts": [part], "role": "model"}, "finishReason": "STOP"}]
    }
    api.fault("wrong_shape", path=LIVE, args={"document": reply})
    workspace.do("tag_live")
    assert workspace.states() == {"tagged": 1}
    spent = workspace.spent()
    assert spent["actual"] + spent["estimated"] == pytest.approx(estimate, abs=2e-5)


@pytest.mark.alike
def test_a_batch_that_fails_stops_the_sending(workspace: Workspace, api: Engine) -> None:
    """One try in one command, exit code 4 with the reason; three in a row park, and say so; `unpark` forgives."""
    workspace.people(4)
    api.fault("batch_expires", times=3)
    for number in (1, 2):
        stopped = workspace.do("tag", mode="batch", wait=True, code=4)
        assert f"batch {number} failed at the API (expi" in stopped.err
        assert (posts(api, CREATE), workspace.states()) == (number, {"untagged": 4})
    found = tag(workspace, mode="batch", wait=True, code=4)
    assert (list(found["failed"]), found["parked"], found["left"]) == (["3"], 4, 0)
    assert workspace.states() == {"parked": 4}
    assert all(workspace.parked().values())
    workspace.do("unpark", all=True, yes=True)
    assert tag(workspace, mode="batch", wait=True)["left"] == 0


@pytest.mark.alike
def test_it_waits_for_room_at_the_api(workspace: Workspace, api: Engine) -> None:
    """Where a 429 meets an own batch under way, that one is waited for, and the next is sent; LIMIT counts both."""
    workspace.people(9)
    for limit, submitted, left in ((5, {"1", "2"}, 4), (9, {"3", "4"}, 0)):
        api.configure(batch_looks=3)
        api.fault("status", nth=2, args=FULL, path=CREATE)
        found = tag(workspace, mode="batch", wait=True, limit=limit, BATCH_ROWS=3)
        assert (set(found["ingested"]), found["left"], found["under_way"]) == (submitted, left, 0)
    assert posts(api, CREATE) == 6


def test_a_trial_keeps_nothing_but_what_it_cost(workspace: Workspace, api: Engine) -> None:
    """Those that are next, one by name, or as many as a seed draws are asked and shown; they stay as they were."""
    workspace.people(5, without_bio=1)
    try_document = workspace.read("try")
    assert [row["name"] for row in try_document["items"]] == [
        "person-0000",
        "person-0001",
        "person-0002",
    ]
    assert [row["outcome"] for row in try_document["items"]] == ["answered"] * 3
    assert posts(api, LIVE) == 3
    assert workspace.states() == {"untagged": 5, "no_bio": 1}
    assert 0 < try_document["cost"] == pytest.approx(workspace.spent()["actual"], abs=1e-5)
    workspace.do("tag_live", limit=4)
    assert workspace.read("try", item="person-0000")["items"][0]["outcome"] == "answered"
    drawn = [{row["id"] for row in workspace.read("try", seed=7, N=2)["items"]} for _ in "12"]
    assert drawn[0] == drawn[1]
    assert (
        "one item is tried by its name" in workspace.do("try", item="person-0001", N=1, code=2).err
    )
    api.fault("schema_mismatch", path=LIVE)
    output = workspace.do("try", item="person-0001").out
    assert "\ninvalid in " in output
    assert "tags: Field required" in output
    made = posts(api, LIVE)
    assert "--yes" in workspace.do("try", CONFIRM_ABOVE=0, code=2).err
    stopped = workspace.do("try", json=True, BUDGET_PER_DAY="0.0000001", code=3).json
    assert ({row["outcome"] for row in stopped["items"]}, posts(api, LIVE)) == ({"not asked"}, made)
    assert workspace.states() == {"tagged": 4, "untagged": 1, "no_bio": 1}
    workspace.put(
        "texts.jsonl",
        json.dumps({"id": "p", "text": "Study 1 examines river deltas by field measurements."}),
    )
    workspace.do("import_passages", "texts.jsonl")
    assert len(workspace.read("try", TASK=PASSAGES)["items"]) == 1  # no pilot stands in the way


@pytest.mark.alike
def test_two_models_are_compared_and_not_stored(workspace: Workspace, api: Engine) -> None:
    """The stored answers of one beside what another says now, within every limit; nothing is stored but the cost."""
    workspace.people(3)
    tag(workspace, mode="live")
    before = posts(api, LIVE)
    two = ("--a", "2", "--b", "draft")
    try_document = workspace.read("try", *two, N=2, MODEL="gemini-2.5-pro")
    assert (len(try_document["items"]), posts(api, LIVE)) == (2, before + 2)
    assert "no version, and no draft" in workspace.do("try", "--a", "2", "--b", MODEL, code=2).err
    assert workspace.states() == {"tagged": 3}
    assert len(workspace.read("versions")) == 1
    assert "nothing was asked" in workspace.do("try", *two, CONFIRM_ABOVE=0, code=2).err
    assert posts(api, LIVE) == before + 2


@pytest.mark.alike
def test_report_files_stay_in_the_workspace(workspace: Workspace) -> None:
    """A run of twenty or more leaves a report that people can read."""
    workspace.people(21)
    found = tag(workspace, mode="live")
    assert Path(found["report"]).is_relative_to(workspace.data)
