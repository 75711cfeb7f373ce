"""Several hosts on one state, hosts that die, and hosts that come back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx2
import pytest

from emulator.server import start
from tests.integration.emulator.caller import Caller, by_key, documents, request_file

HOST = """
import sys
from pathlib import Path
from emulator.server import serve
settings = {"chunk_lines": 1, "quotas": {"*": {"requests_per_day": 4}}}
serve(Path(sys.argv[1]), settings=settings, ready=lambda url: print(url, flush=True))
"""
_LONGEST_S = 20.0


def host_process(root: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a host as its own process, one commit for each request, and return it and its URL."""
    command = [sys.executable, "-c", HOST, str(root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path.cwd())
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def over(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for a process and return its exit code and what it wrote to standard error."""
    _, said = process.communicate(timeout=_LONGEST_S)
    return process.returncode, said


def progress(caller: Caller, name: str) -> int:
    """Return how many requests of a batch are answered."""
    stats = caller.get(f"/v1/{name}")["metadata"]["batchStats"]
    return int(stats.get("successfulRequestCount", 0))


def test_a_host_in_the_foreground_ends_cleanly_on_a_signal(tmp_path: Path) -> None:
    """Terminated, it exits with 0, without a word on standard error."""
    process, url = host_process(tmp_path)
    try:
        with Caller(url) as caller:
            caller.get("/v1/models")
        process.send_signal(signal.SIGTERM)
        assert over(process) == (0, "")
    finally:
        process.kill()


def test_two_hosts_share_one_state(tmp_path: Path) -> None:
    """What one host made the other sees; a batch that both could work on is answered once."""
    with start(tmp_path) as first, start(tmp_path) as second, Caller(first.url) as one, Caller(second.url) as two:
        names = [caller.create(request_file(60))["name"] for caller in (one, two, one, two)]
        for name in names:
            lines = two.results(one.wait(name))
            assert sorted(document["key"] for document in documents(lines)) == sorted(by_key(lines))
            assert len(by_key(lines)) == 60


@pytest.mark.full
def test_a_living_hosts_lease_is_respected(tmp_path: Path) -> None:
    """A batch that a living process holds is left alone until the lease is over; a dead host's is taken at once."""
    with start(tmp_path, settings={"paused": True}) as server, Caller(server.url) as caller:
        name = caller.create(request_file(3))["name"]
        database = server.world.database
        held = "UPDATE batches SET state = 'RUNNING', host = 'other', host_pid = ?, lease_until = ?"
        database.change(held, (os.getpid(), time.time() + 3600))
        caller.settings(paused=False)
        look_until = time.monotonic() + 0.3
        while time.monotonic() < look_until:
            assert progress(caller, name) == 0
        database.change(held, (os.getpid(), time.time() - 1))
        assert caller.wait(name)["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"
        caller.settings(paused=True)
        name = caller.create(request_file(3))["name"]
        with subprocess.Popen([sys.executable, "-c", ""]) as dead:
            dead.wait()
        database.change(f"{held} WHERE state = 'PENDING'", (dead.pid, time.time() + 3600))
        caller.settings(paused=False)
        assert caller.wait(name)["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"


@pytest.mark.full
def test_a_stop_waits_for_no_hanging_call(tmp_path: Path) -> None:
    """An engine with a call that hangs stops all the same, and answers nobody any more."""
    server = start(tmp_path)
    with Caller(server.url) as caller:
        caller.script("hang")
        with pytest.raises(Exception, match="timed out"):
            caller.http.get("/v1/files", timeout=0.2)
        server.stop()
        with pytest.raises(httpx2.ConnectError):
            caller.http.get("/v1/models")


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    """A file that a newer engine wrote is not touched."""
    with start(tmp_path) as server:
        server.world.database.change("PRAGMA user_version = 99")
    with pytest.raises(RuntimeError, match="has version 99"):
        start(tmp_path)
