"""The engine over plain HTTP: live calls, files, batches, and what it refuses, in Google's words."""

import base64
import io
import json
from typing import Any

import pytest
from PIL import Image

from tests.integration.emulator.caller import (
    CREATE,
    GENERATE,
    Caller,
    batch_of,
    by_key,
    request_file,
    request_for,
    told,
)

LIST = {"type": "ARRAY", "items": {"type": "STRING"}}
BATCH_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"


def test_an_answer_is_compact_json_with_honest_counts(caller: Caller) -> None:
    """It obeys the schema, finishes with STOP, counts its tokens, and is the same again, under either version."""
    asked = request_for("Lawyer for water law and irrigation.")
    response = caller.post(GENERATE, asked)
    text = response["candidates"][0]["content"]["parts"][0]["text"]
    assert list(told(response)) == ["tags"]
    assert text == json.dumps(told(response), separators=(",", ":"), ensure_ascii=False)
    assert response["candidates"][0]["finishReason"] == "STOP"
    usage = response["usageMetadata"]
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]
    assert usage["candidatesTokenCount"] == -(-len(text.encode()) // 4)
    assert response["responseId"]
    assert response["modelVersion"].startswith("findable-local-1")
    reply = caller.http.post(GENERATE.replace("v1beta", "v1"), json=asked)
    assert reply.json() == response
    assert reply.headers["content-type"] == "application/json; charset=UTF-8"
    cut = caller.post(GENERATE, request_for("Water law.", LIST, maxOutputTokens=2))
    assert cut["candidates"][0]["finishReason"] == "MAX_TOKENS"
    assert cut["usageMetadata"]["candidatesTokenCount"] == 2


def test_vectors_are_one_for_each_request_of_the_width_asked_for(caller: Caller) -> None:
    """768 wide and of unit length, or the front of it; a wider one, a blank text, and 101 texts are a 400."""
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
    assert sum(value * value for value in vectors[2]) == pytest.approx(1, abs=1e-5)
    one = "/v1/models/gemini-embedding-2:embedContent"
    narrow = caller.post(one, bodies[2] | {"outputDimensionality": "256"})["embedding"]["values"]
    assert narrow == vectors[2][:256]
    assert (
        caller.post("/v1/models/findable-local-lexical-1:embedContent", bodies[2])["embedding"][
            "values"
        ]
        != narrow
    )
    for wrong in (
        bodies[2] | {"outputDimensionality": 769},
        {"content": {"parts": [{"text": " "}]}},
    ):
        assert caller.refused(one, wrong)["code"] == 400
    assert caller.refused(path, {"requests": [bodies[2]] * 101})["code"] == 400


def test_what_gemini_would_refuse_is_refused(caller: Caller) -> None:
    """Loose and contradicting schemas, with their place; a nest too deep; no contents."""
    string = {"type": "STRING"}
    of_objects = {"type": "OBJECT"}
    nest: dict[str, Any] = string
    for _ in range(16):
        nest = {"type": "ARRAY", "items": nest}
    for schema, said in (
        ({"type": "ARRAY"}, "properties[a].items: missing field"),
        (of_objects, "properties[a].properties: should be non-empty for OBJECT type"),
        ({}, "properties[a].type"),
        ({"type": "NUMBER", "minimum": 2, "maximum": 1}, "minimum 2 is above maximum 1"),
        ({"type": "INTEGER", "enum": ["1"]}, "enum: only allowed for STRING type"),
        ({"anyOf": [string, of_objects]}, "any_of[1].properties: should be non-empty"),
        (nest, "maximum allowed nesting depth"),
    ):
        asked = request_for("law", {"type": "OBJECT", "properties": {"a": schema, "b": string}})
        error = caller.refused(GENERATE, asked)
        assert (error["code"], said in error["message"]) == (400, True), error
    for wrong, said in (
        ({"contents": [{"parts": [{"text": "law"}]}]}, "set generationConfig.responseSchema"),
        ({"contents": []}, "contents is not specified"),
    ):
        assert said in caller.refused(GENERATE, wrong)["message"]


def test_images_are_measured_counted_and_refused(caller: Caller) -> None:
    """Inside a request they are opened, and cost by model and resolution; foreign types, cut ones, files are a 400."""
    out = io.BytesIO()
    Image.new("RGB", (60, 40), "navy").save(out, "PNG")
    data = base64.urlsafe_b64encode(out.getvalue()).decode().rstrip("=")
    picture = {"inlineData": {"mimeType": "image/png", "data": data}}
    schema = {"type": "OBJECT", "properties": {"colours": LIST, "width": {"type": "INTEGER"}}}

    def asked(part: dict[str, Any], **config: Any) -> dict[str, Any]:
        request = request_for("", schema, **config)
        request["contents"][0]["parts"] = [{"text": "Describe it."}, part]
        return request

    response = caller.post(GENERATE, asked(picture))
    assert told(response) == {"colours": ["blue"], "width": 60}
    for model, resolution, tokens in (
        ("gemini-3.5-flash", "", 1_120),
        ("gemini-3.5-flash", "MEDIA_RESOLUTION_LOW", 280),
        ("gemini-2.5-flash", "MEDIA_RESOLUTION_UNSPECIFIED", 258),
    ):
        usage = caller.post(
            f"/v1/models/{model}:generateContent", asked(picture, mediaResolution=resolution)
        )
        assert usage["usageMetadata"]["promptTokenCount"] == 3 + tokens
    for part, said in (
        ({"inlineData": {"mimeType": "image/svg+xml", "data": data}}, "Unsupported MIME type"),
        (
            {"inlineData": {"mimeType": "image/png", "data": data[:60]}},
            "Unable to process input image",
        ),
        (
            {"fileData": {"fileUri": "gs://bucket/a.png", "mimeType": "image/png"}},
            "Cannot fetch content",
        ),
        ({"inlineData": {"mimeType": "image/png", "data": "?"}}, "Invalid value"),
    ):
        assert caller.refused(GENERATE, asked(part))["message"].startswith(said)
    assert caller.refused(GENERATE, asked(picture, mediaResolution="LOUD"))["code"] == 400


def test_a_key_is_required_but_for_chunks(caller: Caller) -> None:
    """Without one a call is refused with 403; in the query it will do; the URL of an upload is its own."""
    session = caller.start_upload(3)
    with Caller(caller.url) as nobody:
        del nobody.http.headers["x-goog-api-key"]
        assert nobody.refused("/v1/models", method="GET")["code"] == 403
        assert nobody.get("/v1/models?key=secret")["models"]
        assert nobody.chunk(session, b"abc").status_code == 200
        assert nobody.refused("/upload/v1/files", {})["code"] == 403
    for path in ("/v9/files", "/v1/nothing", "/_emu/faults", "/v1/models/a/b:c"):
        assert caller.refused(path, method="GET")["code"] == 404


def test_a_batch_answers_every_request_once(caller: Caller) -> None:
    """Each key once, in another order, with what a live call answers; a line that is refused says so, not the batch."""
    alone = {"request": request_for("law"), "note": {"a": 1}, "list": [1, 2]}
    bad = {"key": "bad", "request": {"contents": [{"parts": [{"text": "x"}]}]}}
    data = request_file(40) + b"".join(
        json.dumps(line).encode() + b"\r\n\n" for line in (alone, bad)
    )
    file = caller.upload(data)
    created = caller.post(CREATE, batch_of(file, name="run1"))
    name = created["name"]
    assert len(name) == 44
    caller.http.delete(f"/v1/{file}")
    operation = caller.wait(name)
    results = f"files/batch-{name.removeprefix('batches/')}"
    metadata = operation["metadata"]
    assert metadata["displayName"] == "run1"
    assert (metadata["@type"], metadata["inputConfig"]) == (BATCH_TYPE, {"fileName": file})
    assert created["metadata"].keys() == metadata.keys() - {"output", "endTime"}
    assert operation["response"] == {"@type": f"{BATCH_TYPE}Output", "responsesFile": results}
    assert (operation["done"], "error" in operation, metadata["output"]["responsesFile"]) == (
        True,
        False,
        results,
    )
    counts = {"requestCount": "42", "successfulRequestCount": "41", "failedRequestCount": "1"}
    assert metadata["batchStats"] == counts
    assert metadata["state"] == "BATCH_STATE_SUCCEEDED"
    assert metadata["createTime"] < metadata["endTime"]
    answers = by_key(caller.results(operation))
    keys = [f"k/{number}" for number in range(40)]
    assert answers.keys() == {*keys, "bad", None}
    assert [key for key in answers if key in keys] != keys
    assert list(answers["k/1"]) == ["response", "key"]
    text = "Lawyer for water law and irrigation, case number 1."
    assert answers["k/1"]["response"] == caller.post(GENERATE, request_for(text))
    assert answers["bad"]["error"]["code"] == 3
    assert {name: value for name, value in answers[None].items() if name != "response"} == {
        "note": {"a": 1},
        "list": [],
    }
    for method in ("GET", "DELETE"):
        assert (
            "cannot be more than 40 characters"
            in caller.refused(f"/v1/{results}", method=method)["message"]
        )
    assert caller.http.get(f"/download/v1/{results}:download?alt=media").content.count(b"\n") == 42


def test_one_bad_line_refuses_the_whole_file(caller: Caller) -> None:
    """A create reads the whole file and names the line, the column and what is wrong there."""
    for line, message in (
        (b"[1]", "invalid JSON, near column 1: unexpected character: '['; expected '{'"),
        (b'{"key": "a", "request": {"contents": []}', "invalid JSON, near column"),
        (b'{"key": "a"}', "missing field: 'request'"),
        (
            b'{"request": {"cachedContents": "x"}}',
            "invalid JSON, near column 14: no such field: 'cachedContents'",
        ),
        (b'{"request": {"contents": {}}}', "Invalid value at 'request.contents'"),
        (b'{"key": 1, "request": {}}', "invalid value for 'key'"),
    ):
        error = caller.refused(
            CREATE, batch_of(caller.upload(request_file(2) + line + b"\n" + request_file(1)))
        )
        assert error["status"] == "INVALID_ARGUMENT"
        assert error["message"].startswith("Error on line 3: ")
        assert message in error["message"]


def test_a_create_that_cannot_be_is_refused(caller: Caller) -> None:
    """No requests and unknown names are a 400, an absent file a 403, a model that is not there or cannot a 404."""
    assert caller.refused(CREATE, batch_of(caller.upload(b"\n  \n")))["code"] == 400
    assert (
        caller.refused(CREATE, {"batch": {"inputConfig": {"requests": {"requests": []}}}})["code"]
        == 400
    )
    error = caller.refused(CREATE, {"batch": {"nonsense": 1}})
    assert error["message"] == (
        "Invalid JSON payload received. Unknown name \"nonsense\" at 'batch': Cannot find field."
    )
    assert caller.refused(CREATE, batch_of("files/nothing"))["code"] == 403
    for model in ("gemini-2.0-flash", "gemini-embedding-2"):
        error = caller.refused(f"/v1/models/{model}:batchGenerateContent", batch_of("files/a"))
        assert error["code"] == 404
        assert (
            "is not found for API version v1, or is not supported for batchGenerateContent"
            in error["message"]
        )


def test_a_cancel_takes_effect_at_once_and_a_late_one_changes_nothing(caller: Caller) -> None:
    """A cancelled batch has no results; one that is over stays as it is; a deleted one is not found."""
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
    assert caller.refused(f"/v1/{name}", method="GET")["code"] == 404
