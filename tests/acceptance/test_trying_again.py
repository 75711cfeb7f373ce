"""Failures are charged to rows, parked rows are released, and batches are cancelled."""

import signal
from typing import Any

import pytest

from tests.acceptance.engine import CANCEL_PATH, CREATE_PATH, Engine
from tests.acceptance.product import PROVIDER, Workspace
from tests.acceptance.result_lines import make_line, sort_by_row
from tests.outside.server import Outside
from tests.scratch import wait_until

KEY_OF = "experts/{}"
# A failure that is charged to its row, another one, and how the last is told. OpenAI's errors are
# either those of the service, which are not charged, or park the row at once.
ROW_FAULT, ROW_ERROR, LAST_ERROR, LAST_REASON = {
    "gemini": ("error_line", 13, 14, "error 14: "),
    "openai": ("schema_mismatch", None, None, "does-not-validate: "),
}[PROVIDER]


def run_chain(
    workspace: Workspace, api: Engine, *faults: tuple[str, str, int | None], **options: int
) -> None:
    """Run the chain once; each fault has a kind, a row and the code of its error."""
    for fault, row, code in faults:
        args = {} if code is None else {"code": code, "message": f"Trouble {code}."}
        api.script_fault(fault, key=KEY_OF.format(row), args=args)

    workspace.run_command("submit", **options)
    workspace.run_commands("poll", "ingest")


def release_cancelled(workspace: Workspace) -> None:
    """Release the rows of a cancelled batch; OpenAI lists them in a result, which is ingested."""
    if PROVIDER == "openai":
        workspace.run_command("ingest")


def output_limits(workspace: Workspace, number: int) -> dict[str, int]:
    """Return `maxOutputTokens` of each key in a batch's request file."""
    return {
        request["key"]: request["request"]["generationConfig"]["maxOutputTokens"]
        for request in workspace.sealed_requests(number)
    }


# A released person may fail again.
@pytest.mark.excused("nobody_is_answered_twice")
@pytest.mark.promise("failures")
def test_two_failures_park_and_unpark_lets_go(workspace: Workspace, api: Engine) -> None:
    """The reason has the count and the last error; a released person gets two more tries."""
    usernames = workspace.import_people(3)
    assert workspace.run_command("parked").stdout == "row\treason\tsince\n"
    run_chain(workspace, api, (ROW_FAULT, "1", ROW_ERROR), (ROW_FAULT, "2", ROW_ERROR))
    assert workspace.state_counts() == {"tagged": 1, "open": 2}
    run_chain(workspace, api, (ROW_FAULT, "1", LAST_ERROR))
    assert workspace.state_counts() == {"tagged": 2, "parked": 1}, (
        "an answer after one failure tags"
    )
    reason = workspace.parked_reasons()[usernames[0]]
    assert reason.startswith(f"it failed 2 times; last: {LAST_REASON}")

    for arguments, code in (((), 2), ((usernames[0], "--all"), 2), (("nobody",), 2)):
        workspace.run_command("unpark", *arguments, code=code)
    assert workspace.read_json("unpark", usernames[0]) == {"unparked": [usernames[0]]}

    for state in ("open", "parked"):
        assert workspace.state_counts() == {"tagged": 2, "open": 1}
        run_chain(workspace, api, (ROW_FAULT, "1", ROW_ERROR))
        assert workspace.state_counts() == {"tagged": 2, state: 1}

    workspace.run_command("unpark", all=True, code=2)
    assert workspace.read_json("unpark", all=True, yes=True) == {"unparked": [usernames[0]]}
    run_chain(workspace, api)
    assert workspace.state_counts() == {"tagged": 3}


def test_cancelling_by_hand_parks_nobody(workspace: Workspace, api: Engine) -> None:
    """Repeated cancelling parks nobody; claims stay until a poll reads that the batch has ended."""
    workspace.import_people(2)
    for number in range(1, 4):
        api.script_fault("never_ends")
        workspace.run_command("submit")
        # A failed call for the cancellation changes nothing.
        if number == 1:
            api.script_fault("status", times=50, method="POST", path=CANCEL_PATH)
            workspace.run_command("cancel", number, RETRY_FOR=0.05, code=4)
            api.clear_faults()
            assert api.batches()[0]["state"] == "PENDING"
        workspace.run_command("cancel", number)
        assert workspace.state_counts() == {"claimed": 2}
        report = workspace.run_command("poll", json=True).json
        release_cancelled(workspace)
        if PROVIDER == "gemini":
            assert report["failed"] == {str(number): "cancelled by hand"}
        assert workspace.state_counts() == {"open": 2}
    assert {batch["state"] for batch in api.batches()} == {"CANCELLED"}


def test_unsent_or_ended_batch_is_cancelled_locally(workspace: Workspace, api: Engine) -> None:
    """A prepared batch ends as failed and costs nothing; a paid batch is collected instead."""
    workspace.import_people(3)
    api.script_fault("quota_batch")
    workspace.run_command("submit", code=4)
    workspace.run_command("cancel", BATCH=1)
    assert [(batch["state"], batch["cost"]) for batch in workspace.batches()] == [("failed", 0)]
    assert workspace.state_counts() == {"open": 3}

    workspace.run_command("submit")
    wait_until(lambda: api.batches()[0]["state"] == "SUCCEEDED")
    assert workspace.read_json("cancel", 2)["next"] == "askrows batch-poll"
    assert not [request for request in api.journal() if request["path"].endswith("cancel")]
    workspace.run_commands("poll", "ingest")
    workspace.run_command("cancel", 2, code=2)
    workspace.run_command("cancel", 7, code=2)
    assert workspace.state_counts() == {"tagged": 3}


def test_unclear_create_is_cancelled_or_abandoned(workspace: Workspace, api: Engine) -> None:
    """Cancelling searches the batch of a lost create first; an interrupt changes nothing."""
    workspace.import_people(3)
    api.configure(paused=True)
    api.script_fault("create_lost_reply")
    api.script_fault("status", times=50, method="GET", path=r"/batches\?")
    workspace.run_command("submit", RETRY_FOR=0.1, code=4)
    api.clear_faults()
    workspace.run_command("cancel", 1)
    assert [batch["state"] for batch in api.batches()] == ["CANCELLED"]
    workspace.run_command("poll")
    release_cancelled(workspace)
    assert workspace.state_counts() == {"open": 3}

    # The second create never reached the server.
    api.script_fault("status", times=3, method="POST", path=CREATE_PATH)
    workspace.run_command("submit", code=4)
    with workspace.start_command("cancel", 2, LIST_LAG=600) as running:
        wait_until(lambda: "checking again in 60 s" in running.read_output(), running.read_output)
        running.signal(signal.SIGINT)
        assert running.wait().code == 130
    assert (workspace.batch_states()[1], workspace.state_counts()) == ("submitting", {"claimed": 3})

    workspace.run_command("cancel", 2)
    assert (workspace.batch_states()[1], workspace.state_counts()) == ("failed", {"open": 3})
    assert len(api.batches()) == 1


@pytest.mark.parametrize("fault", ["max_tokens", "max_tokens_empty"])
def test_request_after_a_cut_answer_has_more_room(
    fault: str, workspace: Workspace, api: Engine
) -> None:
    """A row whose answer was cut at the token limit gets a higher limit; other rows do not."""
    workspace.import_people(3)
    run_chain(workspace, api, (fault, "1", None), ("error_line", "2", 13))
    run_chain(workspace, api)
    first_room = output_limits(workspace, 1)
    second_room = output_limits(workspace, 2)
    assert second_room == {
        "experts/1": 4 * first_room["experts/1"],
        "experts/2": first_room["experts/2"],
    }
    assert workspace.state_counts() == {"tagged": 3}


@pytest.mark.promise("failures")
def test_what_a_batch_did_not_come_to_is_not_charged(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """A missing line is charged to its person only if the batch ended completely."""
    usernames = served_workspace.import_people(1)
    outside_server.results = lambda _keys: b""
    outside_server.ending = "EXPIRED"
    for _ in range(2):
        served_workspace.run_commands("submit", "poll", "ingest")
    assert served_workspace.state_counts() == {"open": 1}

    outside_server.ending = "SUCCEEDED"
    outside_server.results = lambda keys: b"\n".join(
        make_line(key) for key in sort_by_row(keys)[1:]
    )
    for count, state in enumerate(("open", "parked"), 1):
        served_workspace.import_people(1, first=count)
        served_workspace.run_commands("submit", "poll", "ingest")
        assert served_workspace.state_counts() == {state: 1, "tagged": count}
    assert served_workspace.parked_reasons() == {
        usernames[0]: "it failed 2 times; last: no line in the result"
    }


def drop_result(operation: Any, _result: bytes) -> Any:
    """Return the operation of a batch without its result file."""
    operation.pop("response", None)
    operation["metadata"].pop("output", None)
    return operation


@pytest.mark.promise("failures")
@pytest.mark.parametrize(("operations", "end"), [(drop_result, "live"), (None, "batch")])
def test_an_outage_parks_nobody_and_gets_one_batch_at_a_time(
    operations: Any, end: str, served_workspace: Workspace, outside_server: Outside
) -> None:
    """After three batches without a reply, `tag` sends one and exits with 4; a reply ends this."""
    served_workspace.import_people(4)
    outside_server.ending = "EXPIRED"
    outside_server.results = lambda _keys: b""
    outside_server.operations = operations
    batch_counts = []
    for wait in (True, True, True, False, False):
        tag = served_workspace.run_command(
            "tag", mode="batch", wait=wait, yes=True, BATCH_ROWS=1, code=4
        )
        batch_counts.append(len(outside_server.batches()))
    assert batch_counts == [4, 5, 6, 7, 7]
    assert "batches ended without a reply (batch 6: expired" in tag.stderr
    assert served_workspace.state_counts() == {"open": 3, "claimed": 1}

    served_workspace.run_commands("poll", "ingest")
    outside_server.ending = "SUCCEEDED"
    outside_server.results = None
    outside_server.operations = None
    if end == "live":
        served_workspace.run_command("tag", mode="live", limit=1, yes=True)
    served_workspace.run_command("tag", mode="batch", wait=True, yes=True, BATCH_ROWS=1)
    assert served_workspace.state_counts() == {"tagged": 4}
