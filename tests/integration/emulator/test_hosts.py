"""Hosts on a shared state that are killed, and their successor."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from askrows.emulator.server import Server
from tests.integration.emulator.caller import Caller, index_by_key, request_file
from tests.lab import ROOT
from tests.scratch import wait_until

HOST = """
import socket, sys
from pathlib import Path
from askrows.emulator.server import serve_until_signal
listening = socket.create_server(("127.0.0.1", 0), backlog=256)
serve_until_signal(
    Path(sys.argv[1]),
    listening,
    on_ready=lambda url: print(url, flush=True),
    log=lambda _line: None,
)
"""


def host_process(root: Path) -> tuple[subprocess.Popen[str], str]:
    """Start a host as a process, and return it with its URL."""
    command = [sys.executable, "-c", HOST, str(root)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def count_answered(caller: Caller, name: str) -> int:
    """Return the number of answered requests of a batch."""
    stats = caller.get(f"/v1/{name}")["metadata"]["batchStats"]
    return int(stats.get("successfulRequestCount", 0))


@pytest.mark.full
def test_a_batch_of_a_killed_host_is_answered_by_the_next(tmp_path: Path) -> None:
    """After two killed hosts the third answers every request once, and leaves no part file."""
    for _ in range(2):
        process, url = host_process(tmp_path)
        try:
            with Caller(url) as caller:
                operations = caller.get("/v1/batches?pageSize=1").get("operations")
                name = operations[0]["name"] if operations else caller.create(request_file(9_000))
                wait_until(partial(count_answered, caller, name))
        finally:
            process.kill()
            process.communicate()

    # Let a third host finish the batch.
    with Server(tmp_path) as server, Caller(server.url) as caller:
        operation = caller.wait(name)
        assert operation["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"
        keys = {f"k/{number}" for number in range(9_000)}
        assert index_by_key(caller.results(operation)).keys() == keys
        file_name = operation["metadata"]["inputConfig"]["fileName"]
        request_file_id = caller.get(f"/v1/{file_name}")["name"].removeprefix("files/")

    file_names = {path.name for path in (tmp_path / "local-engine-files").iterdir()}
    assert file_names == {f"file-{request_file_id}", f"results-{name.removeprefix('batches/')}"}
