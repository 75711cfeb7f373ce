"""After a correction of the clock no batch is created twice, and waits last at most a minute."""

import signal
from typing import Any

import pytest

from tests.acceptance.creates import count_creates, fail_creates, living_batches, remote_names
from tests.acceptance.database import shift_recorded_times
from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace
from tests.scratch import wait_until

# Faults of a create call without a reply: the server creates no batch, or a batch.
HANGING_CREATE = "hang"
SLOW_CREATE = "create_slow_reply"
DAYS_AHEAD = 40
DAYS_BEHIND = -3


def kill_in_create(workspace: Workspace, api: Engine, fault: str) -> None:
    """Kill a `batch-submit` while its create call gets no reply."""
    fail_creates(api, fault, {"seconds": 600} if fault == SLOW_CREATE else None)
    expected = (1, 1 if fault == SLOW_CREATE else 0)
    with workspace.start_command("submit", CREATE_TIMEOUT=600) as running:
        while (count_creates(api), len(api.batches())) != expected:
            assert not running.is_finished(), running.read_output()
        running.signal(signal.SIGKILL)
        assert running.wait().code == -signal.SIGKILL


@pytest.mark.alike
@pytest.mark.parametrize("days", [DAYS_AHEAD, DAYS_BEHIND])
@pytest.mark.promise("clock")
def test_create_without_effect_is_repeated_after_a_short_wait(
    days: int, workspace: Workspace, api: Engine
) -> None:
    """The next command waits until the list must show the batch, and then sends it again."""
    workspace.import_people(2)
    kill_in_create(workspace, api, HANGING_CREATE)
    shift_recorded_times(workspace, days=days)
    submit_run = workspace.run_command("submit", CREATE_TIMEOUT=0.5, LIST_LAG=0.5)
    assert (
        "batch 1: it is still unclear whether it was created; checking again in 1 s"
        in submit_run.stderr
    )
    assert (count_creates(api), remote_names(workspace)) == (2, living_batches(api))


@pytest.mark.alike
@pytest.mark.parametrize("days", [DAYS_AHEAD, DAYS_BEHIND])
def test_batch_that_is_listed_late_is_adopted(days: int, workspace: Workspace, api: Engine) -> None:
    """An early list proves nothing, and no second batch is created, for any error of the clock."""
    workspace.import_people(2)
    api.configure(list_lag_seconds=3600)
    kill_in_create(workspace, api, SLOW_CREATE)
    shift_recorded_times(workspace, days=days)
    with workspace.start_command("submit", LIST_LAG=5) as running:
        wait_until(lambda: "checking again in" in running.read_output(), running.read_output)
        api.advance_clock(7200)
        assert running.wait().code == 0
    assert (count_creates(api), remote_names(workspace)) == (1, living_batches(api))


@pytest.mark.promise("clock")
def test_list_is_read_at_least_every_minute(workspace: Workspace, api: Engine) -> None:
    """`batch-submit` and `batch-cancel` wait at most a minute between two lists."""
    workspace.import_people(2)
    kill_in_create(workspace, api, HANGING_CREATE)
    shift_recorded_times(workspace, days=DAYS_AHEAD)
    for words in (("submit",), ("cancel", 1)):
        with workspace.start_command(*words, LIST_LAG=600) as running:
            wait_until(
                lambda: "checking again in 60 s" in running.read_output(), running.read_output
            )
            running.signal(signal.SIGINT)
            assert running.wait().code == 130
    assert (workspace.batch_states(), workspace.state_counts()) == (["submitting"], {"claimed": 2})
    workspace.run_command("cancel", 1, CREATE_TIMEOUT=0.1)
    assert workspace.state_counts() == {"open": 2}
    assert count_creates(api) == 1


@pytest.mark.promise("clock")
def test_budget_of_a_run_survives_a_change_of_the_clock(workspace: Workspace, api: Engine) -> None:
    """Batches from before and after the correction of the clock count against the budget."""
    workspace.import_people(8)
    budget = 0.65 * workspace.read_json("submit", dry=True)["estimated_cost"]
    fail_creates(api, "quota_bare", nth=2, times=9)
    options: dict[str, Any] = {"mode": "batch", "BATCH_ROWS": 2}
    workspace.run_command("tag", budget=f"{budget:.7f}", code="any", **options)
    assert workspace.batch_states() == ["submitted", "prepared"]
    shift_recorded_times(workspace, days=DAYS_AHEAD)
    api.clear_faults()
    tag_run = workspace.run_command("tag", wait=True, **options)
    assert "continuing the run of" in tag_run.stderr
    assert workspace.spending()["actual"] <= budget
    assert workspace.state_counts()["open"] >= 3
