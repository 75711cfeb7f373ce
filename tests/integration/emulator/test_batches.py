"""Batches over plain HTTP: the operation, its states and counts, validation at create, and the result file."""

import json
from typing import Any

import httpx2
import pytest

from tests.integration.emulator.caller import (
    MODEL,
    Caller,
    batch_of,
    documents,
    request_file,
    request_for,
)

CREATE = f"/v1beta/models/{MODEL}:batchGenerateContent"
GENERATE_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"


def test_a_new_batch_is_pending(caller: Caller) -> None:
    """A create answers the operation of a pending batch, with its counts as strings and no `done`."""
    caller.settings(paused=True)
    file = caller.upload(request_file(3))
    operation = caller.create_from(file, name="run1")
    metadata = operation["metadata"]
    assert "done" not in operation
    assert metadata["@type"] == GENERATE_TYPE
    assert metadata["model"] == f"models/{MODEL}"
    assert metadata["displayName"] == "run1"
    assert metadata["inputConfig"] == {"fileName": file}
    assert metadata["batchStats"] == {"requestCount": "3", "pendingRequestCount": "3"}
    assert metadata["state"] == "BATCH_STATE_PENDING"
    assert metadata["name"] == operation["name"]
    assert len(operation["name"].removeprefix("batches/")) == 36


def test_lists_go_page_by_page_newest_first(guest: Caller) -> None:
    """Five files and five batches come in three pages, newest first; without any the list is an empty object."""
    guest.settings(paused=True)  # no result joins the files
    assert guest.get("/v1/batches?pageSize=2") == {}
    files = [guest.upload(request_file(1)) for _ in range(5)]
    batches = [guest.create_from(file)["name"] for file in (files[0], *files[:4])]
    for kind, member, names in (("files", "files", files), ("batches", "operations", batches)):
        listed, token = [], ""
        for _ in range(3):
            page = guest.get(f"/v1/{kind}?pageSize=2&pageToken={token}")
            listed += [one["name"] for one in page[member]]
            token = page.get("nextPageToken", "")
        assert (listed, token) == (names[::-1], "")


def test_a_deleted_batch_is_not_found_but_its_results_are(caller: Caller) -> None:
    """A deleted batch is out of get and list; the result file stays, and what really exists can be seen."""
    operation = caller.wait(caller.create(request_file(1), name="gone")["name"])
    assert caller.http.delete(f"/v1/{operation['name']}").json() == {}
    assert caller.refused(f"/v1/{operation['name']}", None, method="GET")["code"] == 404
    assert caller.get("/v1/batches?pageSize=5") == {}
    assert caller.results(operation)
    [shown] = caller.get("/_emu/batches")["batches"]
    assert (shown["displayName"], shown["state"], shown["deleted"]) == ("gone", "SUCCEEDED", True)


def test_results_live_six_weeks(caller: Caller) -> None:
    """A result outlives its input, deleted before the work began, and is gone after six weeks."""
    caller.settings(paused=True)
    input_file, other = caller.upload(request_file(1)), caller.upload(b"abc")
    name = caller.create_from(input_file)["name"]
    caller.http.delete(f"/v1/{input_file}")
    caller.settings(paused=False)
    file = caller.wait(name)["response"]["responsesFile"]
    caller.post("/_emu/clock", {"advance_seconds": 48 * 3600 - 60})
    assert caller.get(f"/v1/{other}")["name"] == other
    caller.post("/_emu/clock", {"advance_seconds": 120})
    assert caller.refused(f"/v1/{other}", None, method="GET")["code"] == 403
    caller.post("/_emu/clock", {"advance_seconds": 38 * 86400})
    assert caller.download(file)
    caller.post("/_emu/clock", {"advance_seconds": 3 * 86400})
    assert caller.refused(f"/v1/{file}:download?alt=media", None, method="GET")["code"] == 403


def test_a_batch_can_need_looks(caller: Caller) -> None:
    """A batch told to take three looks is running at the first two and over at the third, its counts never ahead."""
    caller.settings(batch_looks=3)
    name = caller.create(request_file(30))["name"]
    seen = [caller.get(f"/v1/{name}") for _ in range(3)]
    states = [operation["metadata"]["state"].removeprefix("BATCH_STATE_") for operation in seen]
    assert states[:2] in (["RUNNING"] * 2, ["PENDING", "RUNNING"], ["PENDING"] * 2)  # a slow machine has not begun yet
    assert states[2] == "SUCCEEDED"
    counts: list[dict[str, Any]] = [operation["metadata"]["batchStats"] for operation in seen]
    assert int(counts[0].get("successfulRequestCount", 0)) <= 10
    assert int(counts[1].get("successfulRequestCount", 0)) <= 20
    assert counts[2] == {"requestCount": "30", "successfulRequestCount": "30"}


def test_a_list_asked_after_a_create_that_was_given_up_shows_the_batch(guest: Caller) -> None:
    """A client whose time-out was shorter than the check of a large file finds the batch in the very next list."""
    file = guest.upload(request_file(8_000))
    guest.settings(paused=True)
    with pytest.raises(httpx2.ReadTimeout):
        guest.http.post(CREATE, json=batch_of(file, name="large"), timeout=0.01)
    [operation] = guest.get("/v1/batches?pageSize=5")["operations"]
    assert operation["metadata"]["displayName"] == "large"
    guest.post(f"/v1/{operation['name']}:cancel", None)
    guest.settings(paused=False)


def test_a_finished_batch_answers_every_request_once(guest: Caller) -> None:
    """The operation names the result file twice; each key once, in another order, with what a live call answers."""
    alone = {"request": request_for("law"), "note": {"a": 1}, "list": [1, 2]}
    bad = {"key": "bad", "request": {"contents": [{"parts": [{"text": "x"}]}]}}
    data = request_file(40) + b"".join(json.dumps(line).encode() + b"\n" for line in (alone, bad))
    operation = guest.wait(guest.create(data)["name"])
    file = f"files/batch-{operation['name'].removeprefix('batches/')}"
    assert (operation["done"], "error" in operation) == (True, False)
    assert operation["metadata"]["output"] == {"responsesFile": file}
    assert operation["response"] == {"@type": f"{GENERATE_TYPE}Output", "responsesFile": file}
    counts = {"requestCount": "42", "successfulRequestCount": "41", "failedRequestCount": "1"}
    assert operation["metadata"]["batchStats"] == counts
    assert operation["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"
    answers = {answer.get("key"): answer for answer in documents(guest.results(operation))}
    keys = [f"k/{number}" for number in range(40)]
    assert answers.keys() == {*keys, "bad", None}
    assert list(answers)[:40] != keys
    assert list(answers["k/1"]) == ["response", "key"]
    text = "Lawyer for water law and irrigation, case number 1."
    assert answers["k/1"]["response"] == guest.post(f"/v1/models/{MODEL}:generateContent", request_for(text))
    assert answers["bad"]["error"]["code"] == 3
    echoed = {name: value for name, value in answers[None].items() if name != "response"}
    assert echoed == {"note": {"a": 1}, "list": []}


def test_one_bad_line_refuses_the_whole_file(guest: Caller) -> None:
    """A create reads the whole file and names the line, the column and what is wrong there; no batch is made."""
    for line, message in (
        (b"[1]", "invalid JSON, near column 1: unexpected character: '['; expected '{'"),
        (b'{"key": "a", "request": {"contents": []}', "invalid JSON, near column"),
        (b'{"key": "a"}', "missing field: 'request'"),
        (b'{"request": {"cachedContents": "x"}}', "invalid JSON, near column 14: no such field: 'cachedContents'"),
        (b'{"request": {"contents": {}}}', "Invalid value at 'request.contents'"),
        (b'{"key": 1, "request": {}}', "invalid value for 'key'"),
    ):
        error = guest.refused(CREATE, batch_of(guest.upload(request_file(2) + line + b"\n" + request_file(1))))
        assert error["status"] == "INVALID_ARGUMENT"
        assert error["message"].startswith("Error on line 3: ")
        assert message in error["message"]
    assert guest.get("/v1/batches?pageSize=10") == {}


def test_a_create_that_cannot_be_is_refused(guest: Caller) -> None:
    """No requests and unknown names are a 400, an absent file a 403, a model that is not there or cannot a 404."""
    assert guest.refused(CREATE, batch_of(guest.upload(b"\n  \n")))["code"] == 400
    error = guest.refused(CREATE, {"batch": {"nonsense": 1}})
    assert error["message"] == (
        "Invalid JSON payload received. Unknown name \"nonsense\" at 'batch': Cannot find field."
    )
    assert error["details"][0]["fieldViolations"][0]["field"] == "batch"
    assert guest.refused(CREATE, batch_of("files/nothing"))["code"] == 403
    file = guest.upload(request_file(1))
    error = guest.refused("/v1/models/gemini-2.0-flash:batchGenerateContent", batch_of(file))
    assert error["code"] == 404
    assert "is not found for API version v1, or is not supported for batchGenerateContent" in error["message"]
    assert guest.refused("/v1/models/gemini-embedding-2:batchGenerateContent", batch_of(file))["code"] == 404


def test_a_list_can_lag_and_need_a_page_size(caller: Caller) -> None:
    """A new batch is out of the list until the lag has passed; where a size is needed a list without is empty."""
    caller.settings(list_lag_seconds=30.0, batch_seconds=3600.0, shuffle=False)
    name = caller.create(request_file(9))["name"]
    assert caller.get("/v1/batches?pageSize=5") == {}
    assert "done" not in caller.get(f"/v1/{name}")
    with Caller(caller.url, key="another") as other:
        assert other.refused(f"/v1/{name}", None, method="GET")["code"] == 404
    caller.post("/_emu/clock", {"advance_seconds": 31})
    assert len(caller.get("/v1/batches?pageSize=5")["operations"]) == 1
    caller.settings(list_needs_page_size=True)
    assert caller.get("/v1/batches") == {}
    caller.post("/_emu/clock", {"advance_seconds": 3601})
    keys = [line["key"] for line in documents(caller.results(caller.wait(name)))]
    assert keys == [f"k/{number}" for number in range(9)]


@pytest.mark.parametrize("paused", [False, True])
def test_a_cancelled_batch_has_no_results(caller: Caller, *, paused: bool) -> None:
    """A cancel takes effect at once; a second or a late one changes nothing; what waits for 48 hours expires."""
    finished = caller.wait(caller.create(request_file(1))["name"])
    caller.settings(batch_looks=50, paused=paused)
    name = caller.create(request_file(3))["name"]
    for _ in range(2):
        assert caller.post(f"/v1/{name}:cancel", None) == {}
        operation = caller.get(f"/v1/{name}")
        assert operation["metadata"]["state"] == "BATCH_STATE_CANCELLED"
        assert operation["done"] is True
        assert "output" not in operation["metadata"]
    assert caller.post(f"/v1/{finished['name']}:cancel", None) == {}
    assert caller.get(f"/v1/{finished['name']}") == finished
    caller.settings(paused=True, batch_looks=0)
    late = caller.create(request_file(1))["name"]
    caller.post("/_emu/clock", {"advance_seconds": 48 * 3600 + 1})
    assert caller.get(f"/v1/{late}")["metadata"]["state"] == "BATCH_STATE_EXPIRED"
    assert caller.wait(name) == operation


def test_enqueued_tokens_and_active_batches_are_limited(caller: Caller) -> None:
    """Over its model's enqueued tokens a batch is a 429 with nothing but a link; so is one over the active ones."""
    caller.settings(paused=True, enqueued_tokens={MODEL: 100})
    file = caller.upload(request_file(5))
    first = caller.create_from(file)["name"]
    error = caller.refused(CREATE, batch_of(file))
    assert (error["status"], len(error["details"])) == ("RESOURCE_EXHAUSTED", 1)
    assert error["details"][0]["@type"].endswith("Help")
    caller.post(f"/v1/{first}:cancel", None)
    assert caller.create_from(file)["name"] != first
    caller.settings(active_batches=1, enqueued_tokens={})
    assert caller.refused(CREATE, batch_of(file))["code"] == 429
