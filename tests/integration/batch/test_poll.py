"""`batch-poll`: how long it waits, and what two processes see of one batch at moments that only a seam shows."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipeline.batch import cancel as batch_cancel
from pipeline.batch import poll as batch_poll
from pipeline.core.states import RemoteState
from pipeline.gemini.operations import RemoteBatch
from pipeline.store import batches
from tests import ledger
from tests.lab import Api, Workspace

pytestmark = pytest.mark.sampled(3)

ALWAYS = 10_000
People = Callable[..., list[str]]


def remote_names(workspace: Workspace) -> list[str]:
    """Return the remote names of the batches, oldest first."""
    return [row[0] for row in workspace.query("SELECT remote_name FROM findable_batches ORDER BY number")]


def submit(workspace: Workspace, **values: str) -> None:
    """Submit everything, and expect that it works."""
    workspace.ran("batch-submit", **values)


def poll(workspace: Workspace, *args: str, code: int = 0, **values: str) -> Any:
    """Run `batch-poll --json`, expect an exit code, and return its document."""
    result = workspace.ran("batch-poll", "--json", *args, **values, code=code)
    ledger.check(workspace)
    return json.loads(result.stdout)


def finish(api: Api) -> None:
    """Wait until the emulator has done its work, whatever it is told to say of it."""
    until = time.monotonic() + 30
    while any(batch["state"] in {"PENDING", "RUNNING"} for batch in api.batches()):
        assert time.monotonic() < until
        time.sleep(0.01)


def told(api: Api, workspace: Workspace, number: int, fault: str, *, times: int = ALWAYS, **args: str) -> None:
    """Let the API say something of one batch whenever it is looked at."""
    api.fault(fault, times=times, args=args, method="GET", path=f"/{remote_names(workspace)[number]}$")


def test_waits_grow_up_to_a_bound(workspace: Workspace, api: Api, people: People) -> None:
    """The first look is at once, then waits grow from `poll_first` to `poll_most` and stay there; one look is one."""
    people(2)
    assert "nothing to poll" in workspace.ran("batch-poll").stdout
    assert api.journal() == []
    api.configure(batch_looks=10)
    submit(workspace)
    finish(api)
    assert "1 batch not over yet" in workspace.ran("batch-poll", WAIT="0").stdout
    assert len(api.seen("GET", remote_names(workspace)[0])) == 1
    workspace.environ |= {"FINDABLE_POLL_FIRST": "5", "FINDABLE_POLL_MOST": "60"}
    waits: list[float] = []
    with workspace.open() as ws:
        ws.sleep = waits.append
        assert batch_poll.run(ws, wait=True).downloaded == [1]
    assert waits == [5, 7.5, 11.25, 16.875, 25.3125, 37.96875, 56.953125, 60]


def test_a_poll_that_sees_a_cancel_before_its_sender_does_forgives(
    workspace: Workspace, api: Api, people: People
) -> None:
    """Whose doing a cancel was is known before the API is asked: its items are charged with nothing."""
    people(2)
    api.fault("never_ends")
    submit(workspace)
    with workspace.open() as ws:
        real = ws.client.cancel_batch

        def late(name: str) -> Any:
            """Cancel, and let another command see that before the answer is read here."""
            found = real(name)
            assert "batch 1 failed (cancelled by hand)" in workspace.ran("batch-poll").output
            return found

        ws.client.cancel_batch = late
        batch_cancel.run(ws, number=1, confirm=lambda _question: True)
    assert workspace.query("SELECT charged, forgiven FROM findable_attempts") == [(0, 1), (0, 1)]


def test_a_look_that_comes_late_does_not_undo_what_another_process_saw(workspace: Workspace, people: People) -> None:
    """Of a batch that was brought home meanwhile an older answer is forgotten: its missing lines stay charged."""
    people(2)
    submit(workspace)
    with workspace.open() as ws:
        real = ws.client.get_batch

        def late(name: str) -> RemoteBatch:
            """Answer with what was true before another poll brought the batch home."""
            ws.client.get_batch = real
            old: RemoteBatch = real(name)
            assert workspace.run("batch-poll").exit_code == 0
            return replace(old, word="BATCH_STATE_RUNNING", state=RemoteState.WAITING)

        ws.client.get_batch = late
        assert batch_poll.run(ws, wait=True).downloaded == [1]
    assert workspace.scalar("SELECT remote_word FROM findable_batches") == "BATCH_STATE_SUCCEEDED"


@pytest.mark.parametrize("command", [("batch-poll", "--no-wait"), ("doctor",)])
def test_a_sender_may_record_its_create_while_another_adopts_it(
    command: tuple[str, ...], workspace: Workspace, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second process finds nothing unclear any more, and goes on."""
    people(2)
    submit(workspace)
    (name,) = remote_names(workspace)
    workspace.change("UPDATE findable_batches SET state = 'submitting', remote_name = NULL, submitted_at = NULL")
    usual = batches.name_prefixes

    def recorded_meanwhile(tx: Any, number: int) -> Any:
        """Let the sender, who stood still, record what it made, as late as can be."""
        query = "UPDATE findable_batches SET state = 'submitted', remote_name = :name WHERE state = 'submitting'"
        workspace.change(query, name=name)
        return usual(tx, number)

    with monkeypatch.context() as patch:
        patch.setattr(batches, "name_prefixes", recorded_meanwhile)
        workspace.ran(*command)
    assert remote_names(workspace) == [name]
    assert workspace.query("SELECT * FROM findable_twins") == []
