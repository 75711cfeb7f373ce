"""`make batch-cancel`: what it asks the API, what it gives up, and what it leaves alone."""

import time
from collections.abc import Callable

import pytest

from pipeline.store import spending
from tests.integration.looks import CREATE, batch_row, claimed, creates, moves, remote, states
from tests.lab import Api, Workspace

People = Callable[..., list[str]]


def test_a_running_batch_is_cancelled_at_the_api_and_then_collected(
    workspace: Workspace, api: Api, people: People
) -> None:
    """The cancel is asked for and noted; the claims stay until a look says that it is over. A refused one is undone."""
    people(3)
    api.configure(paused=True)
    assert workspace.run("batch-submit").exit_code == 0
    before = batch_row(workspace)
    api.fault("status", times=50, method="POST", path=":cancel")
    workspace.ran("batch-cancel", "1", RETRY_FOR="0.05", code=4)
    assert batch_row(workspace) == before
    api.clear_faults()
    result = workspace.ran("batch-cancel", "1")
    assert "asked the API to cancel it. Next: make batch-poll" in result.stdout
    assert (states(workspace), len(claimed(workspace))) == (["submitted"], 3)
    assert batch_row(workspace)["cancel_asked_at"] is not None
    assert remote(api, alive=False)[0]["state"].endswith("CANCELLED")
    assert workspace.run("batch-poll").exit_code == 0
    assert (states(workspace), claimed(workspace)) == (["failed"], [])
    assert workspace.run("batch-submit").exit_code == 0
    assert states(workspace) == ["failed", "submitted"]


def test_a_batch_that_was_never_sent_is_given_up(workspace: Workspace, api: Api, people: People) -> None:
    """A prepared batch ends as failed, its items are free, and its upload is deleted."""
    people(3)
    api.fault("quota_batch")
    assert workspace.run("batch-submit").exit_code == 4
    result = workspace.ran("batch-cancel", BATCH="1")
    assert "3 items can be asked again" in result.stdout
    assert (states(workspace), claimed(workspace), remote(api)) == (["failed"], [], [])
    assert moves(workspace)[-1] == ("prepared", "failed")
    assert len(api.seen("DELETE", "/files/")) == 1


@pytest.mark.full
def test_an_unclear_create_that_worked_is_found_and_cancelled(workspace: Workspace, api: Api, people: People) -> None:
    """What a lost create made is not left running: it is adopted first, then cancelled."""
    people(3)
    api.configure(paused=True)
    api.fault("create_lost_reply")
    api.fault("status", times=50, method="GET", path=r"/batches\?")
    assert workspace.run("batch-submit", RETRY_FOR="0.1").exit_code == 4
    api.clear_faults()
    assert workspace.run("batch-cancel", "1").exit_code == 0
    assert batch_row(workspace)["remote_name"] == remote(api, alive=False)[0]["name"]
    assert remote(api) == []


def test_an_unclear_create_is_given_up_only_where_it_certainly_made_nothing(
    workspace: Workspace, api: Api, people: People
) -> None:
    """While the list may lag it is exit 4, and nothing is changed; read late enough, the items go back uncharged."""
    people(3)
    api.fault("status", times=3, method="POST", path=CREATE)
    assert workspace.run("batch-submit").exit_code == 4
    before = batch_row(workspace)
    result = workspace.ran("batch-cancel", "1", LIST_LAG="600", code=4)
    assert "may or may not have been created" in result.stderr
    assert (batch_row(workspace), len(claimed(workspace))) == (before, 3)
    assert workspace.run("batch-cancel", "1").exit_code == 0
    assert (states(workspace), claimed(workspace), creates(api)) == (["failed"], [], 3)
    assert workspace.scalar("SELECT count(*) FROM findable_attempts") == 0


def test_a_batch_that_is_not_to_be_seen_is_given_up_only_after_asking(
    workspace: Workspace, api: Api, people: People
) -> None:
    """Without a yes all stays as it is (exit 2); with one the batch is failed and its items are free.

    It is not known whether it was worked on, so what it may have cost still counts.
    """
    people(3)
    assert workspace.run("batch-submit").exit_code == 0
    api.fault("batch_vanishes", times=50, args={"code": 403})
    result = workspace.ran("batch-cancel", "1", code=2)
    assert "YES=1" in result.stderr
    assert (states(workspace), len(claimed(workspace))) == (["submitted"], 3)
    assert workspace.run("batch-cancel", "1", YES="1").exit_code == 0
    assert (states(workspace), claimed(workspace)) == (["failed"], [])
    estimated = workspace.scalar("SELECT estimated_cost FROM findable_batches")
    with workspace.open() as ws, ws.store.read() as tx:
        assert spending.sum_spent(tx).lost == pytest.approx(estimated)
    assert workspace.run("batch-submit", BUDGET_PER_DAY=f"{estimated * 1.2:.9f}").exit_code == 3


def test_a_batch_that_the_api_does_not_show_yet_is_not_given_up_by_doctor(
    workspace: Workspace, api: Api, people: People
) -> None:
    """It may be shown late; and the API is asked to cancel what is given up, should it be there all the same."""
    people(3)
    workspace.ran("batch-submit")
    api.fault("batch_vanishes", times=2)
    assert "it may be shown late" in workspace.ran("doctor", code=5, LIST_LAG="600", FIX="1", YES="1").stderr
    assert states(workspace) == ["submitted"]
    workspace.ran("doctor", FIX="1", YES="1")
    assert (states(workspace), len(api.seen("POST", ":cancel"))) == (["failed"], 1)


def test_a_batch_that_is_over_is_not_cancelled(workspace: Workspace, api: Api, people: People) -> None:
    """What was paid for is collected; of what is ingested, or was never there, it is said that nothing can be done."""
    people(3)
    assert workspace.run("batch-submit").exit_code == 0
    while not remote(api)[0]["state"].endswith("SUCCEEDED"):
        time.sleep(0.01)
    result = workspace.ran("batch-cancel", "1")
    assert "over already (succeeded). Next: make batch-poll" in result.stdout
    assert api.seen("POST", ":cancel") == []
    for command in ("batch-poll", "batch-ingest"):
        workspace.ran(command)
    result = workspace.ran("batch-cancel", "1", code=2)
    assert "batch 1 is ingested, there is nothing to cancel" in result.stderr
    workspace.ran("batch-cancel", "7", code=2)
