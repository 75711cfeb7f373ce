"""Read the content of a workspace, for comparisons."""

import json
from typing import Any

from tests.lab import Workspace

TIMES = frozenset(
    {
        "at",
        "created_at",
        "uploaded_at",
        "create_sent_at",
        "create_ended_at",
        "submitted_at",
        "cancel_asked_at",
        "started_at",
        "over_at",
        "ended_at",
        "sent_at",
        "found_at",
        "cancelled_at",
        "promoted_at",
        "seconds",
    }
)


def status(workspace: Workspace) -> dict[str, Any]:
    """Return `status --json`."""
    result = workspace.ran("status", "--json")
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def findings(workspace: Workspace) -> list[dict[str, Any]]:
    """Return the findings of `doctor`."""
    document: dict[str, Any] = json.loads(workspace.run("doctor", "--json").stdout)
    finding_list: list[dict[str, Any]] = document["findings"]
    return finding_list


def people(workspace: Workspace) -> dict[str, int]:
    """Count the people by state; states without people are left out."""
    task = workspace.environ.get("ASKROWS_TASK", "experts")
    return {name: count for name, count in status(workspace)[task].items() if count}


def batches(workspace: Workspace) -> list[str]:
    """Return the state of each batch, oldest first."""
    return [row[0] for row in workspace.query("SELECT state FROM askrows_batches ORDER BY number")]


def snapshot(
    workspace: Workspace, *, ignored_columns: frozenset[str] = TIMES
) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of all tables, without times and the random id of the workspace."""
    rows_by_table = {}
    for table in workspace.tables():
        if table == "askrows_workspace":
            continue
        names = workspace.columns(table)
        rows = workspace.query(f"SELECT * FROM {table}")  # noqa: S608 - our names
        rows_by_table[table] = [
            {
                name: cell
                for name, cell in zip(names, row, strict=True)
                if name not in ignored_columns
            }
            for row in sorted(rows, key=repr)
        ]
    return rows_by_table
