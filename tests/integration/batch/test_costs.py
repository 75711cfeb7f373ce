"""`askrows costs` prints the cost by day, task, model and batch; its sums agree with `status`."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests import ledger
from tests.lab import Api, Workspace

People = Callable[..., list[str]]
LIVE = ":generateContent"
KEYS = ("day", "task", "model", "batch")


def read_costs(
    workspace: Workspace, grouping: str
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the rows of `costs --json`, and their total."""
    document = json.loads(workspace.ran("costs", "--json", BY=grouping).stdout)
    assert document["by"] == grouping
    rows = {row.pop(grouping): row for row in document["rows"]}
    return rows, document["total"]


@pytest.fixture
def costly_workspace(
    workspace: Workspace, api: Api, people: People, begun: Callable[..., None]
) -> Workspace:
    """Prepare a finished, a duplicate and a running batch, and a lost live reply."""

    def prepare() -> None:
        """Spend money in each way."""
        people(14)
        for command in ("batch-submit", "batch-poll", "batch-ingest"):
            workspace.ran(command, LIMIT="4")
        api.script_fault("status", path=LIVE, args={"code": 500})
        workspace.ran("tag-live", LIMIT="3")
        api.configure(paused=True)
        api.script_fault("duplicate_batch")
        api.script_fault("lost_reply", path=":batchGenerateContent")
        workspace.ran("batch-submit", LIMIT="3")
        workspace.ran("batch-submit", LIMIT="2")

    begun(prepare)
    api.configure(paused=True)
    assert workspace.scalar("SELECT count(*) FROM askrows_creates WHERE outcome = 'duplicate'") == 1
    return workspace


@pytest.mark.full
@pytest.mark.parametrize("grouping", KEYS)
def test_sums_agree_with_status_and_their_rows_with_the_total(
    costly_workspace: Workspace, grouping: str
) -> None:
    """Known, possibly lost and running cost agree with `status` for every grouping."""
    rows, total = read_costs(costly_workspace, grouping)
    status = ledger.status(costly_workspace)["spent"]

    assert min(total["cost"], total["lost"], total["under_way"]) > 0
    assert total["cost"] == status["actual"]
    assert total["lost"] == status["lost"]
    assert total["lost"] + total["under_way"] == pytest.approx(status["estimated"], abs=2e-6)

    for name, amount in total.items():
        assert sum(row[name] for row in rows.values()) == pytest.approx(amount, abs=3e-6), name
