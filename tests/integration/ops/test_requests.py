"""`show ITEM=` and `log` tell of every request: how it was asked, as it went over the wire, and what came of it."""

import json
from typing import Any

import pytest

from tests.integration import reviews
from tests.lab import Workspace


def document(workspace: Workspace, *words: str, **values: str) -> Any:
    """Run a command with --json, and return its document."""
    return json.loads(workspace.ran(*words, "--json", **values).stdout)


@pytest.fixture(name="asked")
def _asked(workspace: Workspace) -> Workspace:
    """A workspace whose task of reviews was asked by batch."""
    reviews.put(workspace).ran_each(*reviews.BY_BATCH)
    return workspace


def test_an_item_is_shown_with_its_requests_as_they_went_over_the_wire(asked: Workspace) -> None:
    """Row, state, answer with the quotation's place, batch and line, tokens; request and reply are the sealed bytes."""
    found = document(asked, "show", "--item", "2", "--raw")
    (answer,), (request,) = found["answers"], found["requests"]
    text = found["columns"]["text"]
    assert (found["state"], found["stale"], text) == ("answered", False, reviews.TEXTS["2"])
    quote = answer["answer"]["quote"]
    assert text[quote["start"] : quote["end"]] == quote["quote"]
    assert (request["batch"], request["line"], request["outcome"]) == (1, 2, "answered")
    assert request["tokens_in"] == answer["tokens_in"] > 0
    assert found["cost"] == request["cost"] == answer["cost"]
    sent = asked.data / asked.scalar("SELECT request_file FROM findable_batches")
    wire = request["wire"]
    assert wire["request"] in sent.read_text(encoding="utf-8").splitlines()
    (reply,) = map(json.loads, wire["replies"])
    assert (json.loads(wire["request"])["key"], reply["key"]) == ("reviews/2", "reviews/2")
    stdout = asked.ran("show", "--item", "2", "--raw").stdout
    place = f'"{quote["quote"]}" (characters {quote["start"]} to {quote["end"]})'
    assert all(
        part in stdout for part in (place, "batch 1 line 2", wire["request"], wire["replies"][0])
    )
