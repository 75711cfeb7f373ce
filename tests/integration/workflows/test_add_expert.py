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
from click.testing import CliRunner

from jobs.cli import main
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


def _counts(workspace: Workspace) -> dict[str, int]:
    """Return the people of `status --json`."""
    counts: dict[str, int] = json.loads(workspace.run("status", "--json").stdout)["experts"]
    return counts


def test_names_are_known_as_at_an_import(workspace: Workspace, file: Callable[[Any], str]) -> None:
    """Aliases, a whole name and a username that is made are taken and said; a guess is an error with the MAP= line.

    What MAP= settled holds for the next document with these names, and for no other.
    """
    ada = {"Full name": "Ada Byron", "Titel": "Beekeeper", "Firma": "Hives", "Shoe size": 38, "tags": ["no"]}
    said = workspace.ran("add-expert", file(ada)).stderr
    assert "columns by other names: Titel → Job Title, Firma → Company" in said
    assert "Full name: split into First Name and Last Name, such as 'Ada Byron' as 'Ada' and 'Byron'" in said
    assert "not read: Shoe size, tags" in said
    row = "SELECT first_name, last_name, job_title, company, bio FROM experts"
    assert workspace.query(row) == [("Ada", "Byron", "Beekeeper", "Hives", None)]
    assert workspace.scalar("SELECT username FROM experts").startswith("ada-byron-")
    bea: dict[str, Any] = {"Vorname": "Bea", "Kurzportrait": "Keeps bees and teaches water law. " * 5}
    path = file({"username": "bea", **bea})
    refused = workspace.ran("add-expert", path, code=2).stderr
    assert "'Kurzportrait' may be Bio" in refused
    assert f'next: make add-expert EXPERT={path} MAP="bio=Kurzportrait"' in refused
    assert workspace.scalar("SELECT count(*) FROM experts") == 1
    workspace.ran("add-expert", path, "--map", "bio=Kurzportrait")
    assert "as at the last import of such a file" in workspace.ran("add-expert", file({"username": "b", **bea})).stderr
    assert workspace.scalar("SELECT count(*) FROM experts WHERE first_name = 'Bea' AND bio <> ''") == 2
    piped = CliRunner().invoke(main, ["add-expert", "-"], env=workspace.environ, input=json.dumps(bea))
    assert 'make add-expert EXPERT=- MAP="bio=Kurzportrait"' in piped.stderr


@pytest.mark.full
def test_interrupted_while_the_answer_is_on_its_way(workspace: Workspace, api: Api, file: Callable[[Any], str]) -> None:
    """Ctrl-C lets the call finish: the person is tagged, nothing is due, and no later person is added.

    It may take longer here than the five seconds that it gets, however busy the machine is.
    """
    api.configure(latencies={LIVE: {"kind": "constant", "seconds": 3600}})
    environ = {**os.environ, **workspace.environ, "PYTHONPATH": str(ROOT), "FINDABLE_CALL_TIMEOUT": f"{LONGEST_S}"}
    patient = f"from pipeline.live import runner; runner.GRACE_S = {LONGEST_S}; from jobs.cli import main; main()"
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
    assert workspace.query("SELECT item_id FROM findable_due") == []
    assert _counts(workspace)["tagged"] == 1
