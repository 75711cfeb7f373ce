"""`make preflight PROBE=1`: five both ways before the rest, the gate that it closes, and going on where it stopped."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests import ledger
from tests.integration.steps.looks import CREATE, creates
from tests.lab import ROOT, Api, Workspace

People = Callable[..., list[str]]
LIVE = ":generateContent"


def probed(workspace: Workspace, *options: str, code: int = 0, **values: str) -> dict[str, Any]:
    """Run `preflight --probe --json` and return what it says of the probe."""
    result = workspace.run("preflight", "--probe", "--json", *options, **values)
    assert result.exit_code == code, result.output
    found: dict[str, Any] = json.loads(result.stdout)["probe"]
    return found


def kept(workspace: Workspace) -> list[tuple[Any, ...]]:
    """Return (batch, verdict, number of live replies) of every probe."""
    rows = workspace.query("SELECT batch, verdict, live FROM findable_probes ORDER BY batch")
    return [(batch, verdict, len(json.loads(live))) for batch, verdict, live in rows]


def test_five_go_both_ways_and_the_batch_is_ingested(workspace: Workspace, api: Api, people: People) -> None:
    """One batch of five, five live calls with the very texts of its lines; the answers of the batch alone stay."""
    people(9)
    found = probed(workspace)
    assert (found["verdict"], found["compared"], found["valid"]) == ("passed", 5, 5)
    assert [line["differs"] for line in found["lines"]] == [[]] * 5
    assert all(line["batch"]["prompt"] == line["live"]["prompt"] > 0 for line in found["lines"])
    assert creates(api) == 1
    assert len({entry["text_sha256"] for entry in api.seen("POST", LIVE)}) == 5
    assert workspace.query("SELECT purpose, outcome, count(*) FROM findable_calls GROUP BY 1, 2") == [
        ("probe", "answered", 5)
    ]
    assert workspace.query("SELECT batch, count(*) FROM findable_answers GROUP BY 1") == [(1, 5)]
    assert ledger.people(workspace) == {"total": 9, "tagged": 5, "untagged": 4}
    assert workspace.run("batch-submit").exit_code == 0
    ledger.check(workspace)


def test_what_is_kept_of_a_probe_tells_nothing_of_anybody(workspace: Workspace, people: People) -> None:
    """Facts by line, no answer, no name and no id: whoever is forgotten stands in no probe."""
    people(5)
    probed(workspace)
    [(live, report)] = workspace.query("SELECT live, report FROM findable_probes")
    assert sorted(json.loads(live)) == ["1", "2", "3", "4", "5"]
    facts = {"outcome", "reason", "finish", "prompt", "answer", "thoughts", "model"}
    assert all(set(one) == facts for one in json.loads(live).values())
    assert "person-" not in live + report
    assert "bee" not in live + report


@pytest.mark.parametrize("word", ["schema_mismatch", "no_candidates", "markdown_fence"])
def test_a_batch_whose_answers_do_not_validate_stops_the_rest(
    word: str, workspace: Workspace, api: Api, people: People
) -> None:
    """Exit code 6; no command prepares a batch from then on, live calls are free, the answers are accounted for."""
    people(9)
    api.fault(word, times=5, key="tags/")
    result = workspace.run("preflight", "--probe")
    assert result.exit_code == 6, result.output
    assert "probe: failed, 0 of 5 answers of batch 1 validate" in result.stdout
    assert "line 1 of batch 1: the batch's is" in result.stderr
    assert "recommended: nothing yet, because the probe of batch 1 failed" in result.stdout
    assert "PROBE=0 does without" in result.stderr
    for command in (["batch-submit"], ["tag", "--mode", "batch"], ["tag"]):
        refused = workspace.run(*command)
        assert refused.exit_code == 6, refused.output
        assert "the probe of batch 1 failed" in refused.stderr
    assert (ledger.batches(workspace), creates(api)) == (["ingested"], 1)
    assert workspace.run("tag-live", LIMIT="1").exit_code == 0
    ledger.check(workspace)


def test_one_answer_that_is_worse_than_live_is_enough(workspace: Workspace, api: Api, people: People) -> None:
    """Four good ones do not outweigh one that live calls answer and the batch does not."""
    people(6)
    api.fault("schema_mismatch", times=1, key="tags/3$")
    found = probed(workspace, code=6)
    assert (found["verdict"], found["compared"], found["valid"]) == ("failed", 5, 4)
    assert [bool(line["differs"]) for line in found["lines"]] == [False, False, True, False, False]


def test_a_person_may_do_without_a_probe_that_failed(workspace: Workspace, api: Api, people: People) -> None:
    """PROBE=0 opens the gate, once and for good, and says so; the journal has it."""
    people(7)
    api.fault("schema_mismatch", times=5, key="tags/")
    probed(workspace, code=6)
    result = workspace.run("preflight", PROBE="0")
    assert result.exit_code == 0
    assert "the probe of batch 1 stops nothing any more" in result.stderr
    assert "stops" not in workspace.run("preflight", "--no-probe").stderr
    assert workspace.run("batch-submit").exit_code == 0
    journal = workspace.query("SELECT new FROM findable_events WHERE kind = 'probe' ORDER BY id")
    assert [row[0] for row in journal] == ["begun", "failed", "waived"]


def test_a_new_probe_that_passes_opens_the_gate(workspace: Workspace, api: Api, people: People) -> None:
    """The newest one counts; the five who failed are asked again in the second batch."""
    people(6)
    api.fault("schema_mismatch", times=5, key="tags/")
    probed(workspace, code=6)
    assert probed(workspace)["verdict"] == "passed"
    assert kept(workspace) == [(1, "failed", 5), (2, "passed", 5)]
    assert workspace.run("batch-submit").exit_code == 0
    ledger.check(workspace)


def test_another_model_is_not_held_up(workspace: Workspace, api: Api, people: People) -> None:
    """A probe tells of the model and question that it was made with, and of no other."""
    people(6)
    api.fault("schema_mismatch", times=5, key="tags/")
    probed(workspace, code=6)
    assert workspace.run("batch-submit", MODEL="gemini-3.1-flash-lite").exit_code == 0


def test_without_waiting_the_next_run_goes_on(workspace: Workspace, api: Api, people: People) -> None:
    """WAIT=0 returns while the batch is under way; nothing else is prepared meanwhile, and nobody is asked again."""
    people(8)
    api.configure(paused=True)
    found = probed(workspace, WAIT="0")
    assert (found["verdict"], found["batch"]) == (None, 1)
    assert kept(workspace) == [(1, None, 5)]
    refused = workspace.run("batch-submit")
    assert refused.exit_code == 6, refused.output
    assert "the probe of batch 1 is not over" in refused.stderr
    again = workspace.run("preflight", "--probe", "--no-wait")
    assert again.exit_code == 0
    assert "probe: batch 1 is not over yet. Next: make preflight PROBE=1" in again.stdout
    api.configure(paused=False)
    assert probed(workspace)["verdict"] == "passed"
    assert (creates(api), len(api.seen("POST", LIVE))) == (1, 5)
    ledger.check(workspace)


def test_whoever_brings_the_batch_home_the_verdict_follows(workspace: Workspace, api: Api, people: People) -> None:
    """Poll and ingest as ever; the next run with PROBE=1 finds the result on disk and compares."""
    people(6)
    api.configure(paused=True)
    probed(workspace, WAIT="0")
    api.configure(paused=False)
    for command in ("batch-poll", "batch-ingest"):
        assert workspace.run(command).exit_code == 0
    assert probed(workspace, WAIT="0")["verdict"] == "passed"
    assert creates(api) == 1


def test_live_calls_that_fail_are_made_again_by_the_next_run(workspace: Workspace, api: Api, people: People) -> None:
    """What came is kept, what did not is asked once more; the batch is the same."""
    people(5)
    api.fault("status", times=20, path=LIVE)
    result = workspace.run("preflight", "--probe")
    assert result.exit_code == 4, result.output
    assert kept(workspace)[0][:2] == (1, None)
    api.clear_faults()
    assert probed(workspace)["verdict"] == "passed"
    assert kept(workspace) == [(1, "passed", 5)]
    assert creates(api) == 1
    marks = workspace.scalar("SELECT count(*) FROM findable_calls")
    assert len(api.seen("POST", LIVE)) <= marks


def test_who_is_gone_meanwhile_is_not_compared(workspace: Workspace, api: Api, people: People) -> None:
    """Another program may remove a person between the two ways; the probe goes on with the others."""
    people(5)
    api.fault("status", times=20, path=LIVE)
    assert workspace.run("preflight", "--probe").exit_code == 4
    api.clear_faults()
    done = kept(workspace)[0][2]
    workspace.change("DELETE FROM experts WHERE id = 5")
    found = probed(workspace)
    assert done == 0
    assert (found["verdict"], [line["line"] for line in found["lines"]]) == ("passed", [1, 2, 3, 4])


def test_a_quota_is_waited_for(workspace: Workspace, api: Api, people: People) -> None:
    """A call that is refused for a moment is made again in the same run."""
    people(5)
    api.fault("quota_minute", times=2, path=LIVE, args={"delay": "0.1s"})
    assert probed(workspace)["verdict"] == "passed"
    assert len(api.seen("POST", LIVE)) == 7


def test_a_batch_without_a_result_makes_the_probe_void(workspace: Workspace, api: Api, people: People) -> None:
    """There is nothing to compare: no verdict on the answers, the gate is open, and a new probe may be begun."""
    people(6)
    api.configure(paused=True)
    probed(workspace, WAIT="0")
    assert workspace.run("batch-cancel", "1", YES="1").exit_code == 0
    api.configure(paused=False)
    assert workspace.run("batch-poll").exit_code == 0
    assert ledger.batches(workspace) == ["failed"]
    found = probed(workspace)
    assert (found["verdict"], found["batch"], found["compared"]) == ("void", 1, 0)
    assert workspace.run("batch-submit").exit_code == 0


def test_a_refused_line_makes_the_probe_void(workspace: Workspace, api: Api, people: People) -> None:
    """A create that names a line is no answer to compare: exit code 4, the others can be probed by the next run."""
    people(6)
    api.fault("bad_line", args={"line": 2}, path=CREATE)
    result = workspace.run("preflight", "--probe")
    assert result.exit_code == 4, result.output
    assert kept(workspace)[0][:2] == (1, "void")
    assert probed(workspace)["verdict"] == "passed"
    ledger.check(workspace)


def test_nobody_left_or_no_money_is_said(workspace: Workspace, people: People) -> None:
    """A probe needs somebody to ask about, and room in the budget; nothing is begun without."""
    people(3)
    result = workspace.run("preflight", "--probe", BUDGET_PER_DAY="0.0000001")
    assert result.exit_code == 2, result.output
    assert kept(workspace) == []
    assert workspace.run("tag-live").exit_code == 0
    assert workspace.run("preflight", "--probe").exit_code == 2


def test_local_answers_that_are_cleared_take_their_probe_along(workspace: Workspace, people: People) -> None:
    """`rebind` forgets the batches of the local engine, and the probe of one of them."""
    people(5)
    probed(workspace, BACKEND="local")
    assert workspace.run("rebind", YES="1", BACKEND="local").exit_code == 0
    assert kept(workspace) == []


def test_two_at_once_probe_with_one_batch(workspace: Workspace, api: Api, people: People) -> None:
    """Whoever comes second goes on with the same batch: five are asked in it once, and five calls are made."""
    people(9)
    command = [sys.executable, "-m", "jobs", "preflight", "--probe", "--json"]
    environ = workspace.environ | {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    both = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    ended = [(one.communicate(timeout=60), one.returncode) for one in both]
    assert [code for _, code in ended] == [0, 0], ended
    probes = kept(workspace)  # whoever began after the first was over had one of their own
    assert (
        probes == [(number, "passed", replies) for number, replies in zip((1, 2), (5, 4), strict=False)][: len(probes)]
    )
    assert creates(api) == len(ledger.batches(workspace)) == len(probes)
    calls = sum(replies for *_, replies in probes)
    assert len(api.seen("POST", LIVE)) == workspace.scalar("SELECT count(*) FROM findable_calls") == calls
    ledger.check(workspace)
