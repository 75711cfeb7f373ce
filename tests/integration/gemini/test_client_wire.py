"""What the client puts on the wire, and what it reads from it."""

import base64
import hashlib
import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.core.errors import (
    ConfigurationError,
    InconsistentError,
    MissingError,
    RefusedError,
    UnavailableError,
)
from pipeline.core.states import RemoteState
from pipeline.gemini.client import Client
from pipeline.gemini.models import load_models
from tests.integration.gemini.scripted import KEY, Answer, Script, Seen, generated

BATCH = "batches/leg9wy9p5df66syjxke2eq4xfjqcwp47ejv3"
RESULT = "files/batch-leg9wy9p5df66syjxke2eq4xfjqcwp47ejv3"


def operation(**metadata: Any) -> dict[str, Any]:
    """Return an operation in the shape captured live."""
    fields = {
        "model": "models/gemini-3.5-flash-lite",
        "displayName": "w/expert-tags/1",
        "inputConfig": {"fileName": "files/abc"},
        "createTime": "2026-01-06T11:09:11.943530657Z",
        "state": "BATCH_STATE_PENDING",
    }
    return {"name": BATCH, "metadata": {**fields, **metadata}}


def hex_hash(data: bytes) -> str:
    """Return the SHA-256 as the API told it live: base64 of its hex text."""
    return base64.b64encode(hashlib.sha256(data).hexdigest().encode()).decode()


def uploads(
    script: Script, *, size: int, sha: str, state: str = "ACTIVE", then: list[str] | None = None
) -> None:
    """Script an API that takes uploads; `then` are the states that later looks at the file get."""
    looks = list(then or [])

    def reply(seen: Seen) -> Answer:
        """Answer one request of an upload."""
        file = {"name": "files/abc", "sizeBytes": str(size), "sha256Hash": sha, "state": state}
        if seen.method == "GET":
            return Answer({**file, "state": looks.pop(0)})
        if seen.method == "DELETE":
            return Answer({})
        if seen.headers["x-goog-upload-command"] == "start":
            url = f"{script.url}/upload/v1beta/files?upload_id=U1&upload_protocol=resumable"
            return Answer({}, headers={"X-Goog-Upload-URL": url})
        last = "finalize" in seen.headers["x-goog-upload-command"]
        return Answer(
            {"file": file} if last else {},
            headers={"X-Goog-Upload-Status": "final" if last else "active"},
        )

    script.reply = reply


def test_hostile_environment_changes_nothing(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version, address and key are pinned, whatever variables of the SDK are set."""
    for name, value in {
        "GOOGLE_GENAI_USE_VERTEXAI": "true",
        "GOOGLE_GENAI_USE_ENTERPRISE": "1",
        "GOOGLE_GENAI_API_VERSION": "v9",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9/",
        "GOOGLE_API_KEY": "another",
        "GOOGLE_CLOUD_PROJECT": "p",
    }.items():
        monkeypatch.setenv(name, value)
    script.answers = [Answer(operation())]
    client = Client(api_key=f" {KEY} ", base_url=script.url, trust_env=False)
    client.get_batch(BATCH)
    client.close()
    assert script.calls == [f"GET /v1beta/{BATCH}"]
    assert script.seen[0].headers["x-goog-api-key"] == KEY
    assert script.seen[0].headers["x-server-timeout"] == "60"


@pytest.mark.parametrize("place", ["output", "response"])
def test_result_file_is_found_in_both_places(script: Script, client: Client, place: str) -> None:
    """The result's name is read from metadata.output, or from response where only that has it."""
    document = operation(state="JOB_STATE_SUCCEEDED", endTime="2026-01-06T11:19:31Z")
    (document["metadata"] if place == "output" else document)[place] = {"responsesFile": RESULT}
    script.answers = [Answer(document)]
    batch = client.get_batch(BATCH)
    assert (batch.state, batch.result_file) == (RemoteState.SUCCEEDED, RESULT)


def test_list_reads_every_page_even_after_an_empty_one(
    script: Script, client: Client, waits: list[float]
) -> None:
    """An empty page with a token, and a 503 on a page, neither end the list nor lose a batch."""
    script.answers = [
        Answer({"operations": [operation()], "nextPageToken": "p2"}),
        Answer({"nextPageToken": "p3"}),
        Answer({"error": {"code": 503, "status": "UNAVAILABLE", "message": "busy"}}, code=503),
        Answer({"operations": [{**operation(), "name": "batches/b2"}]}),
    ]
    assert [batch.name for batch in client.list_batches()] == [BATCH, "batches/b2"]
    assert script.calls[0] == "GET /v1beta/batches?pageSize=100"
    assert [call.partition("pageToken=")[2] for call in script.calls] == ["", "p2", "p3", "p3"]
    assert len(waits) == 1


def test_deleting_what_is_gone_is_done(script: Script, client: Client) -> None:
    """Deleting an upload or a batch that is not there is no error; cancelling one is."""
    script.reply = lambda seen: Answer(
        {"error": {"code": 404, "status": "NOT_FOUND", "message": "gone"}},
        code=403 if seen.method == "POST" else 404,
    )
    client.delete("files/abc")
    client.delete(BATCH)
    with pytest.raises(MissingError):
        client.cancel_batch(BATCH)
    assert script.calls == [
        "DELETE /v1beta/files/abc",
        f"DELETE /v1beta/{BATCH}",
        f"POST /v1beta/{BATCH}:cancel",
    ]


def test_download_goes_by_name_and_streams(script: Script, client: Client, tmp_path: Path) -> None:
    """A result of 10 MB arrives whole by one GET of its name, without being held in memory."""
    payload = b"x" * 10_000_000
    script.answers = [Answer(body=payload, headers={"Content-Type": "application/octet-stream"})]
    assert client._sdk is not None  # what the SDK itself takes is not what is measured
    tracemalloc.start()
    size = client.download(RESULT, tmp_path / "r.part")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == len(payload)
    assert (tmp_path / "r.part").read_bytes() == payload
    assert peak < 6_000_000
    assert script.calls == [f"GET /v1beta/{RESULT}:download?alt=media"]


@pytest.mark.parametrize("size", [0, 8 * 1024 * 1024, 8 * 1024 * 1024 + 5])
def test_upload_is_verified(script: Script, client: Client, tmp_path: Path, size: int) -> None:
    """Uploads of every number of pieces are verified by size and hash, told as base64 of the hex text."""
    path = tmp_path / "requests.jsonl"
    path.write_bytes(b"x" * size)
    sha = hashlib.sha256(path.read_bytes()).hexdigest()
    uploads(script, size=size, sha=hex_hash(path.read_bytes()))
    assert client.upload(path, display_name="w/1", sha256=sha, size=size) == "files/abc"
    start = script.seen[0]
    assert start.path == "/upload/v1beta/files"
    assert start.headers["x-goog-upload-header-content-type"] == "jsonl"
    assert b"".join(seen.body for seen in script.seen[1:]) == path.read_bytes()
    assert all("x-goog-api-key" not in seen.headers for seen in script.seen[1:])


def test_upload_waits_while_it_is_processed(
    script: Script, client: Client, tmp_path: Path, waits: list[float]
) -> None:
    """PROCESSING is looked at again until it is ACTIVE."""
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"hello")
    sha = hashlib.sha256(b"hello")
    told = base64.b64encode(sha.digest()).decode()
    uploads(script, size=5, sha=told, state="PROCESSING", then=["PROCESSING", "ACTIVE"])
    client.upload(path, display_name="w", sha256=sha.hexdigest(), size=5)
    assert waits == [2.0, 2.0]


@pytest.mark.parametrize(
    ("size", "sha", "state"), [(4, "", "ACTIVE"), (5, "wrong", "ACTIVE"), (5, "", "FAILED")]
)
def test_damaged_upload_is_never_used(
    script: Script, client: Client, tmp_path: Path, *, size: int, sha: str, state: str
) -> None:
    """A short, a changed and a failed upload are each deleted, tried again within the bound, and refused."""
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"hello")
    uploads(script, size=size, sha=hex_hash(b"other") if sha else "", state=state)
    with pytest.raises(UnavailableError):
        client.upload(path, display_name="w", sha256=hashlib.sha256(b"hello").hexdigest(), size=5)
    starts = [seen for seen in script.seen if seen.headers.get("x-goog-upload-command") == "start"]
    deletes = [seen for seen in script.seen if seen.method == "DELETE"]
    assert len(starts) == len(deletes) > 1


@pytest.mark.parametrize(
    "piece",
    [
        Answer({}, code=503, headers={"X-Goog-Upload-Status": "active"}),
        Answer({"file": {"name": "files/abc"}}, headers={"X-Goog-Upload-Status": "final"}),
        Answer({"error": {"code": 500}}, code=500),
        Answer({}),
        Answer(fault="drop"),
    ],
    ids=["lost", "early-final", "500", "no-status", "drop"],
)
def test_lost_piece_begins_a_new_upload(
    script: Script, client: Client, tmp_path: Path, piece: Answer
) -> None:
    """A first piece that went wrong in any way is noticed at once, and the next upload starts from byte 0."""
    size = 8 * 1024 * 1024 + 5
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"y" * size)
    uploads(script, size=size, sha="")
    good = script.reply
    broken = [piece]

    def reply(seen: Seen) -> Answer:
        """Break the first piece once."""
        if seen.headers.get("x-goog-upload-command") == "upload" and broken:
            return broken.pop()
        assert good is not None
        return good(seen)

    script.reply = reply
    client.upload(path, display_name="w", sha256=hashlib.sha256(b"y" * size).hexdigest(), size=size)
    sent = [seen.headers for seen in script.seen if seen.method == "POST"]
    commands = [headers["x-goog-upload-command"] for headers in sent]
    assert commands == ["start", "upload", "start", "upload", "upload, finalize"]
    assert [headers["x-goog-upload-offset"] for headers in sent[3:]] == ["0", "8388608"]
    known = piece.document is not None and "file" in piece.document
    assert script.calls.count("DELETE /v1beta/files/abc") == known


@pytest.mark.parametrize("hidden", [True, False])
def test_a_refused_upload_is_told_in_googles_words(
    script: Script, client: Client, tmp_path: Path, *, hidden: bool
) -> None:
    """A clear no to an upload, as 400 at the start or hidden in a 200, is raised as one and not tried again."""
    path = tmp_path / "r.jsonl"
    path.write_bytes(b"hello")
    uploads(script, size=5, sha="")
    good = script.reply
    refused = {
        "error": {
            "code": 400,
            "message": "Unsupported MIME type: jsonl",
            "status": "INVALID_ARGUMENT",
        }
    }

    def reply(seen: Seen) -> Answer:
        """Refuse at the start, or at the last piece."""
        assert good is not None
        if (seen.headers["x-goog-upload-command"] == "start") is hidden:
            return good(seen)
        return (
            Answer(refused, headers={"X-Goog-Upload-Status": "final"})
            if hidden
            else Answer(refused, code=400)
        )

    script.reply = reply
    with pytest.raises(RefusedError, match="Unsupported MIME type"):
        client.upload(path, display_name="w", sha256=hashlib.sha256(b"hello").hexdigest(), size=5)
    assert len(script.seen) == 1 + hidden


EMBEDS = load_models()["gemini-embedding-2"]


@pytest.mark.parametrize(
    ("model", "query", "text", "task"),
    [
        ("gemini-embedding-2", True, "task: search result | query: a", None),
        ("gemini-embedding-2", False, "title: none | text: a", None),
        ("gemini-embedding-001", True, "a", "RETRIEVAL_QUERY"),
        ("gemini-embedding-001", False, "a", "RETRIEVAL_DOCUMENT"),
        ("findable-local-embedding-1", False, "a", "RETRIEVAL_DOCUMENT"),
    ],
)
def test_embedding_sends_one_content_per_text(
    script: Script, client: Client, *, model: str, query: bool, text: str, task: str | None
) -> None:
    """Every text is a request of its own, with the task where this model reads it; vectors come back unit length."""
    script.answers = [Answer({"embeddings": [{"values": [3.0, 4.0]}, {"values": [0.0, -2.0]}]})]
    vectors = client.embed(load_models()[model], ["a", "b"], dim=2, query=query)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, [[0.6, 0.8], [0.0, -1.0]])
    assert script.calls == [f"POST /v1beta/models/{model}:batchEmbedContents"]
    requests = script.seen[0].document["requests"]
    assert [len(request["content"]["parts"]) for request in requests] == [1, 1]
    assert requests[0]["content"]["parts"][0]["text"] == text
    assert requests[0].get("taskType") == task
    assert requests[0]["outputDimensionality"] == 2


def test_wrong_vectors_are_never_returned(script: Script, client: Client) -> None:
    """Vectors that do not fit the texts (fused, too many, width, zero, nan) are asked for again, and then taken."""
    one = [1.0, 0.0]
    many: list[list[list[float]]] = [
        [one],
        [one] * 3,
        [one, [1.0]],
        [one, [0.0, 0.0]],
        [one, [float("nan"), 0.0]],
    ]
    wrong = [
        Answer(body=json.dumps({"embeddings": [{"values": row} for row in rows]}).encode())
        for rows in many
    ]
    good = Answer({"embeddings": [{"values": [1, 0]}, {"values": [0, 1]}]})
    for answer in wrong:
        script.answers = [answer, good]
        assert client.embed(EMBEDS, ["a", "b"], dim=2, query=False).tolist() == [
            [1, 0],
            [0, 1],
        ]
    script.reply = lambda _seen: wrong[0]
    with pytest.raises(UnavailableError):
        client.embed(EMBEDS, ["a", "b"], dim=2, query=False)


def test_what_cannot_be_is_never_sent(script: Script, client: Client, tmp_path: Path) -> None:
    """A name of another form, a file of another size than was sealed, and texts that no call takes stop before it."""
    (tmp_path / "r.jsonl").write_bytes(b"hello")
    with pytest.raises(InconsistentError):
        client.get_batch("../files/x")
    with pytest.raises(InconsistentError):
        client.download("https://host/files/batch-b1:download", Path("x"))
    with pytest.raises(InconsistentError):
        client.upload(tmp_path / "r.jsonl", display_name="w", sha256="0" * 64, size=6)
    for texts in ([], [" "], ["a"] * 101):
        with pytest.raises(ValueError, match="1 to 100"):
            client.embed(EMBEDS, texts, dim=2, query=False)
    assert script.calls == []


def test_what_the_sdk_has_no_types_for_costs_nothing(script: Script, client: Client) -> None:
    """Another program's inline batches stand in the list beside ours; a live answer that was paid for is not lost."""
    foreign: list[dict[str, Any]] = [
        {"error": {"code": 8, "message": "busy", "details": [{"@type": "x", "retryDelay": "3s"}]}},
        {"response": {"candidates": []}, "metadata": {"row": 17}},
        {"error": {"code": 13, "details": None}, "metadata": None},
    ]
    theirs = {**operation(state="BATCH_STATE_SUCCEEDED"), "name": "batches/foreign", "done": True}
    theirs["metadata"]["output"] = {"inlinedResponses": {"inlinedResponses": foreign}}
    script.answers = [Answer({"operations": [theirs, operation()]})]
    assert [batch.name for batch in client.list_batches()] == ["batches/foreign", BATCH]
    reply = {
        "candidates": [{"content": {"parts": [{"text": "{}"}]}, "citationMetadata": "none"}],
        "usageMetadata": 3,
    }
    script.answers = [Answer(reply)]
    request = {"contents": [{"role": "user", "parts": [{"text": "bees"}]}]}
    assert generated(client, "gemini-3.5-flash-lite", request) == reply


def test_unreadable_page_is_never_an_empty_list(script: Script, client: Client) -> None:
    """A page that cannot be read, has no body, or leads back to an earlier one raises; `{}` is an empty list."""
    circle = {"operations": [operation()], "nextPageToken": "p2"}
    pages = [
        Answer({"operations": "no"}),
        Answer({"operations": [{"metadata": {}}]}),
        Answer(body=b""),
        Answer(circle),
    ]
    for page in pages:
        script.answers = [page] * 1_000
        with pytest.raises(UnavailableError, match="do not end" if page is pages[-1] else "."):
            client.list_batches()
    script.answers = [Answer({})]
    assert client.list_batches() == []


def test_download_is_whole_or_not_there(script: Script, client: Client, tmp_path: Path) -> None:
    """A 503 and a body that is cut are tried again from the start; after a refusal no part file is there."""
    payload = b"".join(b"%d\n" % number for number in range(10_000))
    script.answers = [
        Answer({"error": {"code": 503}}, code=503),
        Answer(body=payload, cut=1000),
        Answer(body=payload),
    ]
    assert client.download(RESULT, tmp_path / "r.part") == len(payload)
    assert (tmp_path / "r.part").read_bytes() == payload
    script.reply = lambda _seen: Answer({"error": {"code": 404, "message": "no"}}, code=404)
    with pytest.raises(MissingError):
        client.download(RESULT, tmp_path / "s.part")
    assert not (tmp_path / "s.part").exists()
    script.reply = lambda _seen: Answer(body=b"x")
    with pytest.raises(ConfigurationError, match="cannot write"):
        client.download(RESULT, tmp_path / "no" / "r.part")
    assert not (tmp_path / "no").exists()
