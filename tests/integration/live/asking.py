"""What the tests of live runs share: a run that must succeed, and what it left in the tables."""

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from click.testing import Result

from tests.lab import Api, Workspace

LIVE = ":generateContent"
ONE_BY_ONE = {"CONCURRENCY": "1"}  # which stays: calls go out in the order of rows

People = Callable[..., list[str]]


def tagged(workspace: Workspace, **values: str) -> dict[str, Any]:
    """Run `tag-live --json`, which must succeed, and return its document."""
    result = workspace.ran("tag-live", "--json", **values)
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def ends(workspace: Workspace) -> list[tuple[str, str | None]]:
    """Return (item, how it ended) of every call that was marked, in the order of the marks."""
    return [(row[0], row[1]) for row in workspace.query("SELECT item_id, outcome FROM findable_calls ORDER BY id")]


def attempts(workspace: Workspace) -> list[tuple[Any, ...]]:
    """Return (item, charged, reason) of every attempt that gave no answer, oldest first."""
    rows = workspace.query("SELECT item_id, charged, reason FROM findable_attempts ORDER BY id")
    return [(item, bool(charged), reason) for item, charged, reason in rows]


def asked(api: Api) -> Counter[str]:
    """Return how often each text was asked about and served."""
    return Counter(entry["text_sha256"] for entry in api.seen("POST", LIVE) if entry["status"] == 200)


def says(result: Result) -> str:
    """Return all that a command printed."""
    return result.stdout + result.stderr
