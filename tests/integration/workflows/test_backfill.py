"""`make passages-backfill`: confirmed once a pilot has passed, in a window, in turns that may each be the last."""

import json
from typing import Any

import pytest

from tests.integration.many_passages import (
    backfill,
    check,
    put,
    sent,
)
from tests.lab import Api, Workspace

SKIP: dict[str, Any] = {"SKIP_PILOT": "1"}


@pytest.mark.full
def test_while_others_succeed_what_a_batch_held_that_failed_is_sent_again(workspace: Workspace, api: Api) -> None:
    """One of three fails: it is told, and the same command comes to the end."""
    put(workspace, 9)
    api.fault("batch_fails", nth=2, times=1)
    assert backfill(workspace, BATCH_ROWS="3", **SKIP)["submitted"] == [1, 2, 3]
    told = workspace.run("passages-backfill", "--wait", "--yes", "--json", **SKIP)
    done = json.loads(told.stdout)
    assert (told.exit_code, len(done["failed"]), done["is_over"], done["parked"]) == (0, 1, True, 0), told.output
    assert "failed at the API" in told.stderr
    assert sent(api) == 4
    assert check(workspace)


@pytest.mark.full
def test_a_batch_that_failed_meanwhile_lets_a_turn_send_nothing(workspace: Workspace, api: Api) -> None:
    """Also where no command waits: the turn that sees the failure tells it, and the next one sends."""
    put(workspace, 4)
    api.fault("batch_fails", times=1)
    assert backfill(workspace, **SKIP)["submitted"] == [1]
    for _ in range(200):
        turn = workspace.run("passages-backfill", "--yes", "--json", **SKIP)
        if json.loads(turn.stdout)["failed"]:
            break
    assert (turn.exit_code, sent(api), json.loads(turn.stdout)["left"]) == (4, 1, 4)
    assert backfill(workspace, "--wait", **SKIP)["is_over"]


@pytest.mark.full
def test_a_batch_that_cannot_be_looked_at_is_not_asked_for_in_a_circle(workspace: Workspace, api: Api) -> None:
    """The others are waited for with pauses between the looks; exit code 4 at the end for the one that is left."""
    put(workspace, 6)
    api.configure(batch_looks=12)
    assert backfill(workspace, BATCH_ROWS="3", **SKIP)["submitted"] == [1, 2]
    name = workspace.scalar("SELECT remote_name FROM findable_batches WHERE number = 1")
    api.fault("status", times=10_000, args={"code": 400, "message": "bad"}, method="GET", path=f"{name}$")
    done = backfill(workspace, "--wait", code=4, BATCH_ROWS="3", **SKIP)
    assert (done["ingested"], done["under_way"]) == ({"2": 3}, 3)
    assert len(api.seen("GET", name)) <= 4
