"""What a workspace holds, for comparisons."""

import json
from typing import Any

from tests.lab import Workspace

TIMES = frozenset(
    {
        *(
            "at",
            "created_at",
            "uploaded_at",
            "create_sent_at",
            "create_ended_at",
            "submitted_at",
            "cancel_asked_at",
        ),
        *(
            "started_at",
            "over_at",
            "ended_at",
            "sent_at",
            "found_at",
            "cancelled_at",
            "promoted_at",
            "seconds",
        ),
    }
)


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


def snapshot(
    workspace: Workspace, *, without: frozenset[str] = TIMES
) -> dict[str, list[dict[str, Any]]]:
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
