"""The local engine as a command of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.lab import ROOT, Workspace

GENERATE = "/v1beta/models/gemini-3.5-flash-lite:generateContent"
ASKED = {
    "contents": [{"parts": [{"text": "Lawyer for water law"}]}],
    "generationConfig": {"responseSchema": {"type": "ARRAY", "items": {"type": "STRING"}}},
}


@pytest.mark.parametrize(
    ("options", "environ"), [(("--rpm", "2", "--rpd", "9"), {}), ((), {"FINDABLE_RPM": "2", "FINDABLE_RPD": "9"})]
)
def test_limits_are_given_at_the_start(tmp_path: Path, options: tuple[str, ...], environ: dict[str, str]) -> None:
    """Options, or the values that make passes on, limit every model; the engine says where it serves, and ends well."""
    command = [sys.executable, "-m", "jobs", "emulator", "--port", "0", *options]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("FINDABLE_")}
    with subprocess.Popen(
        command, cwd=ROOT, env=inherited | environ | {"FINDABLE_DATA": str(tmp_path)}, stderr=subprocess.PIPE, text=True
    ) as engine:
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


def test_a_port_that_is_taken_is_said_so(tmp_path: Path) -> None:
    """Exit code 3 names the port and the value that chooses another one; the disk is not to blame."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = Workspace(tmp_path, {"FINDABLE_DATA": str(tmp_path)}).run("emulator", "--port", str(port))
    assert (result.exit_code, result.stdout) == (3, "")
    assert f"error: port {port} of 127.0.0.1 cannot be used: " in result.stderr
    assert "PORT=" in result.stderr
    assert "disk" not in result.stderr


def test_a_host_that_is_not_this_machine_is_said_so(tmp_path: Path) -> None:
    """An address of another machine, and a name that is none: exit code 3 names it."""
    for host in ("192.0.2.1", "no such host"):
        result = Workspace(tmp_path, {"FINDABLE_DATA": str(tmp_path)}).run("emulator", "--port", "0", "--host", host)
        assert (result.exit_code, host in result.stderr, "disk" in result.stderr) == (3, True, False), result.output
