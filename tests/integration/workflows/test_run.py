"""`make run`: whatever is due is done once, one failure does not keep the rest, and the user's command is told."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests import ledger
from tests.integration.workflows.test_tag import window_for
from tests.lab import ROOT, Api, Workspace

People = Callable[..., list[str]]
CREATE = ":batchGenerateContent"


def ran(workspace: Workspace, *, code: int = 0, **values: str) -> dict[str, Any]:
    """Run the command once and return its document."""
    result = workspace.run("run", "--json", **values)
    assert result.exit_code == code, result.output
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def without_time(line: str) -> str:
    """Return a line of a log without its date and time, which it must begin with."""
    stamp, text = line[:20], line[20:]
    assert datetime.now() - datetime.strptime(stamp, "%Y-%m-%d %H:%M:%S ") < timedelta(minutes=5)  # noqa: DTZ005, DTZ007
    return text


@pytest.mark.full
def test_a_log_has_times_and_a_person_an_answer(workspace: Workspace, people: People, api: Api) -> None:
    """What was done, and what went wrong, begin with date and time; on a terminal it is said that nothing was due."""
    people(2)
    api.fault("status", args={"code": 429, "message": "Resource exhausted"}, path=CREATE)
    failed = workspace.ran("run", code=4)
    error, hint = failed.stderr.splitlines()[-2:]
    assert without_time(error).startswith("error: ")
    assert hint.startswith("next: ")
    assert without_time(workspace.ran("run").stdout) == "2 submitted in 1 batch\n"
    while ledger.people(workspace).get("tagged") != 2:
        workspace.ran("run")
    workspace.ran("run")
    assert workspace.ran("run").output == ""
    ours, theirs = pty.openpty()
    environ = {**os.environ, **workspace.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-m", "jobs", "run"], env=environ, stdout=theirs, stderr=theirs, check=True)
    assert done.returncode == 0
    assert os.read(ours, 1000) == b"nothing was due\r\n"
    os.close(theirs)
    os.close(ours)


@pytest.mark.full
def test_who_is_parked_for_invalid_answers_is_told_and_no_failure(
    workspace: Workspace, people: People, api: Api
) -> None:
    """Two answers that do not validate: the line says that a person was parked, and all is well."""
    people(3)
    api.fault("schema_mismatch", times=2, key="tags/1$")
    lines = []
    for _ in range(100):
        result = workspace.ran("run")
        lines.append(result.stdout)
        if "parked" in lines[-1]:
            break
    assert "1 parked" in lines[-1]
    assert sum("parked" in line for line in lines) == 1


@pytest.mark.full
def test_who_waits_for_room_is_not_left_for_want_of_money(
    workspace: Workspace, people: People, api: Api, tmp_path: Path
) -> None:
    """What fills the quota of tokens by our own count is `no_room`, whether it was sent just now or before."""
    people(6)
    values = window_for(workspace, tmp_path, 0.5) | {"BUDGET_PER_DAY": "20"}
    api.configure(paused=True)
    first = ran(workspace, **values)
    for document in (first, ran(workspace, **values)):
        assert document["no_room"] == ledger.people(workspace)["untagged"] > 0
        assert "out_of_money" not in document
    assert without_time(workspace.run("run", **values).stdout) == f"{first['no_room']} wait for room at the API\n"
