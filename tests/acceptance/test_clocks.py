"""A wrong clock that is set right: no batch is made twice, and no wait is longer than a minute."""

import signal
from typing import Any

import pytest

from tests.acceptance.database import clock_was_wrong
from tests.acceptance.engine import Engine
from tests.acceptance.product import Workspace
from tests.acceptance.test_exactly_once import (
    count_creates,
    fail_creates,
    living_batches,
    remote_names,
)

# Faults of a create call that gets no reply: nothing is made, or a batch is.
MAKES_NOTHING = "hang"
MAKES_BATCH = "create_slow_reply"
AHEAD = 40
BEHIND = -3


def kill_in_create(workspace: Workspace, api: Engine, word: str) -> None:
    """Kill a `batch-submit` while its create call gets no reply."""
    fail_creates(api, word, {"seconds": 600} if word == MAKES_BATCH else None)
    expected = (1, 1 if word == MAKES_BATCH else 0)
    with workspace.start("submit", CREATE_TIMEOUT=600) as running:
        while (count_creates(api), len(api.batches())) != expected:
            assert not running.has_ended(), running.so_far()
        running.signal(signal.SIGKILL)
        assert running.wait().code == -signal.SIGKILL


@pytest.mark.parametrize("days", [AHEAD, BEHIND])
def test_a_create_that_made_nothing_is_sent_again_after_a_short_wait(
    days: int, workspace: Workspace, api: Engine
) -> None:
    """The next command looks until the list must show the create, and then sends it once more."""
    workspace.people(2)
    kill_in_create(workspace, api, MAKES_NOTHING)
    clock_was_wrong(workspace, days=days)
    submit_run = workspace.do("submit", CREATE_TIMEOUT=0.5, LIST_LAG=0.5)
    assert "batch 1: the create call stays unclear; looking again in 1 s" in submit_run.err
    assert (count_creates(api), remote_names(workspace)) == (2, living_batches(api))


@pytest.mark.parametrize("days", [AHEAD, BEHIND])
def test_a_create_that_is_listed_late_is_adopted_whatever_the_clock_was(
    days: int, workspace: Workspace, api: Engine
) -> None:
    """A list that was read too early proves nothing, and no second batch is made."""
    workspace.people(2)
    api.configure(list_lag_seconds=3600)
    kill_in_create(workspace, api, MAKES_BATCH)
    clock_was_wrong(workspace, days=days)
    with workspace.start("submit", LIST_LAG=5) as running:
        while "looking again in" not in running.so_far():
            assert not running.has_ended(), running.so_far()
        api.advance(7200)
        assert running.wait().code == 0
    assert (count_creates(api), remote_names(workspace)) == (1, living_batches(api))


def test_the_list_is_read_at_least_every_minute(workspace: Workspace, api: Engine) -> None:
    """However late the list may be, a wait is no longer than a minute; `batch-cancel` waits alike."""
    workspace.people(2)
    kill_in_create(workspace, api, MAKES_NOTHING)
    clock_was_wrong(workspace, days=AHEAD)
    for words in (("submit",), ("cancel", 1)):
        with workspace.start(*words, LIST_LAG=600) as running:
            while "looking again in 60 s" not in running.so_far():
                assert not running.has_ended(), running.so_far()
            running.signal(signal.SIGINT)
            assert running.wait().code == 130
    assert (workspace.batch_states(), workspace.states()) == (["submitting"], {"claimed": 2})
    workspace.do("cancel", 1, CREATE_TIMEOUT=0.1)
    assert workspace.states() == {"untagged": 2}
    assert count_creates(api) == 1


def test_the_budget_of_a_tag_that_began_ahead_of_time_holds(
    workspace: Workspace, api: Engine
) -> None:
    """What is sent after the clock was set right counts like what was sent before."""
    workspace.people(8)
    budget = 0.65 * workspace.read("submit", dry=True)["estimated_cost"]
    fail_creates(api, "quota_bare", nth=2, times=9)
    how: dict[str, Any] = {"mode": "batch", "BATCH_ROWS": 2}
    workspace.do("tag", budget=f"{budget:.7f}", code="any", **how)
    assert workspace.batch_states() == ["submitted", "prepared"]
    clock_was_wrong(workspace, days=AHEAD)
    api.clear_faults()
    tag_run = workspace.do("tag", wait=True, **how)
    assert "going on since" in tag_run.err
    assert workspace.spent()["actual"] <= budget
    assert workspace.states()["untagged"] >= 3
