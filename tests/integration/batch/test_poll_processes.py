"""`batch-poll` and `batch-ingest` as processes: interrupted at any wait, two at once, killed in the middle."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import ledger
from tests.delivery import deliver, error, prepare, put_people, result, workspace_at
from tests.lab import ROOT, Api, Workspace

pytestmark = pytest.mark.sampled(3)

ALWAYS = 10_000
ENDS_WITHIN_S = 5.0  # a second on a quiet machine; the waits that end here are of half a minute
DEADLINE_S = 60.0

# a command that dies right before its n-th commit, as `kill -9` would have it
DYING = """
import os, signal, sys
from sqlalchemy import Engine, event
left = [int(sys.argv.pop(1))]
def count(connection):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
event.listen(Engine, "commit", count)
from jobs.cli import main
main()
"""

People = Callable[..., list[str]]
Process = subprocess.Popen[str]


@pytest.fixture
def start(workspace: Workspace) -> Callable[..., Process]:
    """A function that starts a command of the workspace as a process of its own."""
    return lambda *args, **values: _start(workspace, "-m", "jobs", *args, **values)


def _start(workspace: Workspace, *args: str, **values: str) -> Process:
    """Start Python on this workspace."""
    settings = {f"FINDABLE_{name}": value for name, value in values.items()}
    environ = {**os.environ, **workspace.environ, **settings, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, *args],
        env=environ,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(condition: Callable[[], object]) -> None:
    """Look until something holds."""
    until = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.02)


def test_two_polls_at_once_bring_a_batch_home_once(
    workspace: Workspace, api: Api, people: People, start: Callable[..., Process]
) -> None:
    """Both see it through and say the same, and the database is that of one."""
    people(20)
    api.configure(batch_looks=6)
    assert workspace.run("batch-submit", BATCH_ROWS="5").exit_code == 0
    polls = [start("batch-poll") for _ in range(2)]
    said = [poll.communicate(timeout=DEADLINE_S) for poll in polls]
    assert [poll.returncode for poll in polls] == [0, 0], said
    assert [out.startswith("4 batches downloaded") for out, _ in said] == [True, True], said
    assert ledger.batches(workspace) == ["downloaded"] * 4
    moves = "SELECT name, count(*) FROM findable_events WHERE new = 'downloaded' GROUP BY name"
    assert workspace.query(moves) == [(str(number), 1) for number in range(1, 5)]
    assert workspace.run("batch-ingest").exit_code == 0
    ledger.check(workspace)
    assert ledger.people(workspace) == {"total": 20, "tagged": 20}


def test_a_poll_that_waits_blocks_nobody(
    workspace: Workspace, api: Api, people: People, start: Callable[..., Process]
) -> None:
    """While one command waits for a batch, another ingests, submits and reads."""
    people(2)
    assert workspace.run("batch-submit").exit_code == 0
    assert workspace.run("batch-poll").exit_code == 0
    with workspace.open() as ws, ws.store.write() as tx:
        from pipeline.experts import table

        table.insert_person(tx, "late", {"bio": "I mend clocks."})
    api.fault("never_ends")
    assert workspace.run("batch-submit").exit_code == 0
    poll = start("batch-poll")
    seen = len(api.seen("GET", "/batches/"))
    wait_for(lambda: len(api.seen("GET", "/batches/")) > seen + 1)
    assert workspace.run("batch-ingest").exit_code == 0
    assert ledger.people(workspace) == {"total": 3, "tagged": 2, "claimed": 1}
    assert workspace.run("batch-cancel", "2").exit_code == 0
    out, said = poll.communicate(timeout=DEADLINE_S)
    assert poll.returncode == 0, said
    assert "batch 2 failed (cancelled by hand)" in out


def test_a_poll_that_sees_a_cancel_before_its_sender_does_forgives(
    workspace: Workspace, api: Api, people: People, start: Callable[..., Process]
) -> None:
    """Whose doing a cancel was is known before the API is asked: its items are charged with nothing."""
    people(2)
    api.fault("never_ends")
    assert workspace.run("batch-submit").exit_code == 0
    api.fault("slow_reply", method="POST", path=":cancel", args={"seconds": 3})
    cancel = start("batch-cancel", "1")
    wait_for(lambda: api.seen("POST", ":cancel"))
    polled = workspace.run("batch-poll")
    assert "batch 1 failed (cancelled by hand)" in polled.output
    assert cancel.poll() is None  # the reply was still under way
    assert workspace.query("SELECT charged, forgiven FROM findable_attempts") == [(0, 1), (0, 1)]
    cancel.communicate(timeout=DEADLINE_S)
    assert cancel.returncode == 0


@pytest.mark.sampled(3, sqlite=4)
@pytest.mark.parametrize("commit", [2, 3, 4, 5, 6])
def test_killed_in_the_middle_and_run_again_it_is_as_if_never_killed(tmp_path: Path, commit: int) -> None:
    """An ingest that is killed before any of its commits ends, run again, in the database of an undisturbed one."""
    killed = workspace_at(tmp_path / "killed")
    put_people(killed, 1200)
    keys = prepare(killed)
    deliver(killed, result(keys, spoil=lambda key: [error(key, 13)]) + b"%%%\n" + error("nobody/0", 3) + b"\n")
    killed.copy_to(tmp_path / "undisturbed")
    undisturbed = workspace_at(tmp_path / "undisturbed")
    assert undisturbed.run("batch-ingest").exit_code == 0
    dying = _start(killed, "-c", DYING, str(commit), "batch-ingest")
    assert dying.communicate(timeout=DEADLINE_S)
    assert dying.returncode == -signal.SIGKILL
    killed.ran("batch-ingest")
    ledger.check(killed)
    assert ledger.snapshot(killed) == ledger.snapshot(undisturbed)


def test_two_ingests_at_once_account_once(tmp_path: Path) -> None:
    """The second waits for the first, finds nothing left to do, and the account is that of one."""
    workspace = workspace_at(tmp_path / "data")
    put_people(workspace, 1200)
    deliver(workspace, result(prepare(workspace)))
    both = [_start(workspace, "-m", "jobs", "batch-ingest") for _ in range(2)]
    said = [one.communicate(timeout=DEADLINE_S) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert sum("1,200 answers of 1,200" in out for out, _ in said) >= 1
    ledger.check(workspace)
    assert ledger.people(workspace) == {"total": 1200, "tagged": 1200}
