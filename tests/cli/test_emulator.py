"""The local engine as a command of its own."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2

from tests.lab import ROOT, Workspace

GENERATE = "/v1beta/models/gemini-3.5-flash-lite:generateContent"
ASKED = {
    "contents": [{"parts": [{"text": "Lawyer for water law"}]}],
    "generationConfig": {"responseSchema": {"type": "ARRAY", "items": {"type": "STRING"}}},
}


@contextlib.contextmanager
def running(data: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run the engine with limits for the length of a block; give what it says first, and its process."""
    command = [sys.executable, "-m", "jobs", "emulator", "--port", "0", "--rpm", "2"]
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("FINDABLE_")
    }
    environ = inherited | {"FINDABLE_RPD": "9", "FINDABLE_DATA": str(data)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stderr is not None
        said = ""
        while "next: " not in said:
            said += engine.stderr.readline()
        try:
            yield said, engine
        finally:
            engine.send_signal(signal.SIGINT)


def test_each_request_has_a_line_without_its_key(tmp_path: Path) -> None:
    """Time, method, path, status and milliseconds; no key in any, wherever it stood; limits hold; it ends well."""
    key = "AIza-nobody-is-to-read-this"
    with running(tmp_path) as (said, engine):
        url = re.findall(r"http://[0-9.:]+", said)[0]
        with httpx2.Client(base_url=url, trust_env=False, timeout=20) as client:
            replies = [client.post(f"{GENERATE}?key={key}", json=ASKED) for _ in range(3)]
            assert (
                client.get("/v1beta/batches/none", headers={"x-goog-api-key": key}).status_code
                == 404
            )
            assert (
                client.get("/v1beta/batches%0a/%1b[2J", headers={"x-goog-api-key": key}).status_code
                >= 400
            )
        engine.send_signal(signal.SIGINT)
        assert engine.stderr is not None
        log = engine.stderr.read()
    assert engine.returncode == 0
    assert [reply.status_code for reply in replies] == [200, 200, 429]
    assert (
        replies[2]
        .json()["error"]["details"][0]["violations"][0]["quotaId"]
        .startswith("RequestsPerMinute")
    )
    lines = [
        re.fullmatch(r"\d\d:\d\d:\d\d (\w+) (.*) (\d+|-) \d+ ms", line) for line in log.splitlines()
    ]
    found = [line.groups() for line in lines if line is not None]
    assert len(found) == len(lines) == 5
    assert found[0] == ("POST", GENERATE, "200")
    assert found[3] == ("GET", "/v1beta/batches/none", "404")
    assert key not in log
    assert "\x1b" not in log


def test_a_place_that_cannot_be_served_at_is_said_so(tmp_path: Path) -> None:
    """A taken port, another machine's address and no host: exit code 3 names it, and the disk is not to blame."""
    workspace = Workspace(tmp_path, {"FINDABLE_DATA": str(tmp_path)})
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        result = workspace.ran("emulator", "--port", port, code=3)
    assert result.stdout == ""
    assert f"error: port {port} of 127.0.0.1 cannot be used: " in result.stderr
    assert "PORT=" in result.stderr
    for host in ("192.0.2.1", "no such host"):
        stderr = workspace.ran("emulator", "--port", "0", "--host", host, code=3).stderr
        assert host in stderr
        assert "disk" not in result.stderr + stderr
