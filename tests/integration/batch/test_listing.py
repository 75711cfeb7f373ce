"""`batches`: the list as people and programs read it; and the local engine's single look."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import ledger
from tests.delivery import deliver, prepare, put_people, result, workspace_at
from tests.lab import Api, Workspace


def listed(workspace: Workspace) -> list[dict[str, Any]]:
    """Return `batches --json`."""
    ran = workspace.ran("batches", "--json")
    rows: list[dict[str, Any]] = json.loads(ran.stdout)
    return rows


@pytest.mark.full
def test_every_batch_is_listed_as_it_stands(workspace: Workspace, api: Api, people: Callable[..., list[str]]) -> None:
    """Nothing at first; then number, state, name, rows, cost and reason of each, oldest first, estimates marked."""
    people(6)
    assert "make batch-submit" in workspace.run("batches").stdout
    assert listed(workspace) == []
    api.fault("batch_fails", nth=1)
    api.fault("never_ends", nth=2)
    assert workspace.run("batch-submit", BATCH_ROWS="2").exit_code == 0
    while [batch["state"] for batch in api.batches()["batches"]] != ["FAILED", "PENDING", "SUCCEEDED"]:
        time.sleep(0.01)
    assert workspace.run("batch-poll", "--no-wait").exit_code == 0
    assert workspace.run("batch-ingest").exit_code == 0
    rows = listed(workspace)
    assert [row["number"] for row in rows] == [1, 2, 3]
    assert [row["state"] for row in rows] == ["failed", "submitted", "ingested"]
    assert [row["requests"] for row in rows] == [2, 2, 2]
    assert [row["cost_is_actual"] for row in rows] == [False, False, True]
    assert all(row["cost"] > 0 for row in rows)
    assert rows[0]["reason"].startswith("failed: 13")
    names = [row["remote_name"] for row in rows]
    table = workspace.run("batches").stdout.splitlines()
    for number, name, line in zip((1, 2, 3), names, table[1:], strict=True):
        assert line.split()[0] == str(number)
        assert name in line
    assert ["~" in line for line in table[1:]] == [True, True, False]
    cells = [dict(zip(table[0].split("\t"), line.split("\t"), strict=True)) for line in table[1:]]
    assert [row["took"].endswith("…") for row in cells] == [False, True, False]
    assert all(
        row["begun"][:13] == one["created_at"][:13].replace("T", " ") for row, one in zip(cells, rows, strict=True)
    )


def test_actual_cost_replaces_the_estimate(tmp_path: Path) -> None:
    """What was never sent costs nothing once it is given up; after ingest it is the tokens that were used."""
    workspace = workspace_at(tmp_path / "data")
    put_people(workspace, 2)
    prepare(workspace)
    assert listed(workspace)[0]["cost"] > 0
    assert workspace.run("batch-cancel", "1").exit_code == 0
    assert [(row["state"], row["cost"]) for row in listed(workspace)] == [("failed", 0)]
    deliver(workspace, result(prepare(workspace)), word="BATCH_STATE_EXPIRED", why="expired")
    estimated = listed(workspace)[1]["cost"]
    assert workspace.run("batch-ingest").exit_code == 0
    row = listed(workspace)[1]
    assert (row["cost_is_actual"], row["cost"]) == (True, pytest.approx(2 * (100 * 0.15 + 25 * 1.25) / 1e6))
    assert row["cost"] != estimated


@pytest.mark.full
def test_a_single_look_lets_the_local_engine_work(tmp_path: Path) -> None:
    """On the local backend `--no-wait` gives the engine, which lives in this process, a few seconds."""
    workspace = Workspace(tmp_path / "data", {"FINDABLE_DATA": str(tmp_path / "data")})
    put_people(workspace, 3)
    assert workspace.run("batch-submit").exit_code == 0
    ran = workspace.ran("batch-poll", "--json", WAIT="0")
    assert json.loads(ran.stdout)["downloaded"] == [1]
    assert workspace.run("batch-ingest").exit_code == 0
    ledger.check(workspace)
    assert ledger.people(workspace) == {"total": 3, "tagged": 3}
