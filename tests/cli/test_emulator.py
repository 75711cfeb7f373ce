"""The local engine as a command of its own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from tests.lab import ROOT

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
