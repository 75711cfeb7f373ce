"""Live runs store replies at once, continue after failures, and are completed by later commands."""

import json
import signal
from collections import Counter

import pytest

from tests.acceptance.database import connect
from tests.acceptance.engine import HANGS, LIVE_CALL, LIVE_CALL_PATH, Engine
from tests.acceptance.killing import kill_after_calls, wait_for_calls
from tests.acceptance.process import NO_FATE
from tests.acceptance.product import Workspace
from tests.acceptance.steps import Fate
from tests.outside.answers import Json, RefusedLine, fill, user_text
from tests.outside.server import Outside
from tests.scratch import wait_until


def forget_recorded_calls(workspace: Workspace) -> None:
    """Set the calls of running batches to 0, as they are before the first second is over."""
    with connect(workspace) as connection:
        connection.execute(
            "UPDATE askrows_batches SET calls = 0, day = NULL WHERE state = 'asking'"
        )


def test_failing_row_does_not_delay_other_rows(
    workspace: Workspace, outside_server: Outside
) -> None:
    """A failing row is retried for RETRY_FOR seconds and not charged; other rows are answered."""
    workspace.url = outside_server.url
    names = workspace.import_people(20)
    request_counts = Counter[bool]()

    def answer(request: Json) -> Json:
        """Refuse every request about person 3."""
        is_bad = "number 3." in user_text(request)
        request_counts[is_bad] += 1
        if is_bad:
            raise RefusedLine(14)
        return fill(request)

    # The other rows must not wait for the failing row.
    outside_server.answerer = answer

    live_report = workspace.read_json("tag_live", CONCURRENCY=2, RETRY_FOR=1)["live"]
    assert live_report["answered"] == len(names) - 1
    assert sum(live_report["failed"].values()) == 1
    assert live_report["left"] == 0
    assert request_counts[False] == len(names) - 1
    assert request_counts[True] > 1
    assert workspace.state_counts() == {"tagged": len(names) - 1, "open": 1}

    outside_server.answerer = fill
    workspace.run_command("tag_live")
    assert workspace.state_counts() == {"tagged": len(names)}


def test_row_with_an_unreadable_reply_is_charged_and_parked(
    workspace: Workspace, outside_server: Outside
) -> None:
    """A row whose replies cannot be read is charged and parked if other rows are answered."""
    workspace.url = outside_server.url
    workspace.import_people(8)
    is_bad_request = list[bool]()

    def answer(request: Json) -> Json:
        """Answer a request, and note whether it is about person 3."""
        is_bad_request.append("number 3." in user_text(request))
        return fill(request)

    def spoil(reply: Json) -> Json:
        """Replace the reply about person 3 by an empty object; others get a harmless NaN."""
        return {} if is_bad_request[-1] else {**reply, "avgLogprobs": float("nan")}

    outside_server.answerer = answer
    outside_server.replies = spoil

    workspace.run_command("tag_live", CONCURRENCY=1)
    assert workspace.state_counts() == {"tagged": 7, "parked": 1}
    # Each of its two attempts calls twice, because the service may be at fault.
    assert Counter(is_bad_request) == {True: 4, False: 7}


def test_unreadable_replies_alone_charge_no_row(
    workspace: Workspace, outside_server: Outside
) -> None:
    """If no reply can be read, the run stops, and all rows stay open."""
    workspace.url = outside_server.url
    workspace.import_people(8)
    outside_server.replies = lambda _reply: {}

    for _ in range(2):
        workspace.run_command("tag_live", CONCURRENCY=2, RETRY_FOR=1, code=4)
        assert workspace.state_counts() == {"open": 8}


@pytest.mark.parametrize("byte_count", [0, 1, 700], ids=["nothing", "a byte", "a line and a part"])
@pytest.mark.promise("live")
def test_cut_file_of_replies_is_read_up_to_its_last_complete_line(
    workspace: Workspace, api: Engine, byte_count: int
) -> None:
    """After a loss of power complete lines are ingested, and other rows are asked again."""
    workspace.import_people(6)
    api.script_fault("hang", nth=5, times=99, path=LIVE_CALL_PATH, args=HANGS)
    kill_after_calls(workspace, api, LIVE_CALL, "tag_live", call_count=5, CONCURRENCY=1)
    api.clear_faults()
    # Replies of a running live run are in this file.
    [part] = (workspace.data / "batches").glob("*-results.asked")
    file_bytes = part.read_bytes()
    remaining_bytes = file_bytes[: min(byte_count, len(file_bytes) - 2)]
    part.write_bytes(remaining_bytes)
    line_count = remaining_bytes.count(b"\n")

    workspace.run_command("ingest")
    expected_states = {"open": 6 - line_count}
    if line_count:
        expected_states["tagged"] = line_count
    assert workspace.state_counts() == expected_states

    workspace.run_command("tag_live")
    assert file_bytes.count(b"\n") == 4
    assert workspace.state_counts() == {"tagged": 6}
    assert api.count_calls("POST", LIVE_CALL) == 5 + 6 - line_count


@pytest.mark.promise("live")
def test_calls_that_a_kill_left_unrecorded_are_counted(workspace: Workspace, api: Engine) -> None:
    """The call without a reply may be paid for, and all calls use the quota of the day."""
    workspace.import_people(6)
    api.script_fault("hang", nth=3, times=99, path=LIVE_CALL_PATH, args=HANGS)
    kill_after_calls(workspace, api, LIVE_CALL, "tag_live", call_count=3, CONCURRENCY=1)
    api.clear_faults()
    # The kill came before the calls of the last second were recorded.
    forget_recorded_calls(workspace)

    workspace.run_command("ingest")
    (batch_row,) = workspace.read_json("costs", by="batch")["rows"]
    assert (batch_row["calls"], batch_row["lost_calls"]) == (3, 1)
    assert not list((workspace.data / "batches").glob("*-results.calls"))

    refused = workspace.run_unchecked("tag_live", RPD=3)
    assert (refused.code, api.count_calls("POST", LIVE_CALL)) == (4, 3), refused.stderr
    workspace.run_command("tag_live")
    assert workspace.state_counts() == {"tagged": 6}


def test_calls_without_a_connection_are_not_lost_by_a_kill(
    served_workspace: Workspace, outside_server: Outside
) -> None:
    """Only a request that was under way at a kill may be paid for."""
    served_workspace.import_people(6)
    outside_server.die()
    with served_workspace.start_command("tag_live", CONCURRENCY=3, RETRY_FOR=3600) as running:
        wait_until(lambda: "cannot connect" in running.read_output(), running.read_output)
        running.signal(signal.SIGKILL)
        running.wait()

    outside_server.come_back()
    served_workspace.run_command("ingest")
    (batch_row,) = served_workspace.read_json("costs", by="batch")["rows"]
    assert (batch_row["calls"], batch_row["lost_calls"]) == (0, 0)


def test_rollback_counts_the_replies_of_a_killed_run(workspace: Workspace, api: Engine) -> None:
    """The counts that a person confirms include the replies that are ingested before."""
    workspace.import_people(6)
    api.script_fault("hang", nth=5, times=99, path=LIVE_CALL_PATH, args=HANGS)
    kill_after_calls(workspace, api, LIVE_CALL, "tag_live", call_count=5, CONCURRENCY=1)
    api.clear_faults()

    rollback = workspace.run_command("rollback", "experts@3", yes=True)
    assert ": 4 records of 4 people, " in rollback.stderr
    assert workspace.state_counts() == {"open": 6}


@pytest.mark.promise("ending")
def test_add_ends_in_time_while_the_service_hangs(workspace: Workspace, api: Engine) -> None:
    """`add-expert` saves the person open and due if Gemini hangs; later it is tagged.

    Another process with the lock on preparing is stopped at the same time. The command ends, so
    it waits for neither.
    """
    undisturbed_workspace = Workspace(workspace.home / "peace", api.url)
    for started_workspace in (workspace, undisturbed_workspace):
        started_workspace.import_people(3)

    trail = undisturbed_workspace.try_command("submit", fate=NO_FATE).trail
    step_number = next(
        number
        for number, step in enumerate(trail, 1)
        if step.startswith("write") and "requests.jsonl" in step
    )
    person = {"username": "ada", "bio": "Keeps bees and teaches water law."}
    path = workspace.write_file("new.json", json.dumps(person))
    api.script_fault("hang", times=99, path=LIVE_CALL_PATH, args=HANGS)
    with workspace.start_command("submit", fate=Fate(step_number, event="STOP")) as stopped_process:
        assert stopped_process.wait_until_stopped()
        add_run = workspace.try_command("add", path, CALL_TIMEOUT=200)
        stopped_process.signal(signal.SIGCONT)
        stopped_process.wait()

    assert add_run.code == 0
    assert "ada is stored without an answer" in add_run.stderr
    assert [entry["name"] for entry in workspace.status()["due"]] == ["ada"]

    api.clear_faults()
    workspace.run_commands("submit", "poll", "ingest")
    assert workspace.state_counts() == {"tagged": 4}
    assert workspace.status()["due"] == []


def test_run_of_a_living_process_is_not_continued(workspace: Workspace, api: Engine) -> None:
    """A second `tag` asks other rows, and does not call the run of the first its own."""
    workspace.import_people(4)
    api.script_fault("hang", times=2, path=LIVE_CALL_PATH, args=HANGS)
    with workspace.start_command("tag_live", limit=2, CALL_TIMEOUT=200) as running:
        wait_for_calls(api, running, LIVE_CALL, 2)
        second_run = workspace.run_command("tag_live", limit=2)
        assert "continuing" not in second_run.stderr
        assert second_run.stdout.startswith("2 tagged, ")
        running.signal(signal.SIGKILL)
        running.wait()
    assert "continuing live run 1, " in workspace.run_command("tag_live").stderr
