"""What must hold in a workspace's database at any moment, and what it holds, for comparisons."""

import json
from typing import Any

from tests.lab import Workspace

OUTCOMES = ("answered", "refused", "invalid", "missing")
TIMES = frozenset(
    {
        *("at", "created_at", "uploaded_at", "create_sent_at", "create_ended_at", "submitted_at", "cancel_asked_at"),
        *("started_at", "over_at", "ended_at", "sent_at", "found_at", "cancelled_at", "promoted_at", "seconds"),
    }
)


def check(workspace: Workspace) -> None:
    """Hold the accounts of a workspace against one another."""
    _check_batches(workspace)
    _check_equals(workspace)
    _check_people(workspace)


def _check_batches(workspace: Workspace) -> None:
    """Every ingested batch accounts for each request once, and no batch that is over holds a claim."""
    columns = ", ".join(OUTCOMES)
    for number, requests, *counts in workspace.query(
        f"SELECT number, requests, {columns} FROM findable_batches "  # noqa: S608 - our names
        "WHERE state = 'ingested' AND way <> 'trial'"
    ):
        assert sum(counts) == requests, f"batch {number}: {counts} do not add up to {requests}"
        answers = "SELECT count(*) FROM findable_answers WHERE batch = :number"
        attempts = "SELECT outcome, count(*) FROM findable_attempts WHERE batch = :number GROUP BY 1"
        rows = {"answered": workspace.scalar(answers, number=number), **dict(workspace.query(attempts, number=number))}
        assert {name: count for name, count in rows.items() if count} == {
            name: count for name, count in zip(OUTCOMES, counts, strict=True) if count
        }
    left = (
        "SELECT count(*) FROM findable_asks a JOIN findable_batches b ON b.number = a.batch "
        "WHERE a.state = 'claimed' AND b.state IN ('ingested', 'failed')"
    )
    assert workspace.scalar(left) == 0, "a batch that is over holds claims"


def _check_equals(workspace: Workspace) -> None:
    """Of the rows that ask the same one is asked at a time; no ask is without what came of it."""
    twice = (
        "SELECT input_hash FROM findable_asks WHERE state = 'claimed' "
        "GROUP BY task, extractor, input_hash HAVING count(*) > 1"
    )
    assert workspace.query(twice) == [], "two claims ask the same"
    bare = (
        "SELECT item_id FROM findable_asks a WHERE state = 'answered' AND NOT EXISTS (SELECT 1 FROM findable_answers g "
        "WHERE g.task = a.task AND g.item_id = a.item_id AND g.extractor = a.extractor)"
    )
    assert workspace.query(bare) == [], "an ask is answered without an answer"


def _check_people(workspace: Workspace) -> None:
    """Each person is in exactly one of five states, and of the models' answers to each one at most is applied."""
    people = status(workspace)[_subject(workspace)]
    total = people.pop("total")
    assert sum(people.values()) == total, people
    of_models = "SELECT item_id FROM findable_answers WHERE applied AND extractor <> 'person'"
    twice = f"{of_models} GROUP BY task, item_id HAVING count(*) > 1"
    assert workspace.query(twice) == []
    claims = "SELECT item_id FROM findable_asks WHERE state = 'claimed' GROUP BY task, item_id HAVING count(*) > 1"
    assert workspace.query(claims) == []


def status(workspace: Workspace) -> dict[str, Any]:
    """Return `status --json`."""
    result = workspace.ran("status", "--json")
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def findings(workspace: Workspace) -> list[dict[str, Any]]:
    """Return what `doctor` finds."""
    document: dict[str, Any] = json.loads(workspace.run("doctor", "--json").stdout)
    found: list[dict[str, Any]] = document["findings"]
    return found


def people(workspace: Workspace) -> dict[str, int]:
    """Return how many people are in each state; states without people are left out."""
    return {name: count for name, count in status(workspace)[_subject(workspace)].items() if count}


def _subject(workspace: Workspace) -> str:
    """Return the task that the workspace's commands are about."""
    return workspace.environ.get("FINDABLE_TASK", "experts")


def batches(workspace: Workspace) -> list[str]:
    """Return the state of each batch, oldest first."""
    return [row[0] for row in workspace.query("SELECT state FROM findable_batches ORDER BY number")]


def snapshot(workspace: Workspace, *, without: frozenset[str] = TIMES) -> dict[str, list[dict[str, Any]]]:
    """Return all that the database holds, table by table, without times and the workspace's random id."""
    found = {}
    for table in workspace.tables():
        if table == "findable_workspace":
            continue
        names = workspace.columns(table)
        rows = workspace.query(f"SELECT * FROM {table}")  # noqa: S608 - our names
        found[table] = [
            {name: cell for name, cell in zip(names, row, strict=True) if name not in without}
            for row in sorted(rows, key=repr)
        ]
    return found
