"""`show ITEM=` and `log` tell of every request: how it was asked, as it went over the wire, and what came of it."""

import json
from typing import Any

import pytest

from pipeline.store import erase
from tests.integration import reviews
from tests.lab import KEY, ON_POSTGRESQL, Api, Workspace

LIVE = ":generateContent"


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
    told = asked.ran("show", "--item", "2", "--raw").stdout
    place = f'"{quote["quote"]}" (characters {quote["start"]} to {quote["end"]})'
    assert all(part in told for part in (place, "batch 1 line 2", wire["request"], wire["replies"][0]))


@pytest.mark.full
def test_a_live_call_is_shown_as_it_went_over_the_wire(api: Api, workspace: Workspace) -> None:
    """The whole request and the reply, also one that was refused, and where none came that; of a trial nothing."""
    reviews.put(workspace)
    api.fault("safety", path=LIVE, times=2)
    api.fault("status", path=LIVE, times=2, args={"code": 503})
    workspace.ran("tag-live", CONCURRENCY="1")
    report = document(workspace, "try", "--item", "2")
    request = report["items"][0]["request"]
    trial, *asked = document(workspace, "show", "--item", "2", "--raw")["requests"]
    assert trial["wire"]["no_reply"].partition(";")[0] == "of a trial or a comparison no text is kept"
    wires = [one["wire"] for item in "1234" for one in document(workspace, "show", "--item", item, "--raw")["requests"]]
    kept = [one for one in wires if one["request"]]
    replies = [json.loads(reply) for one in kept for reply in one["replies"]]
    assert len(kept) == len(wires) - 1 == len(api.seen("POST", ":generateContent")) - 1
    assert sum("usageMetadata" in reply for reply in replies) == len(kept) - 2
    assert [one["no_reply"] for one in kept if not one["replies"]] == ["no reply that could be read came: lost"] * 2
    assert json.loads(asked[0]["wire"]["request"]) == request
    assert request["generationConfig"]["responseSchema"] == report["schema"]
    assert workspace.scalar("SELECT count(*) FROM findable_wire_forms") == 1
    assert KEY not in str(wires)
    shown = workspace.ran("show", "--item", "2", "--raw").stdout
    assert asked[0]["wire"]["replies"][0] in shown
    assert "live to try or compare, " in shown
    assert asked[0]["wire"]["replies"][0] in workspace.ran("log", "--raw").stdout


def test_what_is_not_there_any_more_is_said(asked: Workspace) -> None:
    """An answer of an older text is stale, and what was cleaned or forgotten is gone, of live calls too."""
    reviews.put(asked, **{"2": "It hums all night. One star."}, **{"5": "Nice."}).ran("tag-live")
    found = document(asked, "show", "--item", "2")
    assert (found["stale"], found["changed_at"] is None) == (True, False)
    assert "of what it was before" in asked.ran("show", "--item", "2").stdout
    assert "would remove" in asked.ran("clean", KEEP_DAYS="0", DRY="1").stdout
    assert "the text of 1 live call" in asked.ran("clean", KEEP_DAYS="0").stdout
    assert document(asked, "clean", KEEP_DAYS="0")["live_texts"] == 0
    for item, why in (("1", "the batch's files were removed by `make clean`"), ("5", "only what came of it is kept")):
        (request,) = document(asked, "show", "--item", item, "--raw")["requests"]
        assert request["wire"]["no_reply"].partition(":")[0] == why
    with asked.open() as ws, ws.store.write() as tx:
        erase.erase_item(tx, reviews.NAME, "3", words=[])
        ws.task.remove_row(tx, "3")
    assert "there is no row '3'" in asked.ran("show", "--item", "3", code=2).output
    forgotten = [one for one in document(asked, "log", "-n", "9") if one["forgotten"]]
    assert [(one["batch"], one["answer"]) for one in forgotten] == [(1, None)]


def moment(minute: int) -> str:
    """Return a moment after all that was asked, as the database keeps it."""
    return f"2999-01-01 00:{minute:02}:00{'+00:00' if ON_POSTGRESQL else '.000000'}"
