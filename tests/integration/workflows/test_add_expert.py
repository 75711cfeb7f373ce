"""`add-expert` asks about a new person within a time limit."""

import time
from dataclasses import replace
from typing import Any

import pytest
from google import genai

from pipeline.workflows.add_expert import tag_new_person
from tests.lab import Api, Workspace

ADA = b'{"username": "ada", "bio": "Keeps bees and teaches water law."}'


def test_start_of_the_client_is_not_counted_into_the_time_limit(
    workspace: Workspace, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that needs 20 s to start leaves the whole time limit to the call."""
    start_s = 0.0
    open_sdk = genai.Client

    def open_slowly(**options: Any) -> genai.Client:
        nonlocal start_s
        start_s += 20
        return open_sdk(**options)

    monkeypatch.setattr(genai, "Client", open_slowly)
    # The run looks at its deadline every second.
    api.script_fault("slow_reply", path=":generateContent", args={"seconds": 1.5})
    with workspace.open() as opened:
        ws = replace(opened, monotonic=lambda: time.monotonic() + start_s)
        added_expert = tag_new_person(ws, ADA, document_name="new.json", mapping="")

    assert start_s == 20
    assert (added_expert.problem, bool(added_expert.tags)) == ("", True)
    assert workspace.scalar("SELECT sum(calls) FROM findable_batches") == 1
    assert len([line for line in api.journal() if ":generateContent" in line["path"]]) == 1
