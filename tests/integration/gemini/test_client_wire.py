"""The requests that the client sends, and how it reads the replies."""

import base64
import hashlib
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from askrows.pipeline.core.errors import (
    ConfigurationError,
    InconsistentError,
    MissingError,
    RefusedError,
    UnavailableError,
    UploadTypeRefusedError,
)
from askrows.pipeline.provider.gemini.client import Client
from askrows.pipeline.provider.models import load_models
from tests.integration.gemini.scripted import (
    KEY,
    Answer,
    ReceivedRequest,
    Script,
    decided,
    generated,
)

BATCH = "batches/leg9wy9p5df66syjxke2eq4xfjqcwp47ejv3"
PIECE_BYTES = 8 * 1024 * 1024
RESULT = "files/batch-leg9wy9p5df66syjxke2eq4xfjqcwp47ejv3"


def operation_document(**metadata: Any) -> dict[str, Any]:
    """Return an operation in the shape that the API sends."""
    # The members that every batch of the API has.
    fields = {
        "model": "models/gemini-3.5-flash-lite",
        "displayName": "w/experts/1",
        "inputConfig": {"fileName": "files/abc"},
        "createTime": "2026-01-06T11:09:11.943530657Z",
        "state": "BATCH_STATE_PENDING",
    }
    return {"name": BATCH, "metadata": {**fields, **metadata}}


def hex_hash(content: bytes) -> str:
    """Return the SHA-256 as the API reports it: base64 of its hex text."""
    return base64.b64encode(hashlib.sha256(content).hexdigest().encode()).decode()


def script_upload(
    script: Script,
    *,
    size: int,
    sha: str,
    state: str = "ACTIVE",
    later_states: tuple[str, ...] = (),
    find_fault: Callable[[ReceivedRequest], Answer | None] = lambda _request: None,
) -> None:
    """Script an API that accepts uploads, except for the faults that a function returns.

    Later reads of the file return `later_states`.
    """
    remaining_states = list(later_states)

    def reply(request: ReceivedRequest) -> Answer:
        """Answer a request of an upload."""
        fault = find_fault(request)
        if fault is not None:
            return fault
        file = {"name": "files/abc", "sizeBytes": str(size), "sha256Hash": sha, "state": state}
        if request.method == "GET":
            return Answer({**file, "state": remaining_states.pop(0)})
        if request.method == "DELETE":
            return Answer({})
        if request.headers["x-goog-upload-command"] == "start":
            url = f"{script.url}/upload/v1beta/files?upload_id=U1&upload_protocol=resumable"
            return Answer({}, headers={"X-Goog-Upload-URL": url})
        if "finalize" in request.headers["x-goog-upload-command"]:
            return Answer({"file": file}, headers={"X-Goog-Upload-Status": "final"})
        return Answer({}, headers={"X-Goog-Upload-Status": "active"})

    script.reply = reply


def upload(client: Client, folder: Path, content: bytes) -> str:
    """Upload a file with this content, and return its name at the API."""
    path = folder / "requests.jsonl"
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    return client.upload_file(path, display_name="w/1", sha256=digest, size=len(content))


def test_hostile_environment_changes_nothing(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client pins version, address and key, whatever variables of the SDK are set."""
    variables = {
        "GOOGLE_GENAI_USE_VERTEXAI": "true",
        "GOOGLE_GENAI_USE_ENTERPRISE": "1",
        "GOOGLE_GENAI_API_VERSION": "v9",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:9/",
        "GOOGLE_API_KEY": "another",
        "GOOGLE_CLOUD_PROJECT": "p",
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    script.answers = [Answer(operation_document())]

    client = Client(api_key=f" {KEY} ", base_url=script.url, trust_env=False)
    client.get_batch(BATCH)
    client.close()
    assert script.calls == [f"GET /v1beta/{BATCH}"]
    assert script.requests[0].headers["x-goog-api-key"] == KEY
    assert script.requests[0].headers["x-server-timeout"] == "60"


def test_list_reads_every_page_after_an_empty_page(
    script: Script, client: Client, wait_seconds: list[float]
) -> None:
    """An empty page with a token or a 503 neither ends the list nor loses a batch."""
    script.answers = [
        Answer({"operations": [operation_document()], "nextPageToken": "p2"}),
        Answer({"nextPageToken": "p3"}),
        Answer({"error": {"code": 503, "status": "UNAVAILABLE", "message": "busy"}}, code=503),
        Answer({"operations": [{**operation_document(), "name": "batches/b2"}]}),
    ]
    assert [batch.name for batch in client.list_batches()] == [BATCH, "batches/b2"]
    assert script.calls[0] == "GET /v1beta/batches?pageSize=100"
    assert [call.partition("pageToken=")[2] for call in script.calls] == ["", "p2", "p3", "p3"]
    assert len(wait_seconds) == 1


def test_deleting_a_missing_file_or_batch_succeeds(script: Script, client: Client) -> None:
    """Deleting a missing upload or batch is no error; cancelling a missing batch is."""
    script.reply = lambda request: Answer(
        {"error": {"code": 404, "status": "NOT_FOUND", "message": "gone"}},
        code=403 if request.method == "POST" else 404,
    )

    client.delete_file_or_batch("files/abc")
    client.delete_file_or_batch(BATCH)
    with pytest.raises(MissingError):
        client.cancel_batch(BATCH)
    assert script.calls == [
        "DELETE /v1beta/files/abc",
        f"DELETE /v1beta/{BATCH}",
        f"POST /v1beta/{BATCH}:cancel",
    ]


def test_download_goes_by_name_and_streams(script: Script, client: Client, tmp_path: Path) -> None:
    """A GET of its name downloads 10 MB without loading them into memory."""
    payload = b"x" * 10_000_000
    script.answers = [Answer(body=payload, headers={"Content-Type": "application/octet-stream"})]
    # Load the SDK first, because its own memory is not measured.
    assert client._connected_api is not None

    tracemalloc.start()
    sha256 = client.download_result(RESULT, tmp_path / "r.part")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sha256 == hashlib.sha256(payload).hexdigest()
    assert (tmp_path / "r.part").read_bytes() == payload
    assert peak < 6_000_000
    assert script.calls == [f"GET /v1beta/{RESULT}:download?alt=media"]


@pytest.mark.parametrize("size", [0, PIECE_BYTES, PIECE_BYTES + 5])
def test_upload_is_verified(script: Script, client: Client, tmp_path: Path, size: int) -> None:
    """Size and base64 hash are verified for uploads of any number of pieces."""
    content = b"x" * size
    script_upload(script, size=size, sha=hex_hash(content))

    assert upload(client, tmp_path, content) == "files/abc"

    start = script.requests[0]
    assert start.path == "/upload/v1beta/files"
    assert start.headers["x-goog-upload-header-content-type"] == "jsonl"
    assert b"".join(chunk.body for chunk in script.requests[1:]) == content
    assert all("x-goog-api-key" not in request.headers for request in script.requests[1:])


def test_upload_waits_while_it_is_processed(
    script: Script, client: Client, tmp_path: Path, wait_seconds: list[float]
) -> None:
    """The client polls a file in state PROCESSING until it is ACTIVE."""
    hash_text = base64.b64encode(hashlib.sha256(b"hello").digest()).decode()
    states = ("PROCESSING", "ACTIVE")
    script_upload(script, size=5, sha=hash_text, state="PROCESSING", later_states=states)
    upload(client, tmp_path, b"hello")
    assert wait_seconds == [2.0, 2.0]


@pytest.mark.parametrize(
    ("size", "sha", "state"), [(4, "", "ACTIVE"), (5, "wrong", "ACTIVE"), (5, "", "FAILED")]
)
def test_damaged_upload_is_never_used(
    script: Script, client: Client, tmp_path: Path, *, size: int, sha: str, state: str
) -> None:
    """A short, changed or failed upload is deleted, retried within the limit, and refused."""
    script_upload(script, size=size, sha=hex_hash(b"other") if sha else "", state=state)
    with pytest.raises(UnavailableError):
        upload(client, tmp_path, b"hello")
    commands = [request.headers.get("x-goog-upload-command") for request in script.requests]
    methods = [request.method for request in script.requests]
    assert commands.count("start") == methods.count("DELETE") > 1


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
    """The client detects a failed first piece at once, and starts again from byte 0."""
    size = PIECE_BYTES + 5
    faults = [piece]

    def break_first_piece(request: ReceivedRequest) -> Answer | None:
        """Break the first piece of the first upload."""
        is_piece = request.headers.get("x-goog-upload-command") == "upload"
        return faults.pop() if is_piece and faults else None

    script_upload(script, size=size, sha="", find_fault=break_first_piece)
    upload(client, tmp_path, b"y" * size)

    sent = [request.headers for request in script.requests if request.method == "POST"]
    commands = [headers["x-goog-upload-command"] for headers in sent]
    assert commands == ["start", "upload", "start", "upload", "upload, finalize"]
    # The second upload sends both pieces again.
    assert [headers["x-goog-upload-offset"] for headers in sent[3:]] == ["0", str(PIECE_BYTES)]

    is_file_named = piece.document is not None and "file" in piece.document
    assert script.calls.count("DELETE /v1beta/files/abc") == is_file_named


@pytest.mark.parametrize("hidden", [True, False])
def test_a_refused_upload_shows_googles_message(
    script: Script, client: Client, tmp_path: Path, *, hidden: bool
) -> None:
    """A refusal of all types, at the start or inside a 200 reply, is raised with a hint."""
    error = {"code": 400, "message": "Unsupported MIME type: jsonl", "status": "INVALID_ARGUMENT"}

    def refuse(request: ReceivedRequest) -> Answer | None:
        """Refuse at the start, or at the last piece."""
        if (request.headers["x-goog-upload-command"] == "start") is hidden:
            return None
        if hidden:
            return Answer({"error": error}, headers={"X-Goog-Upload-Status": "final"})
        return Answer({"error": error}, code=400)

    script_upload(script, size=5, sha="", find_fault=refuse)
    with pytest.raises(UploadTypeRefusedError, match="Unsupported MIME type") as raised:
        upload(client, tmp_path, b"hello")
    assert "again later" in raised.value.hint
    assert len(script.requests) == 4 * (1 + hidden)

    # Another refusal is raised at once.
    error["message"] = "Too large."
    script.requests.clear()
    with pytest.raises(RefusedError, match="Too large"):
        upload(client, tmp_path, b"hello")
    assert len(script.requests) == 1 + hidden


def test_an_upload_tries_the_next_mime_type(script: Script, client: Client, tmp_path: Path) -> None:
    """An upload whose MIME type is refused is sent with the next type, and only then."""
    sent_types = list[str]()

    def refuse_other_types(request: ReceivedRequest) -> Answer | None:
        """Refuse the start of an upload that is not of type application/json."""
        if request.headers["x-goog-upload-command"] != "start":
            return None
        mime_type = request.headers["x-goog-upload-header-content-type"]
        sent_types.append(mime_type)
        if mime_type == "application/json":
            return None
        message = f"Unsupported MIME type: {mime_type}"
        return Answer({"error": {"code": 400, "message": message}}, code=400)

    script_upload(script, size=5, sha="", find_fault=refuse_other_types)
    assert upload(client, tmp_path, b"hello") == "files/abc"
    assert sent_types == ["jsonl", "application/jsonl", "application/json"]


EMBEDDING_MODEL = load_models()["gemini-embedding-2"]


@pytest.mark.parametrize(
    ("model", "query", "text", "task"),
    [
        ("gemini-embedding-2", True, "task: search result | query: a", None),
        ("gemini-embedding-2", False, "title: none | text: a", None),
        ("gemini-embedding-001", True, "a", "RETRIEVAL_QUERY"),
        ("gemini-embedding-001", False, "a", "RETRIEVAL_DOCUMENT"),
        ("askrows-local-embedding-1", False, "a", "RETRIEVAL_DOCUMENT"),
    ],
)
def test_embedding_sends_one_content_per_text(
    script: Script, client: Client, *, model: str, query: bool, text: str, task: str | None
) -> None:
    """Each text is its own request, with the model's task; vectors get unit length."""
    script.answers = [Answer({"embeddings": [{"values": [3.0, 4.0]}, {"values": [0.0, -2.0]}]})]
    vectors = client.embed(load_models()[model], ["a", "b"], dim=2, is_query=query)
    assert vectors.dtype == np.float32
    assert np.allclose(vectors, [[0.6, 0.8], [0.0, -1.0]])
    assert script.calls == [f"POST /v1beta/models/{model}:batchEmbedContents"]

    requests = script.requests[0].document["requests"]
    assert [len(request["content"]["parts"]) for request in requests] == [1, 1]
    assert requests[0]["content"]["parts"][0]["text"] == text
    assert requests[0].get("taskType") == task
    assert requests[0]["outputDimensionality"] == 2


def test_wrong_vectors_are_never_returned(script: Script, client: Client) -> None:
    """The client retries vectors of a wrong number, width or length, and accepts good vectors."""
    vector = [1.0, 0.0]
    bad_vector_lists: list[list[list[float]]] = [
        [vector],
        [vector] * 3,
        [vector, [1.0]],
        [vector, [float("nan"), 0.0]],
    ]
    bad_answers = [
        Answer(body=json.dumps({"embeddings": [{"values": row} for row in rows]}).encode())
        for rows in bad_vector_lists
    ]
    good_answer = Answer({"embeddings": [{"values": [1, 0]}, {"values": [0, 1]}]})
    for answer in bad_answers:
        script.answers = [answer, good_answer]
        assert client.embed(EMBEDDING_MODEL, ["a", "b"], dim=2, is_query=False).tolist() == [
            [1, 0],
            [0, 1],
        ]

    script.reply = lambda _request: bad_answers[0]
    with pytest.raises(UnavailableError):
        client.embed(EMBEDDING_MODEL, ["a", "b"], dim=2, is_query=False)

    # A query needs a vector that is not zero; the zeros of a document are of that document only.
    script.reply = lambda _request: Answer({"embeddings": [{"values": [3, 0]}, {"values": [0, 0]}]})
    with pytest.raises(UnavailableError):
        client.embed(EMBEDDING_MODEL, ["a", "b"], dim=2, is_query=True)
    vectors = client.embed(EMBEDDING_MODEL, ["a", "b"], dim=2, is_query=False)
    assert vectors.tolist() == [[1, 0], [0, 0]]


def test_invalid_requests_are_never_sent(script: Script, client: Client, tmp_path: Path) -> None:
    """An invalid name, a changed file size and invalid texts are refused before any call."""
    (tmp_path / "r.jsonl").write_bytes(b"hello")
    with pytest.raises(InconsistentError):
        client.get_batch("../files/x")
    with pytest.raises(InconsistentError):
        client.download_result("https://host/files/batch-b1:download", Path("x"))
    with pytest.raises(InconsistentError):
        client.upload_file(tmp_path / "r.jsonl", display_name="w", sha256="0" * 64, size=6)
    for texts in ([], [" "], ["a"] * 101):
        with pytest.raises(ValueError, match="1 to 100"):
            client.embed(EMBEDDING_MODEL, texts, dim=2, is_query=False)
    assert script.calls == []


def test_values_without_sdk_types_are_accepted(script: Script, client: Client) -> None:
    """Foreign inline batches are listed, and a paid live answer with odd members is kept."""
    foreign_responses: list[dict[str, Any]] = [
        {"error": {"code": 8, "message": "busy", "details": [{"@type": "x", "retryDelay": "3s"}]}},
        {"response": {"candidates": []}, "metadata": {"row": 17}},
        {"error": {"code": 13, "details": None}, "metadata": None},
    ]
    foreign_operation = {
        **operation_document(state="BATCH_STATE_SUCCEEDED"),
        "name": "batches/foreign",
        "done": True,
    }
    foreign_operation["metadata"]["output"] = {
        "inlinedResponses": {"inlinedResponses": foreign_responses}
    }
    script.answers = [Answer({"operations": [foreign_operation, operation_document()]})]
    assert [batch.name for batch in client.list_batches()] == ["batches/foreign", BATCH]

    reply = {
        "candidates": [{"content": {"parts": [{"text": "{}"}]}, "citationMetadata": "none"}],
        "usageMetadata": 3,
    }
    script.answers = [Answer(reply)]
    request = {"contents": [{"role": "user", "parts": [{"text": "bees"}]}]}
    assert generated(client, "gemini-3.5-flash-lite", request) == reply


@pytest.mark.full
def test_unreadable_page_is_never_an_empty_list(script: Script, client: Client) -> None:
    """An unreadable, empty or repeated page raises; `{}` is an empty list."""
    circular_page = {"operations": [operation_document()], "nextPageToken": "p2"}
    pages = [
        Answer({"operations": "no"}),
        Answer({"operations": [{"metadata": {}}]}),
        Answer(body=b""),
        Answer(circular_page),
    ]
    for page in pages:
        script.answers = [page] * 1_000
        with pytest.raises(
            UnavailableError, match="names an earlier page" if page is pages[-1] else "."
        ):
            client.list_batches()
    assert len(script.answers) == 998, "a repeated token ends the list"

    pages_without_end = [Answer({"nextPageToken": f"p{number}"}) for number in range(1_000)]
    script.answers = list(pages_without_end)
    with pytest.raises(UnavailableError, match="over 1,000"):
        client.list_batches()

    # A cycle of several empty pages ends, too.
    script.answers = pages_without_end[:2] * 3
    with pytest.raises(UnavailableError, match="names an earlier page"):
        client.list_batches()
    assert len(script.answers) == 3
    # A list without batches has no member `operations`.
    script.answers = [Answer({})]
    assert client.list_batches() == []


def test_download_is_complete_or_absent(script: Script, client: Client, tmp_path: Path) -> None:
    """A 503 or a cut body is retried from the start; a refusal leaves no part file."""
    payload = b"".join(b"%d\n" % number for number in range(10_000))
    script.answers = [
        Answer({"error": {"code": 503}}, code=503),
        Answer(body=payload, cut=1000),
        Answer(body=payload),
    ]
    sha256 = hashlib.sha256(payload).hexdigest()
    assert client.download_result(RESULT, tmp_path / "r.part") == sha256
    assert (tmp_path / "r.part").read_bytes() == payload

    script.reply = lambda _request: Answer({"error": {"code": 404, "message": "no"}}, code=404)
    with pytest.raises(MissingError):
        client.download_result(RESULT, tmp_path / "s.part")
    assert not (tmp_path / "s.part").exists()

    script.reply = lambda _request: Answer(body=b"x")
    with pytest.raises(ConfigurationError, match="cannot write"):
        client.download_result(RESULT, tmp_path / "no" / "r.part")
    assert not (tmp_path / "no").exists()


def test_a_decision_is_sent_unchanged_with_its_model(script: Script, client: Client) -> None:
    """The order of questions and options is kept, and the raw reply is returned."""
    questions = {
        "b": {"type": "choice", "instructions": "i", "criteria": {"z": "", "a": "the first"}},
        "a": {"type": "score", "instructions": "ü", "criteria": ["1", "2"]},
    }
    reply = {"answers": {"a": {"type": "rank"}}, "usage": {"total_input_tokens": 3}, "new": [1]}
    script.answers = [Answer(reply)]
    assert decided(client, {"input": "t", "questions": questions}) == reply

    request = script.requests[0]
    assert (request.method, request.path) == ("POST", "/v1beta/decisions")
    body = {"input": "t", "questions": questions, "model": "models/gemini-decision-1"}
    assert request.body == json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    assert request.headers["x-goog-api-key"] == KEY
    assert request.headers["x-server-timeout"] == "60"
    assert request.headers["content-type"] == "application/json"
