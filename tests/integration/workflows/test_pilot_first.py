"""`PILOT=` of `tag` and `batch-submit`: a few in a batch, compared with live calls and judged, and then the rest."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests import ledger
from tests.integration.looks import CREATE, creates
from tests.lab import ROOT, Api, Workspace

People = Callable[..., list[str]]
LIVE = ":generateContent"


def tagged(workspace: Workspace, *options: str, **values: str) -> dict[str, Any]:
    """Run `tag` by batch to the end, and return its document."""
    done = workspace.ran("tag", "--mode", "batch", "--wait", "--json", *options, **values)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def pilots(workspace: Workspace) -> list[tuple[Any, ...]]:
    """Return (verdict, number of live replies) of every pilot."""
    rows = workspace.query("SELECT verdict, live FROM findable_pilots ORDER BY number")
    return [(verdict, len(json.loads(live or "{}"))) for verdict, live in rows]


def test_five_of_the_pilot_go_both_ways_and_then_the_rest(workspace: Workspace, api: Api, people: People) -> None:
    """Live calls send the very texts of five lines; no answers of theirs are kept, and their cost counts.

    A call that is refused for a moment is made again. What is kept of the comparison are facts by batch and line: no
    answer, no name and no id, so that who is forgotten stands in none.
    """
    people(12)
    api.fault("quota_minute", times=2, path=LIVE, args={"delay": "0.1s"})
    document = tagged(workspace, "--pilot", "7")
    assert (document["pilot"]["drawn"], document["pilot"]["passed"], document["probe"]) == (7, True, None)
    assert document["pilot"]["compared"] == {"compared": 5, "valid": 5, "differences": []}
    assert (document["ingested"], document["left"]) == ({"1": 7, "2": 5}, 0)
    texts = [entry["text_sha256"] for entry in api.seen("POST", LIVE) if entry["status"] == 200]
    assert (len(set(texts)), len(texts), len(api.seen("POST", LIVE))) == (5, 5, 7)
    calls = "SELECT purpose, count(*) FROM findable_calls WHERE outcome = 'answered' GROUP BY 1"
    assert workspace.query(calls) == [("probe", 5)]
    kept = workspace.scalar("SELECT live FROM findable_pilots")
    assert set(json.loads(kept)) < {f"1:{line}" for line in range(1, 8)}
    facts = {"outcome", "reason", "finish", "prompt", "answer", "thoughts"}
    assert [set(one) for one in json.loads(kept).values()] == [facts] * 5
    assert not any(word in kept for word in ("person-", "bee"))
    assert workspace.scalar("SELECT count(*) FROM findable_answers WHERE batch IS NULL") == 0
    cost = workspace.scalar("SELECT sum(cost) FROM findable_batch_accounts")
    live = workspace.scalar("SELECT sum(cost) FROM findable_calls")
    assert live > 0
    assert ledger.status(workspace)["spent"]["actual"] == pytest.approx(cost + live, abs=1e-6)
    ledger.check(workspace)


@pytest.mark.full
def test_one_that_passed_stands_for_the_next_command(workspace: Workspace, api: Api, people: People) -> None:
    """The same command runs no other pilot, LIMIT counts its items, and without items left none is begun."""
    people(9)
    assert tagged(workspace, "--pilot", "4", LIMIT="6")["ingested"] == {"1": 4, "2": 2}
    again = tagged(workspace, "--pilot", "4")
    assert (again["pilot"], again["ingested"], again["left"]) == (None, {"3": 3}, 0)
    assert tagged(workspace, "--pilot", "4")["pilot"] is None
    assert workspace.run("batch-submit", "--pilot", "4", VERSION="x").exit_code == 0
    assert (pilots(workspace), creates(api)) == ([("passed", 4)], 3)


@pytest.mark.full
def test_submit_sends_the_rest_once_the_pilot_passed(workspace: Workspace, api: Api, people: People) -> None:
    """The pilot is waited for and judged, the rest is at the API when the command ends; DRY=1 runs no pilot."""
    people(8)
    assert "8 people" in workspace.run("batch-submit", "--pilot", "5", "--dry").stdout
    assert pilots(workspace) == []
    done = workspace.ran("batch-submit", PILOT="5")
    assert "pilot 1 of" in done.stderr
    assert "asked live as well: no reply differs" in done.stderr
    assert "submitted 3 people: batch 2 created" in done.stdout
    assert (ledger.batches(workspace), creates(api)) == (["ingested", "submitted"], 2)


def test_replies_that_differ_from_live_ones_stop_the_rest(workspace: Workspace, api: Api, people: People) -> None:
    """Exit code 6; every command that asks all refuses until the pilot is skipped by name, and says what to type."""
    people(9)
    api.fault("no_candidates", times=10, key="tags/")
    result = workspace.ran("batch-submit", "--pilot", "5", code=6)
    assert "the batch's is refused" in result.stderr
    assert "none of 5 replies of the batch is valid" in result.stderr
    assert "failed its gates" in workspace.run("preflight").stdout
    for command in (["batch-submit"], ["tag", "--mode", "batch"], ["tag"], ["tag-live"]):
        refused = workspace.ran(*command, code=6)
        assert "make tag PILOT=5`, or SKIP_PILOT=1" in refused.stderr
    document = json.loads(workspace.run("run", "--json").stdout)
    assert (document["left"], "no pilot" in document["no_pilot"]) == (4, True)
    assert ledger.status(workspace)["next"] == "make tag PILOT=5"
    assert (set(ledger.batches(workspace)), creates(api)) == ({"ingested"}, 2)
    assert tagged(workspace, "--skip-pilot")["left"] == 0
    assert [verdict for verdict, _ in pilots(workspace)] == ["failed", "waived"]
    assert workspace.run("tag-live", LIMIT="1").exit_code == 0
    ledger.check(workspace)


@pytest.mark.full
def test_one_reply_that_differs_is_enough(workspace: Workspace, api: Api, people: People) -> None:
    """Four that agree do not outweigh one that is valid live and not in the batch; the next pilot may pass."""
    people(6)
    api.fault("schema_mismatch", times=2, key="tags/3$")
    result = workspace.run("tag", "--mode", "batch", "--pilot", "5", SEED="1")
    if pilots(workspace) == [("passed", 5)]:
        pytest.fail("the seed drew the one without a difference")
    assert result.exit_code == 6, result.output
    assert result.stderr.count("the batch's is") == 1
    assert workspace.run("unpark", "--all", "--yes").exit_code == 0
    assert tagged(workspace, "--pilot", "5")["pilot"]["passed"]
    assert [verdict for verdict, _ in pilots(workspace)] == ["failed", "passed"]


@pytest.mark.full
def test_a_gate_that_fails_ends_with_6_and_keeps_the_answers(workspace: Workspace, api: Api, people: People) -> None:
    """People are judged by their own gates, or by those that GATES sets; a report is there to be read."""
    people(28)
    result = workspace.ran("tag", "--mode", "batch", "--pilot", "20", GATES="tags=11..12", code=6)
    assert "tags is" in result.stderr
    assert ledger.people(workspace) == {"total": 28, "tagged": 20, "untagged": 8}
    report = workspace.scalar("SELECT report FROM findable_pilots")
    told = (workspace.data / report).read_text(encoding="utf-8")
    assert "Pilot 1: 20 people, seed 1." in told
    assert "5 of its requests were asked live as well: no reply differs." in told
    assert workspace.run("batch-submit").exit_code == 6
    assert tagged(workspace, "--pilot", "20")["left"] == 0
    assert creates(api) == 2


@pytest.mark.full
def test_live_calls_that_fail_are_made_again_by_the_next_run(workspace: Workspace, api: Api, people: People) -> None:
    """The pilot stays open with exit code 4, its batch is the same, and who is gone meanwhile is not compared."""
    people(8)
    api.fault("status", times=20, path=LIVE)
    assert workspace.run("tag", "--mode", "batch", "--pilot", "5").exit_code == 4
    assert pilots(workspace)[0][0] is None
    refused = workspace.run("batch-submit")
    assert (refused.exit_code, "pilot 1 of" in refused.stderr, "is not over" in refused.stderr) == (6, True, True)
    assert ledger.status(workspace)["next"] == "make tag PILOT=5"
    api.clear_faults()
    workspace.change("DELETE FROM experts WHERE id = (SELECT CAST(min(item_id) AS INTEGER) FROM findable_requests)")
    document = tagged(workspace, "--pilot", "5")
    assert document["pilot"]["compared"] == {"compared": 4, "valid": 4, "differences": []}
    assert (document["left"], pilots(workspace), creates(api)) == (0, [("passed", 4)], 2)
    assert len(api.seen("POST", LIVE)) <= workspace.scalar("SELECT count(*) FROM findable_calls")


@pytest.mark.full
def test_another_model_is_not_held_up(workspace: Workspace, api: Api, people: People) -> None:
    """A pilot tells of the model and question that it was made with, and of no other; rolled back it is forgotten."""
    people(6)
    api.fault("schema_mismatch", times=10, key="tags/")
    assert workspace.run("batch-submit", "--pilot", "5").exit_code == 6
    assert workspace.run("batch-submit", MODEL="gemini-3.1-flash-lite", DRY="1").exit_code == 0
    assert workspace.run("batch-submit", MODEL="gemini-3.1-flash-lite").exit_code == 0


@pytest.mark.full
def test_a_line_that_is_refused_is_not_compared(workspace: Workspace, api: Api, people: People) -> None:
    """A create that names a line is no reply to compare; the others go on in a batch of their own."""
    people(6)
    api.fault("bad_line", args={"line": 2}, path=CREATE)
    document = tagged(workspace, "--pilot", "6")
    assert document["pilot"]["compared"]["differences"] == []
    assert document["pilot"]["compared"]["compared"] == 5
    ledger.check(workspace)


def test_no_money_is_said_and_no_batch_is_made(workspace: Workspace, api: Api, people: People) -> None:
    """A pilot needs room in the budget; nothing is sent without."""
    people(3)
    assert workspace.run("batch-submit", "--pilot", "3", BUDGET_PER_DAY="0.0000001").exit_code == 3
    assert creates(api) == 0


def test_a_probe_is_refused_with_what_took_its_place(workspace: Workspace, people: People) -> None:
    """PROBE=1 and --probe end with 2 and name PILOT=; PROBE=0 asks for nothing and changes nothing."""
    people(2)
    for command in ("preflight", "tag"):
        for refused in (workspace.run(command, "--probe"), workspace.run(command, PROBE="1")):
            assert (refused.exit_code, "PILOT=" in refused.output) == (2, True)
        assert workspace.run(command, PROBE="0").exit_code == 0


@pytest.mark.full
def test_two_at_once_run_one_pilot(workspace: Workspace, api: Api, people: People) -> None:
    """The second command goes on with the same batch: each person stands in one batch, and five calls are made."""
    people(9)
    command = [sys.executable, "-m", "jobs", "batch-submit", "--pilot", "5"]
    environ = workspace.environ | {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    both = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    ended = [(one.communicate(timeout=200), one.returncode) for one in both]
    assert [code for _, code in ended] == [0, 0], ended
    assert pilots(workspace) == [("passed", 5)]
    assert len(api.seen("POST", LIVE)) == workspace.scalar("SELECT count(*) FROM findable_calls") == 5
    twice = "SELECT item_id FROM findable_requests GROUP BY item_id HAVING count(*) > 1"
    assert workspace.query(twice) == []
    ledger.check(workspace)
