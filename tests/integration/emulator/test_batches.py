"""Batches over plain HTTP: the operation, its states and counts, validation at create, and the result file."""

import json
from typing import Any

import httpx2
import pytest

from tests.integration.emulator.caller import (
    MODEL,
    Caller,
    batch_of,
    by_key,
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


def test_a_finished_batch_says_where_its_results_are_twice(guest: Caller) -> None:
    """A finished operation names the result file in its metadata and in its response, and leaves out zero counts."""
    operation = guest.wait(guest.create(request_file(3))["name"])
    file = f"files/batch-{operation['name'].removeprefix('batches/')}"
    assert operation["done"] is True
    assert operation["metadata"]["output"] == {"responsesFile": file}
    assert operation["response"] == {"@type": f"{GENERATE_TYPE}Output", "responsesFile": file}
    assert operation["metadata"]["batchStats"] == {"requestCount": "3", "successfulRequestCount": "3"}
    assert operation["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"
    assert "error" not in operation


def test_every_request_is_answered_once_in_another_order(guest: Caller) -> None:
    """A result file has each key once, `response` before `key`, and not in the order of the requests."""
    lines = guest.run(request_file(40))
    keys = [document["key"] for document in documents(lines)]
    assert sorted(keys) == sorted(f"k/{number}" for number in range(40))
    assert keys != [f"k/{number}" for number in range(40)]
    assert list(documents(lines)[0]) == ["response", "key"]


def test_a_result_line_is_what_a_live_call_answers(guest: Caller) -> None:
    """A batch's answer to a request is the live answer to the same request."""
    line = by_key(guest.run(request_file(3)))["k/1"]
    text = "Lawyer for water law and irrigation, case number 1."
    assert line["response"] == guest.post(f"/v1/models/{MODEL}:generateContent", request_for(text))


def test_the_order_follows_from_the_seed(caller: Caller) -> None:
    """With shuffling off, results come in the order of the requests."""
    caller.settings(shuffle=False)
    assert [line["key"] for line in documents(caller.run(request_file(9)))] == [f"k/{number}" for number in range(9)]


def test_two_equal_creates_make_two_batches(guest: Caller) -> None:
    """Nothing is deduplicated: the same create sent twice makes two batches."""
    file = guest.upload(request_file(1))
    names = {guest.create_from(file, name="same")["name"] for _ in range(2)}
    listed = guest.get("/v1/batches?pageSize=10")["operations"]
    assert {operation["name"] for operation in listed} == names
    assert len(names) == 2


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"[1]", "invalid JSON, near column 1: unexpected character: '['; expected '{'"),
        (b'{"key": "a", "request": {"contents": []}', "invalid JSON, near column"),
        (b'{"key": "a"}', "missing field: 'request'"),
        (b'{"request": {"cachedContents": "x"}}', "invalid JSON, near column 14: no such field: 'cachedContents'"),
        (b'{"request": {"generationConfig": {"cachedContent": "x"}}}', "no such field: 'cachedContent'"),
        (b'{"request": {"generation_config": {"thinking_config": {"level": 1}}}}', "no such field: 'level'"),
        (b'{"request": {"systemInstruction": "be brief"}}', "Invalid value at 'request.systemInstruction'"),
        (b'{"request": {"contents": {}}}', "Invalid value at 'request.contents'"),
        (b'{"key": 1, "request": {}}', "invalid value for 'key'"),
    ],
)
def test_one_bad_line_refuses_the_whole_file(guest: Caller, line: bytes, message: str) -> None:
    """A create reads the whole file and names the line, the column and what is wrong there; no batch is made."""
    file = guest.upload(request_file(2) + line + b"\n" + request_file(1))
    error = guest.refused(CREATE, batch_of(file))
    assert error["status"] == "INVALID_ARGUMENT"
    assert error["message"].startswith("Error on line 3: ")
    assert message in error["message"]
    assert guest.get("/v1/batches?pageSize=10") == {}


def test_a_file_without_requests_is_refused(guest: Caller) -> None:
    """An empty file, and one of blank lines, make no batch."""
    assert guest.refused(CREATE, batch_of(guest.upload(b"\n  \n")))["code"] == 400


def test_snake_case_is_read_everywhere(guest: Caller) -> None:
    """Create call and lines may be written in snake_case."""
    line = {
        "key": "s",
        "request": {
            "contents": [{"parts": [{"text": "water law"}]}],
            "generation_config": {
                "response_mime_type": "application/json",
                "response_schema": {"type": "ARRAY", "items": {"type": "STRING"}, "max_items": 2},
            },
        },
    }
    file = guest.upload(json.dumps(line).encode())
    body = {"batch": {"input_config": {"file_name": file}, "display_name": "s"}}
    operation = guest.wait(guest.post(CREATE, body)["name"])
    [answer] = documents(guest.results(operation))
    tags = json.loads(answer["response"]["candidates"][0]["content"]["parts"][0]["text"])
    assert 1 <= len(tags) <= 2


def test_a_request_that_cannot_be_served_becomes_an_error_line(guest: Caller) -> None:
    """A well-formed request with a schema the engine cannot serve fails alone, with the google.rpc code 3."""
    bad = {"key": "bad", "request": {"contents": [{"parts": [{"text": "x"}]}]}}
    operation = guest.wait(guest.create(request_file(2) + json.dumps(bad).encode())["name"])
    assert operation["metadata"]["batchStats"] == {
        "requestCount": "3",
        "successfulRequestCount": "2",
        "failedRequestCount": "1",
    }
    assert by_key(guest.results(operation))["bad"]["error"]["code"] == 3


def test_other_members_of_a_line_come_back_with_their_lists_emptied(guest: Caller) -> None:
    """What stands beside key and request is echoed, lists as empty ones; a line without a key has none."""
    line = {"request": request_for("law"), "note": {"a": 1}, "list": [1, 2]}
    [answer] = documents(guest.run(json.dumps(line).encode()))
    assert {name: value for name, value in answer.items() if name != "response"} == {"note": {"a": 1}, "list": []}


def test_a_batch_outlives_its_input(caller: Caller) -> None:
    """Deleting the input after the create does not change the batch."""
    caller.settings(paused=True)
    file = caller.upload(request_file(5))
    name = caller.create_from(file)["name"]
    caller.http.delete(f"/v1/{file}")
    caller.settings(paused=False)
    assert len(by_key(caller.results(caller.wait(name)))) == 5


def test_an_absent_file_is_forbidden_and_an_absent_model_not_found(guest: Caller) -> None:
    """A create from a file that is not there is a 403, for a model that is not there or cannot a 404."""
    assert guest.refused(CREATE, batch_of("files/nothing"))["code"] == 403
    file = guest.upload(request_file(1))
    error = guest.refused("/v1/models/gemini-2.0-flash:batchGenerateContent", batch_of(file))
    assert error["code"] == 404
    assert "is not found for API version v1, or is not supported for batchGenerateContent" in error["message"]
    assert guest.refused("/v1/models/gemini-embedding-2:batchGenerateContent", batch_of(file))["code"] == 404


def test_an_unknown_field_in_a_create_names_the_field(guest: Caller) -> None:
    """An unknown name in a body is the 400 with its field violations."""
    error = guest.refused(CREATE, {"batch": {"nonsense": 1}})
    assert error["message"] == (
        "Invalid JSON payload received. Unknown name \"nonsense\" at 'batch': Cannot find field."
    )
    assert error["details"][0]["fieldViolations"][0]["field"] == "batch"


def test_inlined_requests_are_answered_inline(guest: Caller) -> None:
    """Requests inside the create call come back inside the operation, each with its metadata."""
    entries = [{"request": request_for(f"law {n}"), "metadata": {"key": f"m{n}"}} for n in range(3)]
    body = {"batch": {"inputConfig": {"requests": {"requests": entries}}, "displayName": "i"}}
    operation = guest.wait(guest.post(CREATE, body)["name"])
    inlined = operation["metadata"]["output"]["inlinedResponses"]["inlinedResponses"]
    assert sorted(entry["metadata"]["key"] for entry in inlined) == ["m0", "m1", "m2"]
    assert all(entry["response"]["candidates"] for entry in inlined)
    assert operation["response"]["inlinedResponses"]["inlinedResponses"] == inlined


def test_an_embeddings_batch_answers_vectors(guest: Caller) -> None:
    """Each line of an embeddings batch has a vector of the width it asked for and its tokens as a string."""
    lines = [
        {"key": "a", "request": {"output_dimensionality": 3, "content": {"parts": [{"text": "water"}]}}},
        {"key": "b", "request": {"content": {"parts": [{"text": "law"}]}}},
        {"key": "c", "request": {"content": {"parts": [{"text": " "}]}}},
    ]
    file = guest.upload("\n".join(json.dumps(line) for line in lines).encode())
    body = {"batch": {"inputConfig": {"file_name": file}, "displayName": "e"}}
    operation = guest.wait(guest.post("/v1/models/gemini-embedding-001:asyncBatchEmbedContent", body)["name"])
    answers = by_key(guest.results(operation))
    assert len(answers["a"]["response"]["embedding"]["values"]) == 3
    assert len(answers["b"]["response"]["embedding"]["values"]) == 768
    assert answers["a"]["response"]["tokenCount"] == "2"
    assert answers["c"]["error"]["code"] == 3


def test_batches_are_listed_page_by_page_newest_first(guest: Caller) -> None:
    """Five batches come in three pages, newest first; without batches the list is an empty object."""
    assert guest.get("/v1/batches?pageSize=2") == {}
    file = guest.upload(request_file(1))
    names = [guest.create_from(file)["name"] for _ in range(5)]
    listed, token = [], ""
    for _ in range(3):
        page = guest.get(f"/v1/batches?pageSize=2&pageToken={token}")
        listed += [operation["name"] for operation in page["operations"]]
        token = page.get("nextPageToken", "")
    assert listed == names[::-1]
    assert token == ""


def test_a_list_can_need_a_page_size(caller: Caller) -> None:
    """With the switch on, a list without a page size is empty, as was seen live."""
    caller.create(request_file(1))
    caller.settings(list_needs_page_size=True)
    assert caller.get("/v1/batches") == {}
    assert caller.get("/v1/batches?pageSize=5")["operations"]


def test_a_list_can_lag(caller: Caller) -> None:
    """A new batch is out of the list until the lag has passed on the engine's clock, but not out of `get`."""
    caller.settings(list_lag_seconds=30.0)
    name = caller.create(request_file(1))["name"]
    assert caller.get("/v1/batches?pageSize=5") == {}
    assert caller.get(f"/v1/{name}")["name"] == name
    caller.post("/_emu/clock", {"advance_seconds": 31})
    assert len(caller.get("/v1/batches?pageSize=5")["operations"]) == 1


def test_a_cancelled_batch_has_no_results(caller: Caller) -> None:
    """A cancel takes effect at once; a second one changes nothing."""
    caller.settings(paused=True)
    name = caller.create(request_file(3))["name"]
    for _ in range(2):
        assert caller.post(f"/v1/{name}:cancel", None) == {}
        operation = caller.get(f"/v1/{name}")
        assert operation["metadata"]["state"] == "BATCH_STATE_CANCELLED"
        assert operation["done"] is True
        assert "output" not in operation["metadata"]
    caller.settings(paused=False)
    assert caller.wait(name) == operation


def test_a_cancel_after_the_end_changes_nothing(guest: Caller) -> None:
    """A finished batch stays as it is."""
    operation = guest.wait(guest.create(request_file(1))["name"])
    assert guest.post(f"/v1/{operation['name']}:cancel", None) == {}
    assert guest.get(f"/v1/{operation['name']}") == operation


def test_a_deleted_batch_is_not_found_but_its_results_are(caller: Caller) -> None:
    """A deleted batch is out of get and list; the result file stays, and what really exists can be seen."""
    operation = caller.wait(caller.create(request_file(1), name="gone")["name"])
    assert caller.http.delete(f"/v1/{operation['name']}").json() == {}
    assert caller.refused(f"/v1/{operation['name']}", None, method="GET")["code"] == 404
    assert caller.get("/v1/batches?pageSize=5") == {}
    assert caller.results(operation)
    [shown] = caller.get("/_emu/batches")["batches"]
    assert (shown["displayName"], shown["state"], shown["deleted"]) == ("gone", "SUCCEEDED", True)


def test_a_foreign_batch_is_not_found(guest: Caller) -> None:
    """Another key's batch answers 404."""
    name = guest.create(request_file(1))["name"]
    with Caller(guest.url, key="somebody-else") as other:
        assert other.refused(f"/v1/{name}", None, method="GET")["code"] == 404


def test_a_batch_expires_after_48_hours(caller: Caller) -> None:
    """A batch that is not over by then is EXPIRED, without results."""
    caller.settings(paused=True)
    name = caller.create(request_file(1))["name"]
    caller.post("/_emu/clock", {"advance_seconds": 48 * 3600 + 1})
    operation = caller.get(f"/v1/{name}")
    assert (operation["metadata"]["state"], operation["done"]) == ("BATCH_STATE_EXPIRED", True)


def test_results_live_six_weeks(caller: Caller) -> None:
    """A result outlives the 48 hours of its input and is gone after six weeks."""
    file = caller.wait(caller.create(request_file(1))["name"])["response"]["responsesFile"]
    caller.post("/_emu/clock", {"advance_seconds": 41 * 86400})
    assert caller.download(file)
    caller.post("/_emu/clock", {"advance_seconds": 2 * 86400})
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


def test_a_batch_can_need_time(caller: Caller) -> None:
    """A batch told to take an hour is over when the engine's clock says so."""
    caller.settings(batch_seconds=3600.0)
    name = caller.create(request_file(1))["name"]
    assert "done" not in caller.get(f"/v1/{name}")
    caller.post("/_emu/clock", {"advance_seconds": 3601})
    assert caller.wait(name)["metadata"]["state"] == "BATCH_STATE_SUCCEEDED"


def test_a_cancel_wins_over_an_end_nobody_saw(caller: Caller) -> None:
    """A batch that is held back by a script can still be cancelled."""
    caller.settings(batch_looks=50)
    name = caller.create(request_file(1))["name"]
    caller.post(f"/v1/{name}:cancel", None)
    assert caller.wait(name)["metadata"]["state"] == "BATCH_STATE_CANCELLED"


def test_enqueued_tokens_are_limited_by_model(caller: Caller) -> None:
    """A batch over its model's enqueued tokens is refused with a 429 that carries nothing but a link."""
    caller.settings(paused=True, enqueued_tokens={MODEL: 100})
    file = caller.upload(request_file(5))
    first = caller.create_from(file)["name"]
    error = caller.refused(CREATE, batch_of(file))
    assert (error["status"], len(error["details"])) == ("RESOURCE_EXHAUSTED", 1)
    assert error["details"][0]["@type"].endswith("Help")
    caller.post(f"/v1/{first}:cancel", None)
    assert caller.create_from(file)["name"] != first


def test_a_hundred_batches_may_be_active(caller: Caller) -> None:
    """One batch over the number of active ones is refused with 429."""
    caller.settings(paused=True, active_batches=2)
    file = caller.upload(request_file(1))
    for _ in range(2):
        caller.create_from(file)
    assert caller.refused(CREATE, batch_of(file))["code"] == 429
    assert caller.settings()["active_batches"] == 2


def test_a_list_asked_after_a_create_that_was_given_up_shows_the_batch(guest: Caller) -> None:
    """A client whose time-out was shorter than the check of a large file finds the batch in the very next list."""
    file = guest.upload(request_file(20_000))
    guest.settings(paused=True)
    with pytest.raises(httpx2.ReadTimeout):
        guest.http.post(CREATE, json=batch_of(file, name="large"), timeout=0.02)
    [operation] = guest.get("/v1/batches?pageSize=5")["operations"]
    assert operation["metadata"]["displayName"] == "large"
    guest.post(f"/v1/{operation['name']}:cancel", None)
    guest.settings(paused=False)
