"""`status`, `score`, `parked` and `unpark`: their texts and sums; reading changes nothing."""

import json
from collections.abc import Callable
from typing import Any

from tests.lab import Api, Workspace

EXPERTS = ("total", "tagged", "untagged", "no_bio", "claimed", "parked", "foreign", "refused")
BATCHES = ("prepared", "submitting", "submitted", "downloaded", "ingested", "failed")


def _read_status(workspace: Workspace) -> dict[str, Any]:
    """Return the document of `status --json`."""
    result = workspace.ran("status", "--json")
    document: dict[str, Any] = json.loads(result.stdout)
    assert tuple(document["experts"]) == EXPERTS
    assert tuple(document["batches"]) == BATCHES
    assert sum(document["experts"][kind] for kind in EXPERTS[1:]) == document["experts"]["total"]
    return document


def test_cost_of_lost_replies_is_not_shown_as_running(
    workspace: Workspace, api: Api, people: Callable[..., list[str]]
) -> None:
    """A live call with a lost reply may have cost its estimate, and is not running."""
    people(1)
    api.script_fault("drop", path=":generateContent")
    assert workspace.run("tag-live", CALL_TIMEOUT="2").exit_code == 0

    # The whole estimate may be lost.
    spent = _read_status(workspace)["spent"]
    assert spent["lost"] == spent["estimated"] > 0

    (line,) = [
        text_line
        for text_line in workspace.run("status").stdout.splitlines()
        if text_line.startswith("spent")
    ]
    assert line.endswith(f"; about ${spent['lost']:.4f} more may have been spent on lost replies")
