"""`work --once`: whatever is due is done once, one failure does not keep the rest, and what is left is told."""

import json
import signal
import time
from datetime import datetime, timedelta
from typing import Any

from tests.acceptance.engine import Engine
from tests.acceptance.process import LONGEST_S
from tests.acceptance.product import Workspace

LIVE = ":generateContent"
CREATE = ":batchGenerateContent"
FULL = {"code": 429, "message": "Resource exhausted"}
MOST = 200  # runs until something must have come


def ran(workspace: Workspace, code: int = 0, **options: Any) -> dict[str, Any]:
    """Do once what is due, and return the document, with what it says of the one task."""
    return flat(workspace.do("work", code=code, once=True, json=True, **options).json)


def flat(told: dict[str, Any]) -> dict[str, Any]:
    """Return a document with what it says of its one task beside the rest."""
    (facts,) = told["tasks"].values()
    return {**told, **facts}


def ran_until(workspace: Workspace, member: str, code: int = 0, **options: Any) -> dict[str, Any]:
    """Run it while there is nothing of this in its document; the run that has it must end with `code`."""
    for _ in range(MOST):
        work_run = workspace.run("work", once=True, json=True, **options)
        found = flat(work_run.json)
        if found.get(member):
            assert work_run.code == code, work_run
            return found
        assert work_run.code == 0, work_run
    raise AssertionError(f"no {member} ever came")


def live_calls(api: Engine) -> int:
    """Return how often the server was asked live."""
    return sum(LIVE in one["path"] for one in api.journal())


def test_called_again_and_again_it_brings_everyone_home(workspace: Workspace, api: Engine) -> None:
    """Submitted, polled, ingested, indexed, each when it is due; then nothing is, exit code 0 all along.

    A line of a log begins with its time. Without a yes nothing dear is sent.
    """
    workspace.people(5, without_bio=1)
    ran(workspace, code=2, CONFIRM_ABOVE=0)
    assert api.creates() == []
    did = list(ran(workspace, CONFIRM_ABOVE=0, yes=True)["did"])
    assert did == ["5 submitted in 1 batch"]
    while workspace.states().get("tagged") != 5 or ran(workspace)["did"]:
        did += ran(workspace)["did"]
        assert len(did) < MOST
    assert len(api.creates()) == 1
    assert len(workspace.found("bees")) == 5
    assert workspace.do("work", once=True).said == ""
    workspace.put("more.csv", "Username,Job Title\nperson-0000,Luthier\n")
    workspace.do("import", "more.csv")
    assert ran(workspace)["did"] == ["1 text embedded", "index of 5 built"]
    workspace.people(1, first=50)
    line = workspace.do("work", once=True).out
    assert datetime.now() - datetime.strptime(line[:19], "%Y-%m-%d %H:%M:%S") < timedelta(minutes=5)  # noqa: DTZ005, DTZ007 - local time, as a log has it
    assert line[20:] == "1 submitted in 1 batch\n"


def test_who_was_added_while_gemini_failed_is_asked_again(
    workspace: Workspace, api: Engine
) -> None:
    """The person is due; each run asks live and tells so, with exit code 4 where it was in vain once more."""
    new = workspace.put(
        "new.json", json.dumps({"username": "ada", "bio": "Keeps bees and teaches water law."})
    )
    api.fault("status", times=99, path=LIVE, args={"code": 503, "message": "overloaded"})
    workspace.do("add", new, RETRY_FOR=0.1)
    assert workspace.states() == {"untagged": 1}
    api.clear_faults()
    api.fault("status", times=99, path=LIVE, args={"code": 503, "message": "overloaded"})
    api.configure(paused=True)
    assert ran(workspace, code=4, RETRY_FOR=0.1)["retried"]["failed"] == 1
    api.clear_faults()
    api.configure(paused=False)
    for number in [batch["number"] for batch in workspace.batches() if batch["way"] == "batch"]:
        workspace.do("cancel", number, yes=True)
    ran(workspace)
    assert workspace.states() == {"tagged": 1}


def test_the_index_is_built_though_a_batch_is_refused(workspace: Workspace, api: Engine) -> None:
    """The first failure is the exit code; the document says what was done all the same, where, and no password."""
    workspace.people(5)
    workspace.do("tag", mode="live", limit=2)
    api.fault("status", args=FULL, path=CREATE)
    assert "Resource exhausted" in ran(workspace, code=4)["failures"][0]
    assert workspace.status()["index"]["count"] == 2
    told = ran(workspace)
    assert told["did"] == ["3 submitted in 1 batch"]
    assert (told["workspace"], told["workspace_id"]) == (
        str(workspace.data),
        workspace.status()["workspace_id"],
    )


def test_batches_that_fail_are_told_and_what_came_is_taken_in(
    workspace: Workspace, api: Engine
) -> None:
    """A batch that expired half done gives what it has, exit code 4 all the same, and the rest goes out again.

    One that a person cancelled is no failure; three that fail in a row park.
    """
    workspace.people(4)
    api.configure(paused=True)
    ran(workspace)
    workspace.do("cancel", 1, yes=True)
    api.configure(paused=False)
    api.fault("batch_expires", args={"partial": 0.5})
    found = ran_until(workspace, "submitted")
    assert (found["submitted"], found.get("failed"), found["failures"]) == (
        {"2": "created"},
        None,
        [],
    )
    found = ran_until(workspace, "failed", code=4)
    assert (found["ingested"], list(found["failed"]), found["submitted"]) == (
        {"2": 2},
        ["2"],
        {"3": "created"},
    )
    workspace.each("poll", "ingest")
    workspace.people(2, first=50)
    api.fault("batch_fails", times=3)
    ran(workspace)
    for _ in range(3):
        found = ran_until(workspace, "failed", code=4)
    assert found["parked"] == 2
    assert workspace.states() == {"tagged": 4, "parked": 2}
    assert workspace.do("work", once=True).said == ""


def test_a_full_queue_is_no_failure_and_a_days_quota_is_one(
    workspace: Workspace, api: Engine
) -> None:
    """With a batch under way the rest waits for room; where the day is used up, none comes by waiting: exit code 4."""
    workspace.people(6)
    api.configure(batch_looks=3)
    api.fault("status", nth=2, times=2, args=FULL, path=CREATE)
    found = ran(workspace, BATCH_ROWS=3)
    assert (found["submitted"], found["no_room"], found["failures"]) == ({"1": "created"}, 3, [])
    assert "3 wait for room at the API\n" in workspace.do("work", once=True).out
    assert ran_until(workspace, "ingested")["ingested"] == {"1": 3}
    assert ran_until(workspace, "ingested")["ingested"] == {"2": 3}
    workspace.people(6, first=50)
    api.fault("quota_day", nth=2, path=CREATE)
    found = ran(workspace, code=4, BATCH_ROWS=3)
    assert (len(found["failures"]), found.get("no_room")) == (1, None)


def test_an_interrupt_while_somebody_due_is_asked_ends_it(
    workspace: Workspace, api: Engine
) -> None:
    """Nothing more is begun then, above all no batch; who was asked is to be asked still."""
    workspace.people(3)
    new = workspace.put("new.json", json.dumps({"username": "ada", "bio": "Keeps bees."}))
    api.fault("status", times=99, path=LIVE, args={"code": 503, "message": "overloaded"})
    workspace.do("add", new, RETRY_FOR=0.1)
    api.clear_faults()
    before = live_calls(api)
    api.fault("hang", times=99, path=LIVE, args={"seconds": 300})
    with workspace.start("work", once=True, CALL_TIMEOUT=200) as running:
        deadline = time.monotonic() + LONGEST_S
        while live_calls(api) == before:
            assert time.monotonic() < deadline, running.so_far()
            time.sleep(0.01)
        running.signal(signal.SIGTERM)
        assert running.wait().code == 130
    assert api.creates() == []
    assert workspace.states() == {"untagged": 4}
