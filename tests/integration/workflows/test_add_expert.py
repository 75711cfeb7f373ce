"""`add-expert`: one person tagged at once, whatever Gemini says and whenever the process dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.lab import ROOT, Api, Workspace

SNAKE: dict[str, Any] = {
    "username": "ada",
    "first_name": "Ada",
    "last_name": "Byron",
    "job_title": "Beekeeper",
    "bio": "Keeps bees and teaches water law.",
    "hourly_rate": 95,
    "profile_url": "https://example.org/ada",
}
LONGEST_S = 200.0
LIVE = ":generateContent"


@pytest.fixture
def file(tmp_path: Path) -> Callable[[Any], str]:
    """A function that writes a JSON document and returns its path."""

    def write(document: Any) -> str:
        """Write it."""
        path = tmp_path / "new.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        return str(path)

    return write


@pytest.mark.full
def test_interrupted_while_the_answer_is_on_its_way(workspace: Workspace, api: Api, file: Callable[[Any], str]) -> None:
    """Ctrl-C lets the call finish: the person is tagged, nothing is due, and no later person is added.

    It may take longer here than the five seconds that it gets, however busy the machine is.
    """
    api.configure(latencies={LIVE: {"kind": "constant", "seconds": 3600}})
    environ = {**os.environ, **workspace.environ, "PYTHONPATH": str(ROOT), "FINDABLE_CALL_TIMEOUT": f"{LONGEST_S}"}
    patient = (
        "from pipeline.batch import ask; from pipeline.workflows import add_expert; from jobs.cli import main; "
        f"ask.GRACE_S = add_expert.ANSWERED_S = {LONGEST_S}; main()"
    )
    command = [sys.executable, "-c", patient, "add-expert", file([SNAKE, {"username": "later"}])]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + LONGEST_S
        while not api.seen("POST", LIVE):
            assert time.monotonic() < until, "it never asked"
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        api.advance(3600)
        _, said = process.communicate(timeout=LONGEST_S)
    assert process.returncode == 130
    assert "ada is saved with tags; no later person was added" in said
    assert workspace.query("SELECT username, tags IS NULL FROM experts") == [("ada", 0)]
    document = json.loads(workspace.run("status", "--json").stdout)
    assert (document["due"], document["experts"]["tagged"]) == ([], 1)
