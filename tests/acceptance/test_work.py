"""`work --once` runs all due work once, continues after a failure, and reports the rest."""

import json
import signal
from typing import Any

from tests.acceptance.database import shift_recorded_times
from tests.acceptance.engine import CREATE_PATH, LIVE_CALL, Engine
from tests.acceptance.killing import wait_for_calls
from tests.acceptance.product import Workspace

FULL = {"code": 429, "message": "Resource exhausted"}
# Runs until an expected event must have occurred.
MAX_RUNS = 200


def run_due_work(workspace: Workspace, code: int = 0, **options: Any) -> dict[str, Any]:
    """Run the due work once; return the document with the fields of its only task."""
    return flatten(workspace.run_command("work", code=code, once=True, json=True, **options).json)


def flatten(document: dict[str, Any]) -> dict[str, Any]:
    """Return a document with the fields of its only task on the top level."""
    (task_fields,) = document["tasks"].values()
    return {**document, **task_fields}


def run_until(workspace: Workspace, member: str, code: int = 0, **options: Any) -> dict[str, Any]:
    """Run `work` until its document has a member; return the document.

    The last run must end with `code`, and the earlier runs with 0.
    """
    for _ in range(MAX_RUNS):
        work_run = workspace.try_command("work", once=True, json=True, **options)
        document = flatten(work_run.json)
        if document.get(member):
            assert work_run.code == code, work_run
            return document
        assert work_run.code == 0, work_run
    raise AssertionError(f"no {member} after {MAX_RUNS} runs")


def test_repeated_runs_tag_and_index_everyone(workspace: Workspace, api: Engine) -> None:
    """Each run does the due step and ends with exit code 0; at last nothing is due.

    A cost above CONFIRM_ABOVE needs a confirmation.
    """
    workspace.import_people(5, without_bio=1)
    run_due_work(workspace, code=2, CONFIRM_ABOVE=0)
    assert api.creates() == []
    work_lines = list(run_due_work(workspace, CONFIRM_ABOVE=0, yes=True)["did"])
    assert work_lines == ["5 submitted in 1 batch"]
    while workspace.state_counts().get("tagged") != 5 or run_due_work(workspace)["did"]:
        work_lines += run_due_work(workspace)["did"]
        assert len(work_lines) < MAX_RUNS
    assert len(api.creates()) == 1
    assert len(workspace.search("bees")) == 5
    assert workspace.run_command("work", once=True).output == ""

    # A changed person is embedded again.
    workspace.write_file("more.csv", "Username,Job Title\nperson-0000,Luthier\n")
    workspace.run_command("import", "more.csv")
    assert run_due_work(workspace)["did"] == ["1 text embedded, index built with 5 entries"]


def test_answers_of_an_expired_batch_are_ingested(workspace: Workspace, api: Engine) -> None:
    """An expired batch ends with exit code 4; its answers are ingested and its rest is sent again.

    A batch that a person cancelled is no failure. After three batches without a reply, the next
    batch is sent an hour after the last one, and its replies end the outage.
    """
    workspace.import_people(4)
    api.configure(paused=True)
    run_due_work(workspace)
    workspace.run_command("cancel", 1, yes=True)
    api.configure(paused=False)
    api.script_fault("batch_expires", args={"partial": 0.5})
    document = run_until(workspace, "submitted")
    assert document["submitted"] == {"2": "created"}
    assert document.get("failed") is None
    assert document["failures"] == []

    document = run_until(workspace, "failed", code=4)
    assert document["ingested"] == {"2": 2}
    assert list(document["failed"]) == ["2"]
    assert document["submitted"] == {"3": "created"}

    workspace.run_commands("poll", "ingest")
    workspace.import_people(2, first=50)
    api.script_fault("batch_fails", times=3)
    run_due_work(workspace)
    for _ in range(3):
        document = run_until(workspace, "failed", code=4)
    for _ in range(2):
        assert (document["left"], document.get("submitted")) == (2, None)
        assert "one batch is sent per hour" in document["outage"]
        document = run_due_work(workspace)
    shift_recorded_times(workspace, days=-2)
    assert run_due_work(workspace)["submitted"] == {"7": "created"}
    workspace.import_people(1, first=60)
    assert run_until(workspace, "ingested")["submitted"] == {"8": "created"}
    assert workspace.state_counts() == {"tagged": 6, "claimed": 1}


def test_full_queue_is_no_failure_and_a_used_up_day_is_a_failure(
    workspace: Workspace, api: Engine
) -> None:
    """Rows wait for room while a batch is running; a used-up day ends with exit code 4."""
    workspace.import_people(6)
    api.configure(batch_looks=3)
    api.script_fault("status", nth=2, times=2, args=FULL, path=CREATE_PATH)
    document = run_due_work(workspace, BATCH_ROWS=3)
    assert (document["submitted"], document["no_room"]) == ({"1": "created"}, 3)
    assert document["failures"] == []
    assert "3 wait until the API accepts more\n" in workspace.run_command("work", once=True).stdout
    assert run_until(workspace, "ingested")["ingested"] == {"1": 3}
    assert run_until(workspace, "ingested")["ingested"] == {"2": 3}

    workspace.import_people(6, first=50)
    api.script_fault("quota_day", nth=2, path=CREATE_PATH)
    document = run_due_work(workspace, code=4, BATCH_ROWS=3)
    assert (len(document["failures"]), document.get("no_room")) == (1, None)


def test_interrupt_during_a_live_call_ends_the_run(workspace: Workspace, api: Engine) -> None:
    """After an interrupt no further work and no batch starts, and the asked person stays open."""
    workspace.import_people(3)
    path = workspace.write_file("new.json", json.dumps({"username": "ada", "bio": "Keeps bees."}))
    api.script_fault(
        "status", times=99, path=LIVE_CALL, args={"code": 503, "message": "overloaded"}
    )
    workspace.run_command("add", path, RETRY_FOR=0.1)
    api.clear_faults()

    calls_before = api.count_calls("POST", LIVE_CALL)
    api.script_fault("hang", times=99, path=LIVE_CALL, args={"seconds": 300})
    with workspace.start_command("work", once=True, CALL_TIMEOUT=200) as running:
        wait_for_calls(api, running, LIVE_CALL, calls_before + 1)
        running.signal(signal.SIGTERM)
        assert running.wait().code == 130
    assert api.creates() == []
    assert workspace.state_counts() == {"open": 4}
