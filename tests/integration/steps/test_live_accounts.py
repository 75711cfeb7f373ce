"""What live calls leave in the database is checked, mended, carried along and let go like all else."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import ledger, postgresql
from tests.lab import URL, Api, Workspace

LIVE = ":generateContent"
TABLES = ("findable_calls", "findable_runs", "findable_usage", "findable_due")
DEAD = "elsewhere-not-a-host|boot|1|0.00|abcd"
DYING = "UPDATE findable_calls SET outcome = NULL, ended_at = NULL, owner = :owner WHERE outcome = 'lost'"


def ran(workspace: Workspace, *args: str, **values: str) -> str:
    """Run a command that must work, and return what it printed."""
    result = workspace.run(*args, **values)
    assert result.exit_code == 0, result.output
    return result.output


def rows(workspace: Workspace) -> dict[str, list[tuple[Any, ...]]]:
    """Return what stands in the tables of live calls, in some fixed order."""
    return {name: sorted(workspace.query(f"SELECT * FROM {name}"), key=repr) for name in TABLES}  # noqa: S608 - ours


def findings(workspace: Workspace, *args: str, code: int = 0) -> list[dict[str, Any]]:
    """Return what doctor finds."""
    result = workspace.run("doctor", "--json", *args)
    assert result.exit_code == code, result.output
    found: list[dict[str, Any]] = json.loads(result.stdout)["findings"]
    return found


@pytest.fixture
def asked(workspace: Workspace, people: Callable[..., list[str]], api: Api, tmp_path: Path) -> Workspace:
    """A workspace with live calls that ended in many ways: answered, refused, throttled, lost; and somebody due."""
    people(5)
    api.fault("safety", times=2, path=LIVE)
    ran(workspace, "tag-live", LIMIT="1")
    api.fault("quota_minute", path=LIVE, args={"delay": "0.01s"})
    api.fault("status", path=LIVE, args={"code": 503})
    ran(workspace, "tag-live")
    (tmp_path / "new.json").write_text(json.dumps({"username": "new", "bio": "I mend clocks."}))
    api.fault("status", times=2, path=LIVE, args={"code": 503})
    ran(workspace, "add-expert", str(tmp_path / "new.json"))
    ends = {row[0] for row in workspace.query("SELECT outcome FROM findable_calls")}
    assert ends == {"answered", "refused", "throttled", "lost"}
    assert workspace.scalar("SELECT count(*) FROM findable_due WHERE ended_at IS NULL") == 1
    ledger.check(workspace)
    return workspace


def test_nothing_is_found_where_nothing_is_wrong(asked: Workspace) -> None:
    """However calls ended, they agree with answers and days."""
    assert findings(asked) == []


def test_calls_of_dead_processes_are_ended(asked: Workspace) -> None:
    """Found, no contradiction, and lost with FIX=1; so they are by the next run, without doctor."""
    asked.change(DYING, owner=DEAD)
    asked.change("UPDATE findable_calls SET asked_at = '2026-01-01 00:00:00.000000' WHERE outcome IS NULL")
    (found,) = findings(asked)
    assert (found["check"], found["contradiction"], found["mended"]) == ("calls", False, "")
    assert "live calls are under way in processes that are gone" in found["said"]
    (mended,) = findings(asked, "--fix")
    assert "as lost" in mended["mended"]
    assert findings(asked) == []
    asked.change(DYING, owner=DEAD)
    asked.run("tag-live")
    assert asked.scalar("SELECT count(*) FROM findable_calls WHERE outcome IS NULL") == 0


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE findable_usage SET requests = requests + 1",
        "UPDATE findable_usage SET tokens_in = tokens_in - 1",
        "DELETE FROM findable_usage",
        "INSERT INTO findable_usage (model, day, requests, tokens_in) VALUES ('other', '2026-01-01', 3, 30)",
    ],
    ids=["more", "fewer tokens", "none", "another day"],
)
def test_a_day_that_does_not_add_up_is_counted_anew(asked: Workspace, change: str) -> None:
    """It would let a run end too early or ask too much: a contradiction, which FIX=1 mends from the calls."""
    right = asked.query("SELECT requests, tokens_in FROM findable_usage WHERE requests > 0")
    asked.change(change)
    (found,) = findings(asked, code=5)
    assert (found["check"], found["contradiction"]) == ("usage", True)
    findings(asked, "--fix")
    assert asked.query("SELECT requests, tokens_in FROM findable_usage WHERE requests > 0") == right
    assert findings(asked) == []


def test_an_answer_that_was_paid_for_and_is_gone_is_found(asked: Workspace) -> None:
    """A call that was answered has an answer."""
    asked.change("DELETE FROM findable_answers WHERE item_id = '3'")
    assert "calls" in {found["check"] for found in findings(asked, code=5)}


def test_a_copy_has_the_calls_too(asked: Workspace, tmp_path: Path) -> None:
    """Marks, runs, days and who is due are as they were, after backup and restore."""
    before = rows(asked)
    assert all(before.values())
    ran(asked, "backup", str(tmp_path / "copy"))
    other = Workspace(tmp_path / "other", asked.environ | {"FINDABLE_DATA": str(tmp_path / "other")})
    ran(other, "restore", str(tmp_path / "copy"))
    assert rows(other) == before
    assert findings(other) == []


@pytest.mark.sqlite_only("begins with an SQLite file")
def test_a_database_that_moves_takes_the_calls_along(asked: Workspace, tmp_path: Path) -> None:
    """Into PostgreSQL, where the day's count and the numbers of the marks go on."""
    before = ledger.snapshot(asked)
    to = postgresql.database_of(tmp_path / "moved")
    ran(asked, "move", to)
    there = Workspace(asked.data, asked.environ | {URL: to})
    after = ledger.snapshot(there)
    for name in TABLES:
        assert len(after[name]) == len(before[name]) > 0
    used = there.scalar("SELECT sum(requests) FROM findable_usage")
    ran(there, "tag-live")
    assert there.scalar("SELECT sum(requests) FROM findable_usage") == used + 1
    assert ledger.people(there) == {"total": 6, "tagged": 5, "parked": 1}
    assert [row[0] for row in there.query("SELECT outcome FROM findable_due")] == ["tagged"]
    assert findings(there) == []


def test_the_local_engines_calls_are_taken_back(tmp_path: Path) -> None:
    """After rebind nothing is left that counts for a day, a budget or a run."""
    local = Workspace(tmp_path / "local", {"FINDABLE_DATA": str(tmp_path / "local")})
    (tmp_path / "people.csv").write_text("Username,Bio\na,I keep bees.\nb,I teach water law.\n")
    ran(local, "import", str(tmp_path / "people.csv"))
    ran(local, "tag-live")
    assert local.scalar("SELECT count(*) FROM findable_calls") == 2
    assert ledger.people(local) == {"total": 2, "tagged": 2}
    ran(local, "rebind", "--yes")
    assert [local.scalar(f"SELECT count(*) FROM {name}") for name in TABLES] == [0] * len(TABLES)  # noqa: S608 - ours
    assert ledger.people(local) == {"total": 2, "untagged": 2}


def test_who_is_forgotten_leaves_calls_that_lead_nowhere(asked: Workspace) -> None:
    """No row of the calls leads to them, and the day's count is as it was."""
    used = asked.query("SELECT * FROM findable_usage")
    ran(asked, "forget", "new", "--yes")
    assert asked.query("SELECT item_id FROM findable_due") == []
    assert asked.query("SELECT id FROM findable_calls WHERE item_id = '6'") == []
    assert asked.query("SELECT * FROM findable_usage") == used
    assert findings(asked) == []
