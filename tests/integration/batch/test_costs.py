"""`findable costs`: what was spent by day, task, model and batch, in sums that agree with what `status` says."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests import ledger
from tests.lab import Api, Workspace

People = Callable[..., list[str]]
LIVE = ":generateContent"
KEYS = ("day", "task", "model", "batch")


def added_up(workspace: Workspace, by: str) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Return the rows of `costs --json`, and their total."""
    document = json.loads(workspace.ran("costs", "--json", BY=by).stdout)
    assert document["by"] == by
    rows = {row.pop(by): row for row in document["rows"]}
    return rows, document["total"]


@pytest.fixture
def spent(workspace: Workspace, api: Api, people: People, begun: Callable[..., None]) -> Workspace:
    """A workspace with a batch that is over, one with a duplicate, one under way, and live calls, one of them lost."""

    def prepare() -> None:
        """Spend."""
        people(14)
        for command in ("batch-submit", "batch-poll", "batch-ingest"):
            workspace.ran(command, LIMIT="4")
        api.fault("status", path=LIVE, args={"code": 500})
        workspace.ran("tag-live", LIMIT="3")
        api.configure(paused=True)
        api.fault("duplicate_batch")
        api.fault("lost_reply", path=":batchGenerateContent")
        workspace.ran("batch-submit", LIMIT="3")
        workspace.ran("batch-submit", LIMIT="2")

    begun(prepare)
    api.configure(paused=True)
    assert (
        workspace.scalar("SELECT count(*) FROM findable_creates WHERE outcome = 'duplicate'") == 1
    )
    return workspace


@pytest.mark.sampled(4, sqlite=4)
@pytest.mark.parametrize("by", KEYS)
def test_sums_agree_with_status_and_their_rows_with_the_total(spent: Workspace, by: str) -> None:
    """What is known, what may be lost, and what is under way; by whichever it is added up."""
    rows, total = added_up(spent, by)
    said = ledger.status(spent)["spent"]
    assert min(total["cost"], total["lost"], total["under_way"]) > 0
    assert total["cost"] == said["actual"]
    assert total["lost"] == said["lost"]
    assert total["lost"] + total["under_way"] == pytest.approx(said["estimated"], abs=2e-6)
    for name, amount in total.items():
        assert sum(row[name] for row in rows.values()) == pytest.approx(amount, abs=3e-6), name


def test_each_batch_has_its_line(spent: Workspace) -> None:
    """Tokens and money as the batch's account has them; a duplicate is with its batch, a lost call with its run."""
    rows, _ = added_up(spent, "batch")
    assert list(rows) == ["1", "2", "3", "4"]
    (used,) = spent.query(
        "SELECT tokens_in, tokens_out, cost FROM findable_batches WHERE number = 1"
    )
    assert (rows["1"]["tokens_in"], rows["1"]["tokens_out"]) == used[:2]
    assert rows["1"]["cost"] == pytest.approx(used[2], abs=1e-6)
    (twin,) = spent.query("SELECT estimated_cost FROM findable_creates WHERE outcome = 'duplicate'")
    assert rows["3"]["lost"] == pytest.approx(twin[0], abs=1e-6)
    assert (rows["3"]["batches"], rows["4"]["cost"], rows["4"]["lost"]) == (1, 0, 0)
    assert rows["4"]["under_way"] > 0
    assert (rows["2"]["calls"], rows["2"]["lost_calls"], rows["2"]["batches"]) == (4, 1, 0)
    assert rows["2"]["lost"] > 0
