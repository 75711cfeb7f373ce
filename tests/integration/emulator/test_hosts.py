"""Hosts on one state that die, and the one that comes after them."""

import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emulator.server import Server
from tests.integration.emulator.caller import LONGEST_S, Caller, by_key, request_file
from tests.lab import ROOT

HOST = """
import socket, sys
from pathlib import Path
from emulator.server import serve
listening = socket.create_server(("127.0.0.1", 0), backlog=256)
serve(Path(sys.argv[1]), listening, ready=lambda url: print(url, flush=True), log=lambda _line: None)
"""


def host_process(root: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a host as its own process and return it and its URL."""
    command = [sys.executable, "-c", HOST, str(root)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def progress(caller: Caller, name: str) -> int:
    """Return how many requests of a batch are answered."""
    stats = caller.get(f"/v1/{name}")["metadata"]["batchStats"]
    return int(stats.get("successfulRequestCount", 0))


def test_a_batch_of_a_host_that_was_killed_is_answered_by_the_next(tmp_path: Path) -> None:
    """Killed in the middle of it, and again: the third host answers all, once, and no half of a file is left."""
    for _ in range(2):
        process, url = host_process(tmp_path)
        try:
            with Caller(url) as caller:
                listed = caller.get("/v1/batches?pageSize=1").get("operations")
                name = listed[0]["name"] if listed else caller.create(request_file(9_000))
                deadline = time.monotonic() + LONGEST_S
                while not progress(caller, name):
                    assert time.monotonic() < deadline
        finally:
            process.kill()
            process.communicate()
    with Server(tmp_path) as server, Caller(server.url) as caller:
        operation = caller.wait(name)
        assert operation["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"
        assert by_key(caller.results(operation)).keys() == {
            f"k/{number}" for number in range(9_000)
        }
        state = caller.get(f"/v1/{operation['metadata']['inputConfig']['fileName']}")[
            "name"
        ].removeprefix("files/")
    left = {path.name for path in (tmp_path / "local-engine-files").iterdir()}
    assert left == {f"file-{state}", f"results-{name.removeprefix('batches/')}"}


def test_a_state_of_another_version_is_refused(tmp_path: Path) -> None:
    """A file that another version wrote is not touched."""
    with sqlite3.connect(tmp_path / "local-engine.sqlite") as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(RuntimeError, match="of another version: remove "):
        Server(tmp_path)
