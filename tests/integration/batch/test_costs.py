"""`findable costs` prints the cost by day, task, model and batch; its sums agree with `status`."""

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
    assert (
        workspace.scalar("SELECT count(*) FROM findable_creates WHERE outcome = 'duplicate'") == 1
    )
    return workspace


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


def test_each_batch_has_its_line(costly_workspace: Workspace) -> None:
    """Each batch has its tokens and cost, with its duplicates; a lost call belongs to its run."""
    rows, _ = read_costs(costly_workspace, "batch")
    assert list(rows) == ["1", "2", "3", "4"]

    (batch,) = costly_workspace.query(
        "SELECT tokens_in, tokens_out, cost FROM findable_batches WHERE number = 1"
    )
    assert (rows["1"]["tokens_in"], rows["1"]["tokens_out"]) == batch[:2]
    assert rows["1"]["cost"] == pytest.approx(batch[2], abs=1e-6)

    # The cost of a duplicate belongs to its batch.
    (duplicate,) = costly_workspace.query(
        "SELECT estimated_cost FROM findable_creates WHERE outcome = 'duplicate'"
    )
    assert rows["3"]["lost"] == pytest.approx(duplicate[0], abs=1e-6)
    assert (rows["3"]["batches"], rows["4"]["cost"], rows["4"]["lost"]) == (1, 0, 0)
    assert rows["4"]["under_way"] > 0
    assert (rows["2"]["calls"], rows["2"]["lost_calls"], rows["2"]["batches"]) == (4, 1, 0)
    assert rows["2"]["lost"] > 0
