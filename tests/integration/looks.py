"""What the tests of the steps look at afterwards: rows, claims, request files, and what really exists at the API."""

from typing import Any

from tests.lab import Api, Workspace

CREATE = r":batchGenerateContent$"


def batch_row(workspace: Workspace, number: int = 1) -> dict[str, Any]:
    """Return one batch's row by column, with its account."""
    [row] = workspace.query("SELECT * FROM findable_batches WHERE number = :number", number=number)
    return dict(zip(workspace.columns("findable_batches"), row, strict=True))


def states(workspace: Workspace) -> list[str]:
    """Return the state of every batch, in the order of their numbers."""
    return [row[0] for row in workspace.query("SELECT state FROM findable_batches ORDER BY number")]


def claimed(workspace: Workspace) -> list[str]:
    """Return the ids of the items that are claimed, in order."""
    return [
        row[0]
        for row in workspace.query(
            "SELECT item_id FROM findable_asks WHERE state = 'claimed' ORDER BY length(item_id), item_id"
        )
    ]


def tries(workspace: Workspace) -> list[str]:
    """Return what came of each create, in order."""
    return [row[0] for row in workspace.query('SELECT outcome FROM findable_creates ORDER BY batch, "try"')]


def remote(api: Api, *, alive: bool = True) -> list[dict[str, Any]]:
    """Return the batches that exist at the API, oldest first; only those that were not cancelled, or all."""
    found: list[dict[str, Any]] = api.batches()
    return [one for one in found if not (alive and one["state"].endswith("CANCELLED"))]


def creates(api: Api) -> int:
    """Return how many create calls the API has seen."""
    return len(api.seen("POST", ":batchGenerateContent"))


def uploads(api: Api) -> int:
    """Return how many uploads were begun."""
    return len([one for one in api.seen("POST", "/upload/") if "upload_id=" not in one["path"]])
