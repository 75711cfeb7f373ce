"""Test `batch-poll` with every final state of a batch and every failure."""

from pathlib import Path
from typing import Any

from tests.acceptance.checker import Inspection, check_invariants
from tests.acceptance.creates import remote_names
from tests.acceptance.database import shift_recorded_times
from tests.acceptance.engine import DOWNLOAD_PATH, MANY_TIMES, Engine
from tests.acceptance.process import MAX_WAIT_S
from tests.acceptance.product import PROVIDER, Workspace
from tests.scratch import wait_until


def run_poll(workspace: Workspace, *, code: int = 0, **options: Any) -> Any:
    """Run `batch-poll`, which must end with an exit code, and return its report."""
    return workspace.run_command("poll", json=True, code=code, **options).json


def wait_for_engine(api: Engine) -> None:
    """Wait until all batches of the engine have ended, whatever it reports."""
    unfinished = {"PENDING", "RUNNING"}
    wait_until(lambda: all(batch["state"] not in unfinished for batch in api.batches()))


def test_batch_is_downloaded_after_any_final_state(workspace: Workspace, api: Engine) -> None:
    """Any final state ends a batch, and unknown or missing states are polled again.

    An unknown state is reported once, and `--no-wait` polls each batch once.
    """
    short_states = ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
    final_states = [f"JOB_STATE_{state}" for state in short_states]
    final_states += ["BATCH_STATE_SUCCEEDED", "BATCH_STATE_EXPIRED"]
    passing_states = [
        "BATCH_STATE_NEW",
        "JOB_STATE_UNSPECIFIED",
        "JOB_STATE_QUEUED",
        "JOB_STATE_PAUSED",
        "JOB_STATE_UPDATING",
    ]
    workspace.import_people(len(final_states) + len(passing_states) + 1)
    assert "no batch was downloaded" in workspace.run_command("poll").stdout
    workspace.run_command("submit", BATCH_ROWS=1)
    wait_for_engine(api)

    # The last batch has no state for a while.
    names = remote_names(workspace)
    unfinished_names = names[len(final_states) :]
    for state, name in zip(final_states, names, strict=False):
        fault: dict[str, Any] = {"times": MANY_TIMES, "args": {"state": state}}
        api.script_fault("unknown_state", method="GET", path=f"/{name}$", **fault)
    for state, name in zip(passing_states, unfinished_names, strict=False):
        fault = {"times": 3, "args": {"state": state}}
        api.script_fault("unknown_state", method="GET", path=f"/{name}$", **fault)
    api.script_fault("missing_state", times=3, method="GET", path=f"/{names[-1]}$")

    assert "6 not over yet" in workspace.run_command("poll", no_wait=True).stdout
    assert [api.count_calls("GET", f"/{name}") for name in unfinished_names] == [1] * 6
    assert workspace.run_command("poll").stderr.count("unknown remote state") <= 2
    assert [api.count_calls("GET", f"/{name}") for name in unfinished_names] == [4] * 6

    reasons = [batch["reason"] for batch in workspace.batches()]
    assert reasons[2:5] == ["failed", "cancelled", "expired"]
    assert reasons[6] == "expired"
    workspace.run_command("ingest")
    assert workspace.state_counts() == {"tagged": len(names)}


def test_batch_whose_result_never_comes_fails(workspace: Workspace, api: Engine) -> None:
    """A successful batch without a result fails after two days, and may have to be paid."""
    workspace.import_people(2)
    workspace.run_command("submit")
    wait_for_engine(api)
    api.script_fault("no_output_yet", times=MANY_TIMES)

    for _ in range(2):
        workspace.run_command("poll", no_wait=True, POLL_PATIENCE=0)
    assert workspace.state_counts() == {"claimed": 2}

    shift_recorded_times(workspace, days=-2)
    assert run_poll(workspace, no_wait=True)["failed"] == {"1": "succeeded without a result"}
    spent = workspace.spending()
    assert spent["actual"] == 0
    assert spent["estimated"] + spent["lost"] > 0
    assert workspace.state_counts() == {"open": 2}


def test_failed_batch_releases_its_rows(workspace: Workspace, api: Engine) -> None:
    """Rows of a failed batch are sent in the next batch, and its upload is deleted.

    The reason contains the code and the message of the API. A partial result that answers 404 is
    not awaited.
    """
    workspace.import_people(4)
    message = "The schema is nested too deeply."
    api.script_fault("batch_expires", nth=1)
    api.script_fault("batch_cancelled", nth=2)
    api.script_fault("batch_fails", nth=3, args={"error": {"code": 9, "message": message}})
    api.script_fault("batch_expires", nth=4, args={"partial": 0.5})
    workspace.run_command("submit", BATCH_ROWS=1)

    api.script_fault("download_status", times=MANY_TIMES, args={"code": 404})
    failed_batches = run_poll(workspace)["failed"]
    assert [*failed_batches] == ["1", "2", "3", "4"]
    assert failed_batches["3"] == f"failed: 9: {message}"
    assert workspace.batches()[2]["reason"] == f"failed: 9: {message}"
    assert api.count_calls("DELETE", "/files/") == 4

    api.clear_faults()
    workspace.run_commands("submit", "poll", "ingest")
    assert workspace.state_counts() == {"tagged": 4}


def test_upload_that_cannot_be_deleted_is_reported(workspace: Workspace, api: Engine) -> None:
    """A failed deletion of an upload is reported, and the result is ingested."""
    workspace.import_people(1)
    workspace.run_command("submit")
    error = {"code": 500, "message": "not now"}
    api.script_fault("status", times=MANY_TIMES, method="DELETE", args=error)
    workspace.run_command("poll", RETRY_FOR=0.05)
    workspace.run_command("ingest")
    assert workspace.state_counts() == {"tagged": 1}


def test_vanished_batch_is_kept_until_it_is_cancelled(workspace: Workspace, api: Engine) -> None:
    """A vanished batch or result keeps its claims until it is cancelled by hand.

    Other batches are downloaded.
    """
    workspace.import_people(4)
    workspace.run_command("submit", BATCH_ROWS=1)
    names = remote_names(workspace)
    for name, code in zip(names, (404, 403), strict=False):
        api.script_fault("batch_vanishes", times=MANY_TIMES, args={"code": code}, path=f"/{name}$")
    lost_download = f"{names[2].removeprefix('batches/')}.*({DOWNLOAD_PATH})"
    api.script_fault("download_status", times=MANY_TIMES, args={"code": 404}, path=lost_download)

    report = run_poll(workspace, code=3)
    assert [*report["gone"]] == ["1", "2", "3"]
    assert report["downloaded"] == [4]
    assert workspace.batch_states() == ["submitted"] * 3 + ["downloaded"]
    assert workspace.state_counts() == {"claimed": 4}

    workspace.run_command("cancel", 3)
    report = run_poll(workspace, code=3)
    assert report["failed"] == {"3": "succeeded, but its result is not available"}
    assert workspace.state_counts() == {"claimed": 3, "open": 1}

    workspace.run_command("cancel", 1, code=2)
    workspace.run_command("cancel", 1, yes=True)
    assert workspace.state_counts() == {"claimed": 2, "open": 2}
    assert workspace.batch_states()[0] == "failed"

    # The API may have processed the batch, so that its cost counts for budgets.
    cost = workspace.batches()[0]["estimated_cost"]
    assert workspace.spending()["lost"] >= round(cost, 6) > 0
    assert workspace.run_command("submit", BUDGET_PER_DAY=f"{cost * 4:.9f}", code=3).stderr


def test_waiting_poll_does_not_block_other_commands(workspace: Workspace, api: Engine) -> None:
    """Other commands run during a waiting `poll`, which includes new batches."""
    workspace.import_people(4)
    workspace.run_command("submit", limit=2)
    workspace.run_command("poll")
    api.script_fault("never_ends")
    workspace.run_command("submit", limit=1)

    with workspace.start_command("poll", json=True, POLL_PATIENCE=MAX_WAIT_S) as running:
        while not api.count_calls("GET", remote_names(workspace)[1]):
            assert not running.is_finished(), running.wait()
        workspace.run_commands("ingest", "submit")
        workspace.run_command("cancel", 2)
        ended_process = running.wait()

    assert ended_process.code == 0
    # OpenAI lists the requests that a cancelled batch did not run in a result.
    if PROVIDER == "openai":
        assert ended_process.json["downloaded"] == [2, 3]
        assert workspace.state_counts() == {"tagged": 2, "claimed": 2}
        return
    assert ended_process.json["downloaded"] == [3]
    assert ended_process.json["failed"] == {"2": "cancelled by hand"}
    assert workspace.state_counts() == {"tagged": 2, "claimed": 1, "open": 1}


def test_poll_without_waiting_lets_the_embedded_engine_work(tmp_path: Path) -> None:
    """`--no-wait` gives the embedded engine, which has no server, a few seconds to work."""
    workspace = Workspace(tmp_path / "here")
    workspace.import_people(3)
    workspace.run_command("submit")
    assert run_poll(workspace, no_wait=True)["downloaded"] == [1]
    workspace.run_command("ingest")
    assert workspace.state_counts() == {"tagged": 3}
    check_invariants(Inspection(workspace, is_single=True))
