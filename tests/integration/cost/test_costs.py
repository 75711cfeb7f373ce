"""`findable costs`: what was spent by day, task, model and batch, in sums that agree with what `status` says."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from pipeline.cost.budget import today
from tests import ledger
from tests.lab import Api, Workspace

People = Callable[..., list[str]]
LIVE = ":generateContent"
KEYS = ("day", "task", "model", "batch")
GONE = datetime(2026, 3, 10, 6, 30, tzinfo=UTC)  # 23:30 of the day before in US/Pacific
MODEL = "gemini-3.5-flash-lite"


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
        api.fault("status", path=LIVE, args={"code": 503})
        workspace.ran("tag-live", LIMIT="3")
        api.configure(paused=True)
        api.fault("duplicate_batch")
        api.fault("lost_reply", path=":batchGenerateContent")
        workspace.ran("batch-submit", LIMIT="3")
        workspace.ran("batch-submit", LIMIT="2")

    begun(prepare)
    api.configure(paused=True)
    assert workspace.scalar("SELECT count(*) FROM findable_twins") == 1
    assert workspace.scalar("SELECT count(*) FROM findable_calls WHERE outcome = 'lost'") == 1
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


def test_each_batch_has_its_line_and_live_calls_one(spent: Workspace) -> None:
    """Tokens and money as the batch's account has them; a duplicate is with its batch, lost calls with all others."""
    rows, _ = added_up(spent, "batch")
    assert list(rows) == ["1", "2", "3", "live"]
    (used,) = spent.query("SELECT tokens_in, tokens_out, cost FROM findable_batches WHERE number = 1")
    assert (rows["1"]["tokens_in"], rows["1"]["tokens_out"]) == used[:2]
    assert rows["1"]["cost"] == pytest.approx(used[2], abs=1e-6)
    (twin,) = spent.query("SELECT estimated_cost FROM findable_twins")
    assert rows["2"]["lost"] == pytest.approx(twin[0], abs=1e-6)
    assert (rows["2"]["batches"], rows["3"]["cost"], rows["3"]["lost"]) == (1, 0, 0)
    assert rows["3"]["under_way"] > 0
    calls = spent.scalar("SELECT count(*) FROM findable_calls")
    assert (rows["live"]["calls"], rows["live"]["lost_calls"], rows["live"]["batches"]) == (calls, 1, 0)
    assert rows["live"]["lost"] > 0


def test_a_day_is_that_of_daily_budgets(spent: Workspace) -> None:
    """What was sent late on a Californian evening is that day's, whatever the day in UTC; and no other's budget."""
    here = today(datetime.now(UTC)).isoformat()
    assert list(added_up(spent, "day")[0]) == [here]
    kept = {"at": str(GONE) if spent.on_postgresql else GONE.strftime("%Y-%m-%d %H:%M:%S.%f")}
    spent.change("UPDATE findable_batches SET create_sent_at = :at WHERE number = 1", **kept)
    spent.change("UPDATE findable_calls SET asked_at = :at, day = '2026-03-09' WHERE outcome = 'answered'", **kept)
    rows, total = added_up(spent, "day")
    assert list(rows) == [str(date(2026, 3, 9)), here]
    assert rows["2026-03-09"]["cost"] == total["cost"] > 0
    assert (rows[here]["cost"], rows[here]["lost"]) == (0, total["lost"])


@pytest.mark.full
def test_tasks_and_models_are_told_apart(spent: Workspace, tmp_path: Path) -> None:
    """Each with its own lines."""
    assert list(added_up(spent, "task")[0]) == ["experts"]
    assert list(added_up(spent, "model")[0]) == [MODEL]
    text = tmp_path / "passages.jsonl"
    text.write_text(json.dumps({"id": "a", "text": "Bells are cast of bronze."}) + "\n")
    spent.ran("import-passages", str(text))
    spent.ran("tag-live", TASK="passages", SKIP_PILOT="1", GATES="concepts=1..16", MODEL="gemini-2.5-flash-lite")
    assert list(added_up(spent, "task")[0]) == ["experts", "passages"]
    by_model = added_up(spent, "model")[0]
    assert list(by_model) == ["gemini-2.5-flash-lite", MODEL]
    assert by_model["gemini-2.5-flash-lite"]["calls"] == 1


@pytest.mark.full
def test_what_was_spent_before_calls_were_marked_is_there(spent: Workspace) -> None:
    """Workspaces of the first version have live answers without marks: the sum is that of `status` all the same."""
    spent.change("DELETE FROM findable_calls")
    rows, total = added_up(spent, "day")
    assert "earlier" in rows
    assert total["cost"] == ledger.status(spent)["spent"]["actual"]


@pytest.mark.full
def test_people_read_a_table_with_what_is_sure_and_what_is_not(spent: Workspace) -> None:
    """Estimates are marked, the last line is of all; where nothing was sent, that is said."""
    heading, *lines = spent.ran("costs").stdout.splitlines()
    assert heading.startswith("day (US/Pacific)")
    day, everything = lines
    assert everything.split()[0] == "all"
    assert day.split()[1:] == everything.split()[1:]
    assert everything.count("~$") == 2
    assert spent.run("costs", "--by", "week").exit_code == 2


def test_nothing_spent_is_said(workspace: Workspace, people: People) -> None:
    """In a workspace where nothing was sent there is no table."""
    people(1)
    assert workspace.ran("costs").stdout == "nothing was sent yet. Next: make preflight\n"
    assert added_up(workspace, "day")[0] == {}


def test_a_batch_that_was_never_sent_has_cost_nothing(workspace: Workspace, api: Api, people: People) -> None:
    """Prepared and cancelled: no line, and nothing in the sums."""
    people(2)
    api.fault("status", times=50, path="/upload", args={"code": 503})
    workspace.run("batch-submit", RETRY_FOR="0.1")
    assert added_up(workspace, "batch")[0] == {}
    workspace.ran("batch-cancel", "1", "--yes")
    assert added_up(workspace, "batch")[0] == {}
