"""The engine over plain HTTP: live calls, files, batches, and refusals in Google's words."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.integration.emulator.caller import (
    CREATE,
    GENERATE,
    Caller,
    create_body,
    index_by_key,
    request_file,
    request_for,
)

LIST = {"type": "ARRAY", "items": {"type": "STRING"}}
BATCH_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"


def answer_of(response: Mapping[str, Any]) -> Any:
    """Return the parsed answer of a response."""
    return json.loads(response["candidates"][0]["content"]["parts"][0]["text"])


def test_an_answer_is_compact_json_with_correct_counts(caller: Caller) -> None:
    """An answer obeys the schema, counts its tokens, and is equal under both API versions."""
    request = request_for("Lawyer for water law and irrigation.")
    response = caller.post(GENERATE, request)
    text = response["candidates"][0]["content"]["parts"][0]["text"]
    assert list(answer_of(response)) == ["tags"]
    assert text == json.dumps(answer_of(response), separators=(",", ":"), ensure_ascii=False)
    assert response["candidates"][0]["finishReason"] == "STOP"

    usage = response["usageMetadata"]
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]
    assert usage["candidatesTokenCount"] == -(-len(text.encode()) // 4)
    assert response["responseId"]
    assert response["modelVersion"].startswith("askrows-local-1")

    reply = caller.http.post(GENERATE.replace("v1beta", "v1"), json=request)
    assert reply.json() == response
    assert reply.headers["content-type"] == "application/json; charset=UTF-8"

    cut_response = caller.post(GENERATE, request_for("Water law.", LIST, maxOutputTokens=2))
    assert cut_response["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert cut_response["usageMetadata"]["candidatesTokenCount"] == 2


def test_each_request_gets_a_vector_of_its_width(caller: Caller) -> None:
    """Vectors are 768 wide and of unit length, or a prefix; invalid requests get a 400."""
    path = "/v1/models/gemini-embedding-2:batchEmbedContents"
    bodies: list[dict[str, Any]] = [
        {"content": {"parts": [{"text": "water"}, {"text": "law"}]}},
        {
            "content": {"parts": [{"text": "water\nlaw"}]},
            "task_type": "RETRIEVAL_DOCUMENT",
            "title": "t",
        },
        {"content": {"parts": [{"text": "music"}]}},
    ]
    vectors = [entry["values"] for entry in caller.post(path, {"requests": bodies})["embeddings"]]
    assert [len(vector) for vector in vectors] == [768, 768, 768]
    assert vectors[0] == vectors[1] != vectors[2]
    assert sum(number * number for number in vectors[2]) == pytest.approx(1, abs=1e-5)

    single_path = "/v1/models/gemini-embedding-2:embedContent"
    narrow_vector = caller.post(single_path, bodies[2] | {"outputDimensionality": "256"})[
        "embedding"
    ]["values"]
    assert narrow_vector == vectors[2][:256]

    for invalid_body in (
        bodies[2] | {"outputDimensionality": 769},
        bodies[2] | {"outputDimensionality": "²"},
        bodies[2] | {"outputDimensionality": "--5"},
        {"content": {"parts": [{"text": " "}]}},
    ):
        assert caller.expect_refusal(single_path, invalid_body)["code"] == 400
    assert caller.expect_refusal(path, {"requests": [bodies[2]] * 101})["code"] == 400


def test_invalid_schemas_are_refused_like_gemini_does(caller: Caller) -> None:
    """Vague schemas and empty contents are refused with their position."""
    string_schema = {"type": "STRING"}
    object_schema = {"type": "OBJECT"}
    for schema, message in (
        ({"type": "ARRAY"}, "properties[a].items: missing field"),
        (object_schema, "properties[a].properties: should be non-empty for OBJECT type"),
        ({}, "properties[a].type"),
        ({"anyOf": [string_schema, object_schema]}, "any_of[1].properties: should be non-empty"),
    ):
        request = request_for(
            "law", {"type": "OBJECT", "properties": {"a": schema, "b": string_schema}}
        )
        error = caller.expect_refusal(GENERATE, request)
        assert (error["code"], message in error["message"]) == (400, True), error

    for invalid_body, message in (
        ({"contents": [{"parts": [{"text": "law"}]}]}, "set generationConfig.responseSchema"),
        ({"contents": []}, "contents is not specified"),
    ):
        assert message in caller.expect_refusal(GENERATE, invalid_body)["message"]


def test_images_are_counted_and_refused(caller: Caller) -> None:
    """The engine counts the tokens of inline images, and refuses other media with a 400."""
    picture = {"inlineData": {"mimeType": "image/png", "data": "aW1hZ2U"}}
    schema = {"type": "OBJECT", "properties": {"colours": LIST, "summary": {"type": "STRING"}}}

    def request_about(part: dict[str, Any]) -> dict[str, Any]:
        request = request_for("", schema)
        request["contents"][0]["parts"] = [{"text": "Describe it."}, part]
        return request

    response = caller.post(GENERATE, request_about(picture))
    assert answer_of(response)["colours"] == []
    assert answer_of(response)["summary"].startswith("Not seen")
    assert response["usageMetadata"]["promptTokenCount"] == 3 + 1_120

    for part, message in (
        ({"inlineData": {"mimeType": "image/svg+xml", "data": "eA"}}, "Unsupported MIME type"),
        (
            {"fileData": {"fileUri": "gs://bucket/a.png", "mimeType": "image/png"}},
            "Cannot fetch content",
        ),
    ):
        assert caller.expect_refusal(GENERATE, request_about(part))["message"].startswith(message)


def test_a_key_is_required_except_for_chunks(caller: Caller) -> None:
    """A call without a key gets a 403; a key in the query suffices, and upload URLs need no key."""
    session = caller.start_upload(3)
    with Caller(caller.url) as keyless_caller:
        del keyless_caller.http.headers["x-goog-api-key"]
        assert keyless_caller.expect_refusal("/v1/models", method="GET")["code"] == 403
        assert keyless_caller.get("/v1/models?key=secret")["models"]
        assert keyless_caller.send_chunk(session, b"abc").status_code == 200
        assert keyless_caller.expect_refusal("/upload/v1/files", {})["code"] == 403
    for path in ("/v9/files", "/v1/nothing", "/_emu/faults", "/v1/models/a/b:c"):
        assert caller.expect_refusal(path, method="GET")["code"] == 404


def test_a_batch_answers_every_request_once(caller: Caller) -> None:
    """A batch answers each key once like a live call, and a refused line fails alone."""
    keyless_line = {"request": request_for("law"), "note": {"a": 1}}
    bad_line = {"key": "bad", "request": {"contents": [{"parts": [{"text": "x"}]}]}}
    content = request_file(40) + b"".join(
        json.dumps(line).encode() + b"\r\n\n" for line in (keyless_line, bad_line)
    )
    file = caller.upload(content)
    created = caller.post(CREATE, create_body(file, name="run1"))
    name = created["name"]

    # A created batch does not need its request file.
    caller.http.delete(f"/v1/{file}")

    operation = caller.wait(name)
    results = f"files/batch-{name.removeprefix('batches/')}"
    metadata = operation["metadata"]
    assert metadata["displayName"] == "run1"
    assert (metadata["@type"], metadata["inputConfig"]) == (BATCH_TYPE, {"fileName": file})
    assert created["metadata"].keys() == metadata.keys() - {"output", "endTime"}
    assert operation["response"] == {"@type": f"{BATCH_TYPE}Output", "responsesFile": results}

    counts = {"requestCount": "42", "successfulRequestCount": "41", "failedRequestCount": "1"}
    assert metadata["batchStats"] == counts
    assert metadata["state"] == "BATCH_STATE_SUCCEEDED"

    answers = index_by_key(caller.results(operation))
    keys = [f"k/{number}" for number in range(40)]
    assert answers.keys() == {*keys, "bad", None}
    assert [key for key in answers if key in keys] != keys

    text = "Lawyer for water law and irrigation, case number 1."
    assert answers["k/1"]["response"] == caller.post(GENERATE, request_for(text))
    assert answers["bad"]["error"]["code"] == 3

    # The result repeats the other members of the line.
    extra_members = {name: member for name, member in answers[None].items() if name != "response"}
    assert extra_members == {"note": {"a": 1}}

    for method in ("GET", "DELETE"):
        error = caller.expect_refusal(f"/v1/{results}", method=method)
        assert "cannot be more than 40 characters" in error["message"]
    assert caller.http.get(f"/download/v1/{results}:download?alt=media").content.count(b"\n") == 42


@pytest.mark.promise("engine")
def test_one_bad_line_refuses_the_whole_file(caller: Caller) -> None:
    """A create checks the whole file, and names the line and the error."""
    for line, message in (
        (b"[1]", "invalid JSON"),
        (b'{"key": "a", "request": {"contents": []}', "invalid JSON"),
        (b'{"key": "a"}', "'request'"),
        (b'{"request": {"cachedContents": "x"}}', 'Unknown name "cachedContents"'),
        (b'{"request": {"contents": {}}}', "Invalid value at 'request.contents'"),
        (b'{"key": 1, "request": {}}', "Invalid value at 'key'"),
    ):
        error = caller.expect_refusal(
            CREATE, create_body(caller.upload(request_file(2) + line + b"\n" + request_file(1)))
        )
        assert error["status"] == "INVALID_ARGUMENT"
        assert error["message"].startswith("Error on line 3: ")
        assert message in error["message"]


@pytest.mark.promise("engine")
def test_an_invalid_create_is_refused(caller: Caller) -> None:
    """An invalid body is a 400, an absent file a 403, an unknown or unsuitable model a 404."""
    assert caller.expect_refusal(CREATE, create_body(caller.upload(b"\n  \n")))["code"] == 400

    inline_body: dict[str, Any] = {"batch": {"inputConfig": {"requests": {"requests": []}}}}
    assert caller.expect_refusal(CREATE, inline_body)["code"] == 400

    error = caller.expect_refusal(CREATE, {"batch": {"nonsense": 1}})
    assert error["message"] == (
        "Invalid JSON payload received. Unknown name \"nonsense\" at 'batch': Cannot find field."
    )
    assert caller.expect_refusal(CREATE, create_body("files/nothing"))["code"] == 403

    for model in ("gemini-2.0-flash", "gemini-embedding-2"):
        error = caller.expect_refusal(
            f"/v1/models/{model}:batchGenerateContent", create_body("files/a")
        )
        assert error["code"] == 404
        assert (
            "is not found for API version v1, or is not supported for batchGenerateContent"
            in error["message"]
        )


def test_a_cancel_works_at_once_and_a_late_cancel_changes_nothing(caller: Caller) -> None:
    """A cancelled batch has no results; a finished batch stays; a deleted batch is missing."""
    finished = caller.wait(caller.create(request_file(1)))
    assert caller.post(f"/v1/{finished['name']}:cancel", None) == {}
    assert caller.get(f"/v1/{finished['name']}") == finished

    name = caller.create(request_file(20_000))
    for _ in range(2):
        assert caller.post(f"/v1/{name}:cancel", None) == {}
        operation = caller.get(f"/v1/{name}")
        assert operation["metadata"]["state"] == "BATCH_STATE_CANCELLED"
        assert (operation["done"], "output" in operation["metadata"]) == (True, False)
    assert caller.http.delete(f"/v1/{name}").json() == {}
    assert caller.expect_refusal(f"/v1/{name}", method="GET")["code"] == 404
