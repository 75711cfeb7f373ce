"""`status`, `score`, `parked` and `unpark`: what they say, that it adds up, and that reading changes nothing."""

import json
from collections.abc import Callable
from typing import Any

from tests.lab import Api, Workspace

EXPERTS = ("total", "tagged", "untagged", "no_bio", "claimed", "parked", "foreign", "refused")
BATCHES = ("prepared", "submitting", "submitted", "downloaded", "ingested", "failed")


def _status(workspace: Workspace) -> dict[str, Any]:
    """Return the document of `status --json`."""
    result = workspace.ran("status", "--json")
    document: dict[str, Any] = json.loads(result.stdout)
    assert tuple(document["experts"]) == EXPERTS
    assert tuple(document["batches"]) == BATCHES
    assert sum(document["experts"][kind] for kind in EXPERTS[1:]) == document["experts"]["total"]
    return document


def test_what_may_have_been_spent_is_not_told_as_under_way(
    workspace: Workspace, api: Api, people: Callable[..., list[str]]
) -> None:
    """A live call whose reply was lost may have cost its estimate, for ever; nothing of it is under way."""
    people(1)
    api.fault("drop", path=":generateContent")
    assert workspace.run("tag-live", CALL_TIMEOUT="2").exit_code == 0
    spent = _status(workspace)["spent"]
    assert spent["lost"] == spent["estimated"] > 0
    (line,) = [
        one for one in workspace.run("status").stdout.splitlines() if one.startswith("spent")
    ]
    assert line.endswith(f"; about ${spent['lost']:.4f} more may have been spent on lost replies")
