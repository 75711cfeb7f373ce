"""Live calls over plain HTTP: text, streams, vectors, tokens and models."""

import json
from typing import Any

import pytest

from tests.integration.emulator.caller import MODEL, Caller, request_for

GENERATE = f"/v1/models/{MODEL}:generateContent"
LIST = {"type": "ARRAY", "items": {"type": "STRING"}}


def tags_of(response: dict[str, Any]) -> Any:
    """Return the JSON document in a response's text."""
    return json.loads(response["candidates"][0]["content"]["parts"][0]["text"])


def asking(text: str, schema: dict[str, Any], **config: object) -> dict[str, Any]:
    """Return a request with this schema."""
    return {"contents": [{"parts": [{"text": text}]}], "generationConfig": {"responseSchema": schema, **config}}


def test_an_answer_is_compact_json_with_honest_counts(guest: Caller) -> None:
    """An answer obeys the schema, finishes with STOP, counts its tokens and says who made it."""
    response = guest.post(GENERATE, request_for("Lawyer for water law and irrigation."))
    text = response["candidates"][0]["content"]["parts"][0]["text"]
    assert list(tags_of(response)) == ["tags"]
    assert text == json.dumps(tags_of(response), separators=(",", ":"), ensure_ascii=False)
    assert response["candidates"][0]["finishReason"] == "STOP"
    usage = response["usageMetadata"]
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"]
    assert usage["candidatesTokenCount"] == -(-len(text.encode()) // 4)
    assert response["modelVersion"] == "findable-local-1-3"
    assert response["responseId"]


def test_an_answer_over_its_token_limit_is_cut(guest: Caller) -> None:
    """An answer longer than maxOutputTokens is cut there and finishes with MAX_TOKENS."""
    response = guest.post(GENERATE, asking("Water law and irrigation.", LIST, maxOutputTokens=2))
    candidate = response["candidates"][0]
    assert candidate["finishReason"] == "MAX_TOKENS"
    assert len(candidate["content"]["parts"][0]["text"]) == 8
    assert response["usageMetadata"]["candidatesTokenCount"] == 2


def test_tokens_are_counted_as_they_are_charged(guest: Caller) -> None:
    """What countTokens says of a whole request is what its answer counts for the prompt, instruction included."""
    count = f"/v1/models/{MODEL}:countTokens"
    request = request_for("Water law and irrigation. 水") | {
        "systemInstruction": {"parts": [{"text": "Give the domains that this person knows."}]},
        "model": f"models/{MODEL}",
    }
    charged = guest.post(GENERATE, request)["usageMetadata"]["promptTokenCount"]
    counted = guest.post(count, {"generateContentRequest": request})
    assert counted == {"totalTokens": charged, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": charged}]}
    assert guest.post(count, {"generate_content_request": request})["totalTokens"] == charged
    alone = guest.post(count, {"contents": request["contents"]})["totalTokens"]
    assert alone == charged - 10
    both = {"contents": [{"parts": [{"text": "ignored" * 99}]}], "generateContentRequest": request}
    assert guest.post(count, both)["totalTokens"] == charged
    assert guest.refused(count, {"systemInstruction": {}})["code"] == 400


def test_vectors_are_one_for_each_request(guest: Caller) -> None:
    """One vector for each request, 768 wide and of unit length, the parts of a request in one vector."""
    path = "/v1/models/gemini-embedding-2:batchEmbedContents"
    bodies = [
        {"content": {"parts": [{"text": "water"}, {"text": "law"}]}},
        {"content": {"parts": [{"text": "water\nlaw"}]}, "taskType": "RETRIEVAL_DOCUMENT", "title": "t"},
        {"content": {"parts": [{"text": "music"}]}},
    ]
    vectors = [entry["values"] for entry in guest.post(path, {"requests": bodies})["embeddings"]]
    assert [len(vector) for vector in vectors] == [768, 768, 768]
    assert vectors[0] == vectors[1] != vectors[2]
    assert sum(value * value for value in vectors[2]) == pytest.approx(1, abs=1e-5)


def test_models_are_listed_and_described(guest: Caller) -> None:
    """Every model of the list can be got, with its methods and limits; an unknown one is a 404."""
    first = guest.get("/v1/models?pageSize=5")
    rest = guest.get(f"/v1/models?pageSize=100&pageToken={first['nextPageToken']}")
    models = first["models"] + rest["models"]
    assert {"models/findable-local-1", f"models/{MODEL}"} <= {model["name"] for model in models}
    for model in models:
        assert guest.get(f"/v1beta/{model['name']}") == model
        assert model["supportedGenerationMethods"]
    assert guest.refused("/v1/models/gemini-1.0-pro", None, method="GET")["code"] == 404


def test_a_key_is_required_and_may_stand_in_the_query(guest: Caller) -> None:
    """Without a key a call is refused with 403; a key in the query will do, and none shows in the journal."""
    del guest.http.headers["x-goog-api-key"]
    assert guest.refused("/v1/models", None, method="GET")["code"] == 403
    assert guest.get("/v1/models?key=secret-in-query")["models"]
    guest.http.get("/v1/models", headers={"x-goog-api-key": "secret-in-header"})
    journal = json.dumps(guest.journal())
    assert "[redacted]" in journal
    assert "secret-in" not in journal


def test_what_the_model_refuses_is_refused(guest: Caller) -> None:
    """No schema, no contents, both thinking fields, penalties on 3.5 and later, and a limit of zero are a 400."""
    error = guest.refused(GENERATE, {"contents": [{"parts": [{"text": "law"}]}]})
    assert "set generationConfig.responseSchema" in error["message"]
    assert "contents is not specified" in guest.refused(GENERATE, {"contents": []})["message"]
    thinking = {"thinkingConfig": {"thinkingBudget": 0, "thinkingLevel": "MINIMAL"}}
    for config in (thinking, {"presencePenalty": 0.5}, {"frequency_penalty": 0.5}, {"maxOutputTokens": 0}):
        assert guest.refused(GENERATE, asking("law", LIST, **config))["code"] == 400
    older = "/v1/models/gemini-2.5-flash:generateContent"
    assert guest.post(older, asking("law", LIST, presencePenalty=0.5))["candidates"]


def test_vectors_have_the_width_that_is_asked_for(guest: Caller) -> None:
    """A width below 768 is the front of the whole vector; above, a blank text, and 101 texts are a 400."""
    path = "/v1/models/gemini-embedding-001:embedContent"
    body: dict[str, Any] = {"content": {"parts": [{"text": "water law"}]}}
    whole = guest.post(path, body)["embedding"]["values"]
    assert guest.post(path, body | {"outputDimensionality": 256})["embedding"]["values"] == whole[:256]
    assert guest.post("/v1/models/findable-local-lexical-1:embedContent", body)["embedding"]["values"] != whole
    for width in (0, 769):
        assert "between 1 and 768" in guest.refused(path, body | {"outputDimensionality": width})["message"]
    assert guest.refused(path, {"content": {"parts": [{"text": " "}]}})["code"] == 400
    many = "/v1/models/gemini-embedding-001:batchEmbedContents"
    assert len(guest.post(many, {"requests": [body] * 100})["embeddings"]) == 100
    assert guest.refused(many, {"requests": [body] * 101})["code"] == 400


def test_all_versions_are_served_alike(guest: Caller) -> None:
    """The three versions answer the same, with a Content-Length and Google's content type."""
    for version in ("v1", "v1beta", "v1alpha"):
        reply = guest.http.post(f"/{version}/models/{MODEL}:generateContent", json=request_for("law"))
        assert reply.json() == guest.post(GENERATE, request_for("law"))
        assert reply.headers["content-length"] == str(len(reply.content))
        assert reply.headers["content-type"] == "application/json; charset=UTF-8"
