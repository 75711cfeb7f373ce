"""Test `batch-move`: a batch that does not run is asked in another mode, once."""

from collections import Counter
from collections.abc import Callable

import pytest

from tests.acceptance.engine import CANCEL_PATH, LIVE_CALL, MANY_TIMES, Engine
from tests.acceptance.product import Workspace
from tests.acceptance.steps import Fate
from tests.outside.server import Outside

PEOPLE_COUNT = 6
KILLED = -9
KILL_COUNT = 10
# Gets after which a batch shows its end.
LOOKS = 4


def never_runs(api: Engine) -> None:
    """Script a batch that waits until it is cancelled."""
    api.script_fault("never_ends")


def succeeds_anyway(api: Engine) -> None:
    """Script a batch that ignores the cancel and succeeds."""
    api.configure(batch_looks=LOOKS)
    api.script_fault("wrong_shape", times=MANY_TIMES, path=CANCEL_PATH, args={"document": {}})


def expires_in_part(api: Engine) -> None:
    """Script a batch that ignores the cancel and expires with half of its answers."""
    api.configure(batch_looks=LOOKS)
    api.script_fault("batch_expires", args={"partial": 0.5})
    api.script_fault("wrong_shape", times=MANY_TIMES, path=CANCEL_PATH, args={"document": {}})


def runs_for_hours(api: Engine) -> None:
    """Script a batch that runs until it is cancelled."""
    api.script_fault("never_ends", args={"state": "RUNNING"})


# Each server with the number of rows that the cancelled batch answers.
SERVERS: dict[str, tuple[Callable[[Engine], None], int]] = {
    "never runs": (never_runs, 0),
    "succeeds in spite of the cancel": (succeeds_anyway, PEOPLE_COUNT),
    "expires with a partial file": (expires_in_part, PEOPLE_COUNT // 2),
    "runs for 30 hours": (runs_for_hours, 0),
}
each_server = pytest.mark.parametrize(("script", "kept"), SERVERS.values(), ids=SERVERS)


def check_asked_once(workspace: Workspace, api: Engine, *, kept: int, lost_calls: int = 0) -> None:
    """Assert that each row is answered once, and that nothing was asked twice.

    Args:
        kept: Rows that the cancelled batch answered.
        lost_calls: Live calls that a kill may have cut.
    """
    assert workspace.state_counts() == {"tagged": PEOPLE_COUNT}
    answered_rows = [
        row["row"] for row in workspace.logged_requests() if row["outcome"] == "answered"
    ]
    assert len(answered_rows) == len(set(answered_rows)) == PEOPLE_COUNT
    assert len(api.creates()) == 1
    calls = Counter(
        str(request["json"].get("contents") or request["json"]["messages"])
        for request in api.journal()
        # A killed process may send a request in part, which nobody answers.
        if request["path"].endswith(LIVE_CALL) and request["json"] is not None
    )
    assert len(calls) == PEOPLE_COUNT - kept
    assert calls.total() - len(calls) <= lost_calls


@each_server
def test_killed_move_is_continued(
    workspace: Workspace, api: Engine, script: Callable[[Engine], None], kept: int
) -> None:
    """After a kill at each durable step in turn, the same command continues."""
    workspace.import_people(PEOPLE_COUNT)
    script(api)
    workspace.run_command("submit")

    killed_calls = 0
    for number in range(KILL_COUNT):
        fate = Fate(2 * number + 1, ("before", "after")[number % 2])
        process = workspace.try_command("batch_move", 1, to="flex", fate=fate, CONCURRENCY=1)
        assert process.code in {0, KILLED}, process
        killed_calls += process.code == KILLED

    assert killed_calls > KILL_COUNT // 2
    workspace.run_command("batch_move", 1, to="flex", CONCURRENCY=1)
    check_asked_once(workspace, api, kept=kept, lost_calls=killed_calls)


def test_open_rows_of_a_killed_move_are_asked_once(workspace: Workspace, api: Engine) -> None:
    """Other commands ask the open rows in their own mode; then the move has nothing to ask."""
    workspace.import_people(PEOPLE_COUNT)
    never_runs(api)
    workspace.run_command("submit")
    stop_move_after_its_cancel(workspace, api)
    workspace.run_commands("poll", "ingest")
    assert workspace.state_counts() == {"open": PEOPLE_COUNT}

    commands = [workspace.start_command("work", once=True, only="submit") for _ in range(2)]
    commands.append(workspace.start_command("batch_move", 1, to="batch"))
    assert [command.wait().code for command in commands] == [0, 0, 0]
    workspace.run_commands("poll", "ingest")
    workspace.run_command("batch_move", 1, to="flex")
    assert workspace.state_counts() == {"tagged": PEOPLE_COUNT}
    sent_keys = [line["key"] for create in api.creates()[1:] for line in create["lines"]]
    assert len(sent_keys) == len(set(sent_keys)) == PEOPLE_COUNT
    assert {batch["mode"] for batch in workspace.batches()} == {"batch"}


def stop_move_after_its_cancel(workspace: Workspace, api: Engine) -> None:
    """Kill a move as soon as the API has its cancel."""
    for step in range(1, 100):
        process = workspace.try_command(
            "batch_move", 1, to="flex", fate=Fate(step, "after"), POLL_FIRST=30
        )
        assert process.code == KILLED, process
        if any(call["path"].endswith("cancel") for call in api.journal()):
            return
    raise AssertionError("the move sent no cancel")


@pytest.mark.promise("move")
def test_unconfirmed_or_unaffordable_move_changes_nothing(
    workspace: Workspace, api: Engine
) -> None:
    """Both costs are printed before, and a budget or a person can refuse them."""
    workspace.import_people(PEOPLE_COUNT)
    never_runs(api)
    workspace.run_command("submit")
    estimate = workspace.read_json("batch_move", 1, to="live", dry=True)
    assert estimate["other_mode_usd"] == pytest.approx(2 * estimate["cancelled_usd"])

    refused = workspace.run_command("batch_move", 1, to="live", code=2, CONFIRM_ABOVE=0)
    assert "asking its 6 rows by live costs up to" in refused.stderr

    for options in ({"budget": 0}, {"BUDGET": "0"}):
        workspace.run_command("batch_move", 1, to="live", code=3, **options)
    workspace.run_command("batch_move", 1, to="live", budget=0, dry=True)
    workspace.run_command("batch_move", 1, to="live", budget="-1", code=2)

    budget = f"{estimate['cancelled_usd'] * 2:.9f}"
    workspace.run_command("batch_move", 1, to="live", code=3, BUDGET_PER_DAY=budget)

    assert not [call for call in api.journal() if call["path"].endswith("cancel")]
    assert workspace.state_counts() == {"claimed": PEOPLE_COUNT}


@pytest.mark.alike
def test_batch_that_cannot_be_moved_is_not_changed(workspace: Workspace, api: Engine) -> None:
    """The message names the state of the batch and the next command."""
    workspace.import_people(2)
    assert "there is no batch 1" in workspace.run_command("batch_move", 1, code=2).stderr
    api.script_fault("quota_batch")
    workspace.run_command("submit", code=4)
    assert "is prepared" in workspace.run_command("batch_move", 1, code=2).stderr

    api.script_fault("create_lost_reply")
    fault = {"code": 503, "message": "not now"}
    api.script_fault("status", times=MANY_TIMES, method="GET", path=r"/batches(\?|$)", args=fault)
    workspace.run_command("submit", code=4, RETRY_FOR=0.05)
    assert workspace.batch_states() == ["submitting"]
    assert "is submitting" in workspace.run_command("batch_move", 1, code=2).stderr
    api.clear_faults()
    workspace.run_command("submit")

    api.script_fault("batch_vanishes", times=2)
    workspace.run_command("batch_move", 1, code=3)
    assert workspace.state_counts() == {"claimed": 2}

    api.clear_faults()
    workspace.run_command("poll")
    assert "is downloaded" in workspace.run_command("batch_move", 1, code=2).stderr
    workspace.run_command("ingest")
    assert "is ingested" in workspace.run_command("batch_move", 1, code=2).stderr

    workspace.import_people(1, first=2)
    workspace.run_command("tag", mode="live")
    assert "consists of live calls" in workspace.run_command("batch_move", 2, code=2).stderr
    assert workspace.state_counts() == {"tagged": 3}


@pytest.mark.promise("move")
def test_rows_can_be_moved_to_another_batch(workspace: Workspace, api: Engine) -> None:
    """The other rows are sent in a new batch, and a repeated command has nothing to do."""
    workspace.import_people(PEOPLE_COUNT)
    expires_in_part(api)
    workspace.run_command("submit")
    report = workspace.read_json("batch_move", 1, to="batch")
    assert (report["kept"], report["submitted"]) == (PEOPLE_COUNT // 2, [2])
    workspace.run_command("batch_move", 1, to="batch")
    api.clear_faults()
    workspace.run_commands("poll", "ingest")
    assert workspace.state_counts() == {"tagged": PEOPLE_COUNT}
    sent_keys = [line["key"] for create in api.creates() for line in create["lines"]]
    assert len(sent_keys) == PEOPLE_COUNT + PEOPLE_COUNT // 2


def test_cancelled_batch_that_succeeds_later_is_told_and_counted(
    workspace: Workspace, outside_server: Outside
) -> None:
    """For two days after its end a poll looks at it; its cost counts in the budget of the day."""
    workspace.url = outside_server.url
    workspace.import_people(2)
    outside_server.pending_s = 1000
    workspace.run_command("submit")
    workspace.run_command("batch_move", 1, to="flex")
    spending = workspace.spending()
    outside_server.kept.rows("UPDATE batches SET over = 'SUCCEEDED'")

    process = workspace.run_command("poll")
    assert "succeeded after it was cancelled" in process.stderr
    late_cost = workspace.spending()["lost"] - spending["lost"]
    assert late_cost > 0
    workspace.run_command("poll")
    assert workspace.spending()["lost"] == spending["lost"] + late_cost

    workspace.import_people(1, first=2)
    budget = f"{sum(spending.values()) + late_cost / 2:.9f}"
    over_budget = workspace.run_command("tag", mode="live", BUDGET_PER_DAY=budget)
    assert "does not cover another request" in over_budget.stderr
