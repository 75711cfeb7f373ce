"""Run the local engine with the command `emulator`."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.lab import ROOT, Workspace

GENERATE = "/v1beta/models/gemini-3.5-flash-lite:generateContent"
MAX_START_S = 60.0
REQUEST = {
    "contents": [{"parts": [{"text": "Lawyer for water law"}]}],
    "generationConfig": {"responseSchema": {"type": "ARRAY", "items": {"type": "STRING"}}},
}


@contextlib.contextmanager
def running(data: Path) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """Run the engine for a block; yield its first output and its process."""
    command = [sys.executable, "-m", "askrows", "emulator", "--port", "0"]
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith("ASKROWS_")
    }
    environ = inherited | {"ASKROWS_DATA": str(data)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environ, stderr=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stderr is not None
        # An engine that does not print its last line of the start is ended, which ends its output.
        watchdog = threading.Timer(MAX_START_S, engine.kill)
        watchdog.start()
        # The address, and the variables of a client in each of the two forms.
        startup_text = "".join(engine.stderr.readline() for _ in range(3))
        watchdog.cancel()
        try:
            yield startup_text, engine
        finally:
            engine.send_signal(signal.SIGINT)


@pytest.mark.full
def test_each_request_has_a_line_without_its_key(tmp_path: Path) -> None:
    """A log line has time, method, path, status and duration, but no key."""
    key = "AIza-nobody-is-to-read-this"
    with running(tmp_path) as (startup_text, engine):
        url = re.findall(r"http://[0-9.:]+", startup_text)[0]
        with httpx2.Client(base_url=url, trust_env=False, timeout=20) as client:
            reply = client.post(f"{GENERATE}?key={key}", json=REQUEST)
            assert reply.status_code == 200
            headers = {"x-goog-api-key": key}
            missing_batch = client.get("/v1beta/batches/none", headers=headers)
            assert missing_batch.status_code == 404
            control_characters = client.get("/v1beta/batches%0a/%1b[2J", headers=headers)
            assert control_characters.status_code >= 400
        engine.send_signal(signal.SIGINT)
        assert engine.stderr is not None
        log = engine.stderr.read()
    assert engine.returncode == 0

    line_matches = [
        re.fullmatch(r"\d\d:\d\d:\d\d (\w+) (.*) (\d+|-) \d+ ms", line) for line in log.splitlines()
    ]
    line_fields = [line.groups() for line in line_matches if line is not None]
    assert len(line_fields) == len(line_matches) == 3
    assert line_fields[0] == ("POST", GENERATE, "200")
    assert line_fields[1] == ("GET", "/v1beta/batches/none", "404")
    assert key not in log
    assert "\x1b" not in log


def test_unusable_port_or_host_is_named(tmp_path: Path) -> None:
    """A used port or an invalid host gives exit code 3 and is named in the message."""
    workspace = Workspace(tmp_path, {"ASKROWS_DATA": str(tmp_path)})
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        result = workspace.ran("emulator", "--port", port, code=3)
    assert result.stdout == ""
    assert f"error: port {port} of 127.0.0.1 cannot be used: " in result.stderr
    assert "PORT=" in result.stderr
    for host in ("192.0.2.1", "no such host"):
        stderr = workspace.ran("emulator", "--port", "0", "--host", host, code=3).stderr
        assert host in stderr
        assert "disk" not in result.stderr + stderr
