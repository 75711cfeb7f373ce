"""The local engine as a command of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2

from tests.lab import ROOT, Workspace

GENERATE = "/v1beta/models/gemini-3.5-flash-lite:generateContent"
ASKED = {
    "contents": [{"parts": [{"text": "Lawyer for water law"}]}],
    "generationConfig": {"responseSchema": {"type": "ARRAY", "items": {"type": "STRING"}}},
}


def test_limits_are_given_at_the_start(tmp_path: Path) -> None:
    """Options, or the values that make passes on, limit every model; the engine says where it serves, and ends well."""
    command = [sys.executable, "-m", "jobs", "emulator", "--port", "0", "--rpm", "2"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FINDABLE_")}
    environ = inherited | {"FINDABLE_RPD": "9", "FINDABLE_DATA": str(tmp_path)}
    with subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True) as engine:
        assert engine.stderr is not None
        said = re.search(r"http://[0-9.:]+", engine.stderr.readline())
        assert said is not None
        with httpx2.Client(base_url=said[0], headers={"x-goog-api-key": "k"}, trust_env=False, timeout=20) as client:
            assert [client.post(GENERATE, json=ASKED).status_code for _ in range(3)] == [200, 200, 429]
            [used] = client.get("/_emu/quotas").json()["used"]
        engine.send_signal(signal.SIGINT)
        engine.stderr.read()
    assert used["limits"] == {"requests_per_minute": 2, "requests_per_day": 9}
    assert engine.returncode == 0


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
        told = workspace.ran("emulator", "--port", "0", "--host", host, code=3).stderr
        assert host in told
        assert "disk" not in result.stderr + told
